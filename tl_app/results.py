"""How a training ended, and how its model was evaluated: ``metrics.json`` in the run folder.

Knows nothing of how it got there.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tl_app.files import write_json

_FILE = "metrics.json"
KEPT_SPLITS = {"val": "evaluation", "test": "test_evaluation"}  # beside the training's own fields
_EVALUATIONS = set(KEPT_SPLITS.values())


@dataclass(frozen=True)
class TrainResult:
    """How a training ended; ``metrics.json``, and what ``tl-app train --json`` prints.

    Attributes:
        run: The run folder's path; every command and function that takes a run takes it.
        state: ``completed`` or ``stopped``.
        best_epoch: Counted from 1; 0 when no epoch was done, and accuracy and loss are then None.
        val_accuracy: Of the best epoch, or of the model in ``combined``, 0 to 1. Each was chosen by the validation
            photos, so it is a little optimistic.
        epochs: How many were done.
        seconds: Training time, over all resumes.
        images_per_second: Training photos per second of training time, evaluation included.
        lineage: The tasks that the weights come from, oldest first; the last one is the run's own.
        shared_layers: Stages that began as the source task's.
        task_layers: What began for this task alone.
        combined: What the model is made of when it is not that of one epoch: ``soup of epochs 5 and 7``, or a blend.
    """

    run: str
    name: str
    state: str
    best_epoch: int
    val_accuracy: float | None
    val_loss: float | None
    classes: list[str]
    train_images: int
    val_images: int
    epochs: int
    seconds: float
    images_per_second: float
    trainable_parameters: int
    total_parameters: int
    backbone: str
    frozen_stages: int
    device: str
    precision: str
    lineage: list[str] = field(default_factory=list)
    shared_layers: list[str] = field(default_factory=list)
    task_layers: list[str] = field(default_factory=list)
    combined: str = ""


def write_result(path: Path, result: TrainResult, evaluation: dict[str, Any] | None = None) -> None:
    """Replaces ``metrics.json``; ``evaluation`` is that of the validation photos."""
    values = dataclasses.asdict(result)
    write_json(path / _FILE, values if evaluation is None else values | {KEPT_SPLITS["val"]: evaluation})


def write_evaluation(path: Path, split: str, values: dict[str, Any]) -> None:
    """Adds an evaluation to ``metrics.json``, validation and test apart; does nothing before training ended.

    Args:
        path: The run folder.
        split: One of :data:`KEPT_SPLITS`.
        values: What :class:`tl_app.evaluation.EvaluationResult` says.

    Raises:
        OSError: It cannot be written.
    """
    if read_result(path) is not None:
        write_json(path / _FILE, json.loads((path / _FILE).read_text()) | {KEPT_SPLITS[split]: values})


def read_result(path: Path) -> TrainResult | None:
    """What ``metrics.json`` says of the training; None before that ended in good order."""
    try:
        values = json.loads((path / _FILE).read_text())
    except FileNotFoundError:
        return None
    return TrainResult(**{name: value for name, value in values.items() if name not in _EVALUATIONS})
