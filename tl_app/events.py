"""What the engine says while it trains: small frozen dataclasses, and their JSON form for ``history.jsonl``.

Imports neither torch nor gradio, so that any reader (command line, page, notebook) can use it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Progress:
    """Something before or beside training moves on; ``total`` is 0 when it is unknown."""

    activity: str  # "downloading resnet18 weights", "reading photos", …
    done: int
    total: int
    unit: str  # "bytes", "photos", …


@dataclass(frozen=True)
class Notice:
    """A sentence for the user that is not an error, such as what an automatic setting chose."""

    text: str
    level: Literal["info", "warning"] = "info"


@dataclass(frozen=True)
class PhaseStarted:
    """A stretch of training with one freezing depth begins (or goes on, after a resume)."""

    phase: int  # counted from 0
    phases: int
    frozen_stages: int
    epochs: int  # of this phase
    steps_per_epoch: int
    first_epoch: int  # epochs of the phases before this one
    total_epochs: int  # of the whole run
    lr_head: float
    lr_backbone: float
    batch_size: int
    trainable_parameters: int
    total_parameters: int
    device: str
    precision: str
    continues: bool = False  # more of the phase before it, as a finished run was extended
    total_steps: int = 0  # of the whole run; 0 for those of its epochs, as older histories have it


@dataclass(frozen=True)
class StepDone:
    """One optimiser step. ``step`` counts from 1 over the whole run, ``epoch`` from 1 over the whole run."""

    step: int
    epoch: int
    loss: float
    lr: float  # of the head
    images_per_second: float
    seconds: float  # of training so far, interruptions left out


@dataclass(frozen=True)
class EpochDone:
    """One pass over the training photos and one evaluation of the validation photos. Accuracies are 0 to 1."""

    epoch: int
    step: int  # the last step of the epoch
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    is_best: bool
    epoch_seconds: float
    images_per_second: float
    memory_bytes: int  # peak on the accelerator, resident set size on the CPU


@dataclass(frozen=True)
class CheckpointSaved:
    """The state from which training can go on is on disk."""

    step: int
    epoch: int  # whole epochs done
    path: str  # relative to the run folder


@dataclass(frozen=True)
class RolledBack:
    """Training goes on from the last good checkpoint (a resume, or NaN); all later than ``step`` is void."""

    step: int
    epoch: int
    reason: str


@dataclass(frozen=True)
class Combined:
    """The run's model is from here on one made of several: a soup of epochs, or a blend with the probe."""

    model: str  # what it is made of, such as "soup of epochs 5 and 7"
    epoch: int  # whole epochs done
    val_accuracy: float
    val_loss: float


@dataclass(frozen=True)
class Finished:
    """Training ended in good order; the best model is on disk."""

    reason: Literal["completed", "stopped"]
    best_epoch: int  # 0 when no epoch was finished; accuracy and loss are then None
    val_accuracy: float | None
    val_loss: float | None
    seconds: float
    images_per_second: float


Event = (
    Progress
    | Notice
    | PhaseStarted
    | StepDone
    | EpochDone
    | CheckpointSaved
    | RolledBack
    | Combined
    | Finished
)

_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        Progress,
        Notice,
        PhaseStarted,
        StepDone,
        EpochDone,
        CheckpointSaved,
        RolledBack,
        Combined,
        Finished,
    )
}


_TO_JSON = json.JSONEncoder(separators=(",", ":")).encode


def to_json(event: Event) -> str:
    """One line of ``history.jsonl``: the event's fields and, under ``event``, its class name."""
    return _TO_JSON({"event": type(event).__name__, **vars(event)})  # asdict would copy numbers one by one


def from_json(line: str) -> Event:
    """The event that :func:`to_json` wrote.

    Raises:
        ValueError: The line is not whole (a torn last line), or names no event.
    """
    fields = json.loads(line)
    if not isinstance(fields, dict) or fields.get("event") not in _KINDS:
        raise ValueError(f"not an event: {line[:80]!r}")
    kind = _KINDS[fields.pop("event")]
    try:
        event: Event = kind(**fields)
    except TypeError as error:
        raise ValueError(f"not a {kind.__name__}: {line[:80]!r}") from error
    return event
