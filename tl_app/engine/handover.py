"""From one phase to the next: what is taken over, and what is kept of a phase that ends.

A phase that goes on with the one before it keeps optimiser, average and the epoch under way; any other begins afresh.
Knows nothing of how a phase is carried out.
"""

from __future__ import annotations

from tl_app.engine import checkpoints
from tl_app.engine.checkpoints import LAST
from tl_app.engine.epoch import Training, model_so_far
from tl_app.runs import PROBE
from tl_app.transfer.averages import Average
from tl_app.transfer.extensions import first_of
from tl_app.transfer.heads import fold_standard


def goes_on(training: Training, number: int) -> bool:
    """Whether the phase takes over where the position's stands: it is the same one, or more of it."""
    return first_of(training.phases, number) <= training.position.phase <= number


def begin_average(training: Training, number: int) -> None:
    """The running average of what the phase trains, with its saved state; each phase begins one of its own."""
    training.average = None
    if training.config.ema:
        live = checkpoints.live_weights(training.network, training.phases[number].frozen_stages)
        training.average = Average(live, training.config.ema)
        if goes_on(training, number):
            training.average.load(checkpoints.load_average(training.folder / LAST))


def leave_phase(training: Training, depth: int) -> None:
    """Ends the phase before one that does not go on with it.

    Args:
        training: Its position and its weights are those of the phase before, or before the first.
        depth: How many stages the phase to come freezes.
    """
    position = training.position
    position.begin_epoch()  # of one that was finished in the middle of an epoch, the rest is not trained
    _keep_probe(training, depth)
    if training.standard is not None:
        fold_standard(training.network, training.standard)
        training.standard = None


def _keep_probe(training: Training, depth: int) -> None:
    """Keeps a head that was trained alone, before others move the stages: one end of a WiSE-FT blend."""
    position, stages = training.position, len(training.network.stages)
    if position.epoch and position.depth == stages > depth:
        if training.average is None:  # the run was complete, or stopped, before this phase began
            begin_average(training, position.phase)
        path = training.folder / PROBE
        checkpoints.save_weights(path, model_so_far(training), epoch=position.epoch)
