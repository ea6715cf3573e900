"""Learning-rate schedules as pure functions of the step, so that resuming needs no scheduler state.

Knows nothing of optimisers: the engine multiplies each group's base rate with the factor.
"""

from __future__ import annotations

import math
from collections.abc import Callable

WARMUP_SHARE = 0.05  # of all steps: fresh heads send large gradients into pretrained stages at first


def lr_factor(
    schedule: str, step: int, total_steps: int, *, drop_steps: int | None = None, drop_factor: float = 0.1
) -> float:
    """What the base learning rate is multiplied with at one step.

    Args:
        schedule: One of ``config.SCHEDULES``.
        step: Counted from 0 within the phase.
        total_steps: Steps of the phase.
        drop_steps: Steps between the drops of ``step``; None for a third of the phase.
        drop_factor: What each drop of ``step`` multiplies with.

    Returns:
        A factor from 0 to 1.
    """
    if schedule == "step":
        return drop_factor ** _drops(step, total_steps, drop_steps)
    return _SHAPES[schedule]((step + 0.5) / max(1, total_steps))


def _constant(progress: float) -> float:
    return 1.0


def _drops(step: int, total_steps: int, drop_steps: int | None) -> int:
    """How often the rate has dropped: after each third, or as torch's StepLR does, which the tutorials use."""
    if drop_steps is not None:
        return step // drop_steps
    return int((step + 0.5) / max(1, total_steps) * 3)


def _cosine(progress: float) -> float:
    """Linear warm-up, then half a cosine (Loshchilov and Hutter 2017, without restarts)."""
    if progress < WARMUP_SHARE:
        return progress / WARMUP_SHARE
    return 0.5 * (1 + math.cos(math.pi * (progress - WARMUP_SHARE) / (1 - WARMUP_SHARE)))


def _one_cycle(progress: float) -> float:
    """Smith 2018, with the cosine ramps and the 30 % of torch's OneCycleLR: 1/25 up to 1, down to 1/10,000."""
    if progress < 0.3:
        return _ramp(0.04, 1.0, progress / 0.3)
    return _ramp(1.0, 1e-4, (progress - 0.3) / 0.7)


def _ramp(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * share))


_SHAPES: dict[str, Callable[[float], float]] = {
    "constant": _constant,
    "cosine": _cosine,
    "one-cycle": _one_cycle,
}
