"""How well a run does on labelled photos: its own validation photos, or others.

Knows nothing of training; it uses a predictor like everyone else.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from tl_app.analysis.labelled import labelled, open_photos
from tl_app.engine.batches import eval_batches
from tl_app.engine.evaluate import evaluate
from tl_app.predictor import load_run
from tl_app.runs import RunInfo


@dataclass(frozen=True)
class EvaluationResult:
    """How well a run does on labelled photos.

    Attributes:
        run: The run folder's path.
        data: The photos.
        split: Which of them: ``train``, ``val``, ``test`` or ``all``.
        images: How many were used.
        accuracy: Share classified right, 0 to 1.
        loss: Mean cross entropy, in nats.
        per_class: For each class its photos and the share classified right.
        left_out: Photos that could not be used, with the reason.
    """

    run: str
    data: str
    split: str
    images: int
    accuracy: float
    loss: float
    per_class: dict[str, dict[str, float]]
    left_out: dict[str, str]


def evaluate_run(info: RunInfo, data: str | Path | None, split: str | None, device: str) -> EvaluationResult:
    """Measures the best model of a run; arguments as for :func:`tl_app.api.evaluate`.

    Raises:
        UserError: There is no such split, the classes are not the run's, or nothing can be read.
    """
    photos = labelled(info, data, split)
    predictor = load_run(info, device)
    store, items, failed = open_photos(photos.index, photos.photos, predictor.preprocessing, info.classes)
    result = evaluate(
        predictor.logits, eval_batches(store, items, 32), device=predictor.device, stop=lambda: False
    )
    assert result is not None
    right = result.probabilities.argmax(1) == result.labels
    return EvaluationResult(
        run=str(info.path),
        data=photos.index.source,
        split=photos.split,
        images=len(items),
        accuracy=result.accuracy,
        loss=result.loss,
        per_class={
            label: _share(right[result.labels == number]) for number, label in enumerate(info.classes)
        },
        left_out=failed if data is None else {**{p.path: p.issue for p in photos.index.left_out}, **failed},
    )


def _share(right: torch.Tensor) -> dict[str, float]:
    return {"images": len(right), "accuracy": right.double().mean().item() if len(right) else 0.0}
