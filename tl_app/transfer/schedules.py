"""Learning-rate schedules as pure functions of the step, so that resuming needs no scheduler state.

Knows nothing of optimisers: the engine multiplies each group's base rate with the factor.
"""

from __future__ import annotations

import math
from collections.abc import Callable

WARMUP_SHARE = 0.05  # of all steps: fresh heads send large gradients into pretrained stages at first
RISE_SHARE = 0.3  # of all steps of one-cycle


def lr_factor(schedule: str, step: int, total_steps: int) -> float:
    """What the base learning rate is multiplied with at one step.

    Args:
        schedule: One of ``config.SCHEDULES``.
        step: Counted from 0 within the phase.
        total_steps: Steps of the phase.

    Returns:
        A factor from 0 to 1.
    """
    return _SHAPES[schedule]((step + 0.5) / max(1, total_steps))


def rise_steps(schedule: str, total_steps: int) -> int:
    """The steps in which the rate would rise to its peak before ``total_steps`` more.

    A phase that goes on with the one before it leaves them out: its weights and its optimiser are warm.
    """
    share = {"cosine": WARMUP_SHARE, "one-cycle": RISE_SHARE}.get(schedule, 0.0)
    return round(total_steps * share / (1 - share))


def _constant(progress: float) -> float:
    return 1.0


def _step(progress: float) -> float:
    """Times 0.1 after each third, the shape of the classic 7-epochs-of-20 tutorials."""
    return 0.1 ** int(progress * 3)


def _cosine(progress: float) -> float:
    """Linear warm-up, then half a cosine (Loshchilov and Hutter 2017, without restarts)."""
    if progress < WARMUP_SHARE:
        return progress / WARMUP_SHARE
    return 0.5 * (1 + math.cos(math.pi * (progress - WARMUP_SHARE) / (1 - WARMUP_SHARE)))


def _one_cycle(progress: float) -> float:
    """Smith 2018, with the cosine ramps and the 30 % of torch's OneCycleLR: 1/25 up to 1, down to 1/10,000."""
    if progress < RISE_SHARE:
        return _ramp(0.04, 1.0, progress / RISE_SHARE)
    return _ramp(1.0, 1e-4, (progress - RISE_SHARE) / (1 - RISE_SHARE))


def _ramp(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * share))


_SHAPES: dict[str, Callable[[float], float]] = {
    "constant": _constant,
    "step": _step,
    "cosine": _cosine,
    "one-cycle": _one_cycle,
}
