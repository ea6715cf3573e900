"""Learning-rate schedules as pure functions of the step, so that resuming needs no scheduler state.

Knows nothing of optimisers: the engine multiplies each group's base rate with the factor.
"""

from __future__ import annotations

import math
from collections.abc import Callable

# Shares of a phase's steps in which rates rise when nobody says otherwise. Fresh heads send large gradients into
# pretrained stages at first; one-cycle's 30 % are those of torch's OneCycleLR.
_WARMUP_SHARES = {"constant": 0.0, "step": 0.0, "cosine": 0.05, "one-cycle": 0.3}


def lr_factor(
    schedule: str,
    step: int,
    total_steps: int,
    *,
    warmup: float | None = None,
    left_out: int = 0,
    drop_steps: int | None = None,
    drop_factor: float = 0.1,
) -> float:
    """What the base learning rate is multiplied with at one step.

    Args:
        schedule: One of ``choices.SCHEDULES``.
        step: Counted from 0 within the phase.
        total_steps: Steps of the phase.
        warmup: Share of those in which the rate rises, below 1; None for what the schedule usually has.
        left_out: Steps in front of the phase's first one that are not taken, from :func:`rise_steps`; the drops of
            ``step`` take no notice of them.
        drop_steps: Steps between the drops of ``step``; None for a third of the phase.
        drop_factor: What each drop of ``step`` multiplies with.

    Returns:
        A factor from 0 to 1.
    """
    share = _WARMUP_SHARES[schedule] if warmup is None else warmup
    progress = (left_out + step + 0.5) / max(1, left_out + total_steps)
    if schedule == "step":
        return _rise(progress, share) * drop_factor ** _drops(step, total_steps, drop_steps)
    return _SHAPES[schedule](progress, share)


def rise_steps(schedule: str, total_steps: int, warmup: float | None = None) -> int:
    """The steps in which the rate would rise to its peak before ``total_steps`` more.

    A phase that goes on with the one before it leaves them out: its weights and its optimiser are warm.
    """
    share = _WARMUP_SHARES[schedule] if warmup is None else warmup
    return round(total_steps * share / (1 - share))


def _constant(progress: float, warmup: float) -> float:
    return _rise(progress, warmup)


def _drops(step: int, total_steps: int, drop_steps: int | None) -> int:
    """How often the rate has dropped: after each third, or as torch's StepLR does, which the tutorials use."""
    if drop_steps is not None:
        return step // drop_steps
    return int((step + 0.5) / max(1, total_steps) * 3)


def _cosine(progress: float, warmup: float) -> float:
    """Linear warm-up, then half a cosine (Loshchilov and Hutter 2017, without restarts)."""
    if progress < warmup:
        return _rise(progress, warmup)
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def _one_cycle(progress: float, warmup: float) -> float:
    """Smith 2018, with the cosine ramps of torch's OneCycleLR: 1/25 up to 1, down to 1/10,000."""
    if progress < warmup:
        return _ramp(0.04, 1.0, progress / warmup)
    return _ramp(1.0, 1e-4, (progress - warmup) / (1 - warmup))


def _rise(progress: float, warmup: float) -> float:
    """Linear, from 0 at the beginning to 1 at the end of the warm-up (Goyal et al. 2017)."""
    return progress / warmup if progress < warmup else 1.0


def _ramp(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * share))


_SHAPES: dict[str, Callable[[float, float], float]] = {
    "constant": _constant,
    "cosine": _cosine,
    "one-cycle": _one_cycle,
}
