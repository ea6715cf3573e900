"""The learning-rate finder: a short training at rates that rise from step to step, on a throw-away network.

Smith 2015 ("Cyclical Learning Rates for Training Neural Networks", arXiv:1506.01186), with the stop rule of fastai's
``lr_find``. It takes the steps of the engine's own first phase and leaves no run. Knows nothing of the page.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tl_app.config import TrainConfig
from tl_app.data.index import DatasetIndex
from tl_app.errors import Interrupted, UsageError
from tl_app.events import Event, Progress, StepDone
from tl_app.locks import DeviceLock

NAME = "learning-rate finder"  # who holds the device meanwhile
LOWEST, HIGHEST = 1e-7, 10.0
_STEPS, _LEAST_STEPS = 100, 40
_PASSES = 10  # more than these over few photos would be about knowing them by heart
_SMOOTHING = 0.9  # of the running mean; fastai's 0.98 lags behind by half of so short a curve
_EXPLODED = 4.0  # times the lowest smoothed loss, as in fastai
_PLATEAU = 4  # the first quarter of the steps, with rates up to 1e-5, says where the loss starts from
_FALLEN = 0.97  # of that: what noise alone does not do


@dataclass(frozen=True)
class RatesResult:
    """How the loss went while the learning rate rose.

    Attributes:
        data: The photos.
        backbone: What was trained.
        recipe: Whose first phase it was.
        frozen_stages: In that phase.
        rates: The head's learning rate in each step.
        losses: Of each step's batch.
        smoothed: Their running mean.
        suggestion: For ``lr_head``; None where the loss never fell.
        backbone_suggestion: For ``lr_backbone``, which rose with the head's; None without a suggestion, and where the
            head was trained alone, as in the first phase of recipes ``lp-ft`` and ``gradual``.
        exploded: Whether the loss did, which ended it early.
        steps: How many there would have been.
        seconds: Time in all.
    """

    data: str
    backbone: str
    recipe: str
    frozen_stages: int
    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    suggestion: float | None
    backbone_suggestion: float | None
    exploded: bool
    steps: int
    seconds: float


def find(
    config: TrainConfig, index: DatasetIndex, stop: Callable[[], bool], running: str = ""
) -> Generator[Event, None, RatesResult]:
    """Trains for up to 100 steps, each at a higher rate than the one before, and suggests a rate.

    Args:
        config: As for a training; the rates of its first phase rise together, each at its share.
        index: The photos.
        stop: Asked before every step.
        running: The run that this process trains already; empty when there is none.

    Returns:
        The result (use ``yield from``).

    Raises:
        UserError: Settings, photos or machine do not fit, or a run is being trained on the device.
        Interrupted: ``stop`` said so.
    """
    if config.recipe == "auto":
        raise UsageError(
            "Recipe 'auto' chooses its own learning rates.",
            remedy="Choose another recipe to find a rate for it.",
        )
    started = time.perf_counter()
    with DeviceLock(config.device, running) as lock:
        lock.keep(NAME)
        try:
            with tempfile.TemporaryDirectory(prefix="tl-app-", ignore_cleanup_errors=True) as folder:
                result = yield from _find(config, index, stop, Path(folder))
        finally:
            lock.release()
    return dataclasses.replace(result, seconds=time.perf_counter() - started)


def _find(
    config: TrainConfig, index: DatasetIndex, stop: Callable[[], bool], folder: Path
) -> Generator[Event, None, RatesResult]:
    from tl_app.engine.epoch import sweep
    from tl_app.engine.setup import resolve
    from tl_app.engine.train import first_phase

    photos = len(index.used("train"))
    # At the image size: a loss that also moves because photos grow says little about rates.
    filled, preprocessing = resolve(dataclasses.replace(config, blockwise_epochs=0, resize_from=None), photos)
    filled, steps = _cut(filled, photos)
    training = yield from first_phase(filled, index, preprocessing, folder, stop)
    phase = training.phases[0]
    factors = [rate / phase.lr_head for rate in np.geomspace(LOWEST, HIGHEST, steps)]
    rates: list[float] = []
    losses: list[float] = []
    smoothed: list[float] = []
    exploded = False
    for event in sweep(training, factors):
        if not isinstance(event, StepDone):
            yield event
            continue
        rates.append(event.lr)
        losses.append(event.loss)
        smoothed = smooth(losses)
        yield Progress("finding the learning rate", len(losses), steps, "steps")
        if smoothed[-1] > _EXPLODED * min(smoothed):
            exploded = True
            break
    if stop():
        raise Interrupted("The learning-rate finder was stopped.")
    best = suggest(rates, smoothed)
    moved = phase.frozen_stages < len(training.network.stages)
    return RatesResult(
        data=index.source,
        backbone=filled.backbone,
        recipe=config.recipe,
        frozen_stages=phase.frozen_stages,
        rates=rates,
        losses=losses,
        smoothed=smoothed,
        suggestion=best,
        backbone_suggestion=_rounded(best * phase.lr_backbone / phase.lr_head) if best and moved else None,
        exploded=exploded or len(losses) < steps,
        steps=steps,
        seconds=0.0,
    )


def _cut(config: TrainConfig, photos: int) -> tuple[TrainConfig, int]:
    """The settings of no more than the steps of the first phase that are taken, and how many those are.

    Args:
        config: Without gaps.
        photos: How many there are to train on.
    """
    from tl_app.engine.setup import stage_names
    from tl_app.transfer.recipes import BEGIN_WITH_HEAD

    assert config.batch_size is not None
    per_epoch = max(1, photos // config.batch_size)
    steps = min(_STEPS, max(_LEAST_STEPS, _PASSES * per_epoch))
    if (
        config.recipe in BEGIN_WITH_HEAD
    ):  # the later phases are not looked at, and may not fit into so few epochs
        stages = len(stage_names(config))
        config = dataclasses.replace(config, recipe="head", freeze=stages, probe_epochs=None)
    epochs = min(1000, -(-steps // per_epoch))
    # Of kept activations one view: they are computed for all epochs before the first step.
    return dataclasses.replace(config, epochs=epochs, views=config.views or 1), steps


def smooth(losses: Sequence[float]) -> list[float]:
    """The running mean of losses, corrected for its start at zero (as Adam's: Kingma and Ba 2015)."""
    mean, found = 0.0, []
    for number, loss in enumerate(losses, start=1):
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * loss
        found.append(mean / (1 - _SMOOTHING**number))
    return found


def suggest(rates: Sequence[float], smoothed: Sequence[float]) -> float | None:
    """The rate in the middle of the valley: where the smoothed loss has fallen half way to its lowest point.

    Fast, with room to where the loss turns over: what fastai's ``valley`` looks for too. The steepest slope, Smith's
    own reading, was often a bump of the noise: on ants and bees 1e-7 with one recipe and 0.1 with another.

    Args:
        rates: Rising, evenly spaced in their logarithm.
        smoothed: The loss at each.

    Returns:
        Two digits of it; None where the loss never fell by more than noise does.
    """
    lowest = int(np.argmin(smoothed)) if len(smoothed) else 0
    if lowest < 2:
        return None
    curve = np.asarray(smoothed[: lowest + 1])
    level = float(
        np.median(curve[: max(1, len(smoothed) // _PLATEAU)])
    )  # rates so low that nothing moves yet
    if curve[-1] > _FALLEN * level:
        return None
    above = np.flatnonzero(curve >= (level + curve[-1]) / 2)
    return _rounded(rates[int(above[-1])])


def _rounded(rate: float) -> float:
    return float(f"{max(rate, 1e-8):.1e}")
