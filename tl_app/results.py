"""How a training ended: ``metrics.json`` in the run folder. Knows nothing of how it got there."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path


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


def read_result(path: Path) -> TrainResult | None:
    """What ``metrics.json`` says; None before training ended in good order."""
    try:
        return TrainResult(**json.loads((path / "metrics.json").read_text()))
    except FileNotFoundError:
        return None
