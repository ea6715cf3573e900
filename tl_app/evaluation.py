"""How well a run does on labelled photos: its own validation photos, or others.

Knows nothing of training; it uses a predictor like everyone else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tl_app.data.index import DatasetIndex, Photo, relocate, scan
from tl_app.data.store import PhotoStore, Preprocessing
from tl_app.engine.batches import Item, eval_batches
from tl_app.engine.evaluate import evaluate
from tl_app.errors import DataError, UsageError
from tl_app.predictor import load_run
from tl_app.runs import RunInfo

SPLITS = ("train", "val", "test", "all")


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
    if split is not None and split not in SPLITS:
        raise UsageError(f"split is '{split}'.", f"Allowed: {', '.join(SPLITS)}.")
    if data is None:
        index = relocate(DatasetIndex.read_manifest(info.path / "manifest.csv"))
        split = split or "val"
    else:
        index = scan(data, for_training=False)
        split = split or next((name for name in ("val", "test", "train") if index.used(name)), "all")
    photos = [photo for photo in index.photos if not photo.issue and split in ("all", photo.split)]
    _check_classes(photos, info, index.source, split)
    predictor = load_run(info, device)
    store, items, failed = open_photos(index, photos, predictor.preprocessing, info.classes)
    result = evaluate(
        predictor.logits, eval_batches(store, items, 32), device=predictor.device, stop=lambda: False
    )
    assert result is not None
    right = result.probabilities.argmax(1) == result.labels
    return EvaluationResult(
        run=str(info.path),
        data=index.source,
        split=split,
        images=len(items),
        accuracy=result.accuracy,
        loss=result.loss,
        per_class={
            label: _share(right[result.labels == number]) for number, label in enumerate(info.classes)
        },
        left_out=failed if data is None else {**{p.path: p.issue for p in index.left_out}, **failed},
    )


def open_photos(
    index: DatasetIndex, photos: Sequence[Photo], preprocessing: Preprocessing, classes: Sequence[str]
) -> tuple[PhotoStore, list[Item], dict[str, str]]:
    """Decodes photos of known classes; returns their store, those that can be read, and why others cannot.

    Raises:
        DataError: None can be read.
    """
    store = PhotoStore(index.root, preprocessing, photos=[p for p in index.photos if not p.issue])
    failed = store.prepare([photo.path for photo in photos])
    numbers = {label: number for number, label in enumerate(classes)}
    items = [Item(p.path, numbers[p.label], p.content_hash) for p in photos if p.path not in failed]
    if not items:
        raise DataError(f"None of the {len(photos)} photos in {index.source} can be read any more.")
    return store, items, failed


def _share(right: torch.Tensor) -> dict[str, float]:
    return {"images": len(right), "accuracy": right.double().mean().item() if len(right) else 0.0}


def _check_classes(photos: list[Photo], info: RunInfo, source: str, split: str) -> None:
    if not photos:
        raise DataError(
            f"There are no photos in the {split} split of {source}.", f"Splits: {', '.join(SPLITS)}."
        )
    strange = sorted({photo.label for photo in photos} - set(info.classes))
    if strange:
        raise DataError(
            f"The photos in {source} have classes that run '{info.name}' does not know: {', '.join(strange[:5])}.",
            f"It knows {', '.join(info.classes[:20])}.",
            "Rename the folders, or leave those classes out.",
        )
