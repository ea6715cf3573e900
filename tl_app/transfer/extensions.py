"""Extensions: further phases of a run whose recipe is done, so that it goes on instead of beginning again.

Knows nothing of run folders, or of how phases are carried out. Imports no torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tl_app import words
from tl_app.config import TrainConfig
from tl_app.errors import UsageError
from tl_app.transfer.recipes import Phase, plan, usual_backbone_lr

EPOCHS = 5  # when none are named
# More of the same begins where the schedule of the phase before has ended, near a rate of 0. The same schedule again,
# from half its peak, lets the weights move without throwing them off what they have learnt.
_SHARE = 0.5


@dataclass(frozen=True)
class Extension:
    """More training of a finished run.

    Attributes:
        after: Whole epochs done when it was asked for; what had been planned beyond them is dropped.
        begun: How many phases had begun by then.
        unfrozen: How many more stages are trained; 0 for more epochs of the same.
        phase: What is trained.
    """

    after: int
    begun: int
    unfrozen: int
    phase: Phase

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Extension:
        """What :meth:`to_dict` gave."""
        phase = Phase(**values["phase"])
        return cls(**{**values, "phase": dataclasses.replace(phase, sides=tuple(phase.sides))})


def phases_of(config: TrainConfig, stages: int, extensions: Sequence[Extension] = ()) -> list[Phase]:
    """All phases of a run: the recipe's, cut where it was finished early, and those it was extended by.

    Args:
        config: Without gaps.
        stages: Of the backbone.
        extensions: In the order in which they were asked for.
    """
    phases = plan(config, stages)
    for extension in extensions:
        phases = [*_cut(phases[: extension.begun], extension.after), extension.phase]
    return phases


def _cut(phases: Sequence[Phase], epochs: int) -> list[Phase]:
    """The phases up to a number of epochs; one that got none keeps its place, so that their numbers stay."""
    cut = []
    for phase in phases:
        cut.append(dataclasses.replace(phase, epochs=min(phase.epochs, epochs)))
        epochs -= cut[-1].epochs
    return cut


def extend(
    phases: Sequence[Phase],
    *,
    stages: int,
    optimizer: str,
    after: int,
    begun: int,
    epochs: int | None = None,
    unfreeze: int = 0,
    lr: float | None = None,
    lr_backbone: float | None = None,
) -> Extension:
    """What a finished run is extended by.

    Args:
        phases: Of the run so far.
        stages: Of the backbone.
        optimizer: Of the run.
        after: Whole epochs done.
        begun: How many of the phases have begun.
        epochs: How many more; None for 5.
        unfreeze: How many more stages are trained, counted from the head.
        lr: Peak learning rate of the head, that of the backbone moving along; None for one from the run's own.
        lr_backbone: Peak learning rate of unfrozen stages.

    Raises:
        UsageError: A number is out of its range.
    """
    before = phases[begun - 1]
    epochs = EPOCHS if epochs is None else epochs
    _check(epochs, unfreeze, before.frozen_stages, {"lr": lr, "lr_backbone": lr_backbone})
    if unfreeze:
        head, backbone = _rates_of_new_stages(before, stages, optimizer)
    else:
        origin = phases[first_of(phases, begun - 1)]
        head, backbone = _SHARE * origin.lr_head, _SHARE * origin.lr_backbone
    if lr is not None:
        head, backbone = lr, backbone * lr / head
    phase = dataclasses.replace(
        before,
        epochs=epochs,
        frozen_stages=before.frozen_stages - unfreeze,
        lr_head=head,
        lr_backbone=backbone if lr_backbone is None else lr_backbone,
        continues=not unfreeze,
        sides=(),
    )
    return Extension(after, begun, unfreeze, phase)


def first_of(phases: Sequence[Phase], number: int) -> int:
    """The number of the phase that this one goes on with, by way of all that go on with each other."""
    while phases[number].continues:
        number -= 1
    return number


def describe(extension: Extension, stages: Sequence[str]) -> str:
    """One sentence on what a run is extended by.

    Args:
        extension: What it is extended by.
        stages: The names of the backbone's stages.
    """
    phase, more = extension.phase, words.plural(extension.phase.epochs, "more epoch")
    rates = f"learning rate from {phase.lr_head:.3g} (head)"
    if phase.frozen_stages < len(stages):
        rates += f" and {phase.lr_backbone:.3g} (backbone)"
    if not extension.unfrozen:
        return (
            f"Goes on after epoch {extension.after}: {more} at freezing depth {phase.frozen_stages}, {rates}."
        )
    named = ", ".join(stages[phase.frozen_stages : phase.frozen_stages + extension.unfrozen])
    return (
        f"Goes on after epoch {extension.after}: {more} with {named} unfrozen as well, "
        f"freezing depth {phase.frozen_stages}, {rates}."
    )


def _rates_of_new_stages(before: Phase, stages: int, optimizer: str) -> tuple[float, float]:
    """Head and stages move alike: the head has learnt already. A head alone had larger rates than stages bear."""
    alone = before.frozen_stages == stages
    rate = min(before.lr_backbone, usual_backbone_lr(optimizer)) if alone else before.lr_backbone
    return rate, rate


def _check(epochs: int, unfreeze: int, depth: int, rates: Mapping[str, float | None]) -> None:
    if not 1 <= epochs <= 1000:
        raise UsageError(f"A run cannot be extended by {epochs} epochs.", "Allowed: from 1 to 1000.")
    if unfreeze > 0 and not depth:
        raise UsageError(
            "No more stages can be unfrozen: every stage is trained already.",
            remedy="Extend the run by epochs alone.",
        )
    if not 0 <= unfreeze <= depth:
        raise UsageError(
            f"{unfreeze} more stages cannot be unfrozen: {depth} are frozen.", f"Allowed: from 0 to {depth}."
        )
    for name, rate in rates.items():
        if rate is not None and not 1e-8 <= rate <= 10:
            raise UsageError(f"{name} is {rate}.", "Allowed: from 1e-08 to 10.0.")
