"""Was transfer worth it? From scratch, head only, partial and full, with a part of the photos and with all of them.

Every training of such a study is an ordinary run, in a folder of the study's own, so that a study that was stopped, or
killed, goes on where it was. All of them have the same number of epochs: the same looks at each photo, which can be
repeated on any machine, as the same time could not. Knows nothing of the page.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tl_app import plots_runs, resources, runs
from tl_app.analysis.certainty import share_interval
from tl_app.analysis.verdict import RECIPES, Trained, read_chart
from tl_app.config import TrainConfig
from tl_app.data.index import DatasetIndex
from tl_app.data.portions import portion
from tl_app.errors import Interrupted, UsageError
from tl_app.events import Event, Progress
from tl_app.jobs import Job, Worker
from tl_app.references import located
from tl_app.results import read_result
from tl_app.runs import RunInfo

SHARES = (25, 50, 100)  # of the training photos of each class, in percent
EPOCHS = 10  # half of what a small folder gets: enough to tell the recipes apart, not to get the best of each

# What a study takes over from the settings; recipe, rates and all that goes with one recipe only stay as they are.
KEPT = (
    "data",
    "backbone",
    "weights",
    "image_size",
    "batch_size",
    "augmentation",
    "flip",
    "val_fraction",
    "balance",
    "seed",
    "device",
    "precision",
)
_POLL_SECONDS = 0.2
_END_SECONDS = 60.0  # the longest batch, and the checkpoint after it


@dataclass(frozen=True)
class Study:
    """What is to be trained.

    Attributes:
        config: What all trainings share.
        index: All photos.
        folder: Where the runs are kept.
        shares: Of the training photos, in percent, rising.
        epochs: Of every training.
    """

    config: TrainConfig
    index: DatasetIndex
    folder: Path
    shares: tuple[int, ...]
    epochs: int

    @property
    def cells(self) -> list[tuple[str, int]]:
        """Every training: recipe and share, the cheap ones first, so that the chart has something to say soon."""
        return [(recipe, share) for share in self.shares for recipe in RECIPES]


@dataclass(frozen=True)
class WorthResult:
    """What a study has found so far.

    Attributes:
        data: The photos.
        backbone: What was trained.
        image_size: Side of its input, in pixels.
        epochs: Of every training; the same for all.
        val_images: The same for all, too.
        trainings: Those that are done, of ``planned``.
        sentences: What the chart says.
        figure: The chart, a plotly figure as plain dictionaries.
        folder: Where the runs are.
    """

    data: str
    backbone: str
    image_size: int
    epochs: int
    val_images: int
    trainings: tuple[Trained, ...]
    planned: int
    sentences: tuple[str, ...]
    figure: dict[str, Any]
    folder: str

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to train."""
        return len(self.trainings) == self.planned


def check(settings: Iterable[str]) -> None:
    """Whether a study can take these settings.

    Raises:
        UsageError: One is not the same for all its trainings.
    """
    strange = sorted(set(settings) - set(KEPT))
    if strange:
        raise UsageError(
            f"A study decides '{strange[0]}' by itself.",
            f"Settings it takes: {', '.join(KEPT[1:])}.",
            "Leave it out, or train such a run by itself.",
        )


def study_of(
    config: TrainConfig,
    index: DatasetIndex,
    runs_dir: Path,
    shares: Sequence[int] = SHARES,
    epochs: int = EPOCHS,
) -> Study:
    """The study of these photos with these settings; the same ones find what was trained before.

    Args:
        config: :data:`KEPT` fields of it are used.
        index: The photos, split.
        runs_dir: Where runs that the settings name are looked up.
        shares: Of the training photos, in percent.
        epochs: Of every training.

    Raises:
        UsageError: A share or the number of epochs is out of range, or there is no such run.
    """
    wanted = tuple(sorted(set(shares)))
    if not wanted or not all(1 <= share <= 100 for share in wanted):
        raise UsageError(
            f"Shares are {', '.join(map(str, shares)) or 'none'}.",
            "Allowed: from 1 to 100 percent, such as 25 50 100.",
        )
    config = located(TrainConfig(**{name: getattr(config, name) for name in KEPT}), runs_dir)
    if config.weights == "random":
        raise UsageError(
            "Random weights were asked for, which leaves nothing to transfer.",
            remedy="Choose pretrained weights.",
        )
    from tl_app.engine.setup import preprocessing_of

    size = preprocessing_of(
        config
    ).crop  # from scratch it must be the same, whatever the weights were made for
    config = dataclasses.replace(config, epochs=epochs, image_size=size)
    settings = json.dumps([config.to_dict() | {"data": ""}, index.fingerprint()], sort_keys=True)
    key = hashlib.blake2b(settings.encode(), digest_size=8).hexdigest()
    return Study(config, index, resources.home_dir() / "worth" / key, wanted, epochs)


def study(
    plan: Study,
    stop: Callable[[], bool],
    before_job: Callable[[], None] | None = None,
) -> Generator[Event, None, WorthResult]:
    """Trains what is not trained yet, one after the other.

    Args:
        plan: From :func:`study_of`.
        stop: Asked several times a second.
        before_job: Called first in the thread of each training.

    Yields:
        How far it is, in epochs of all trainings.

    Returns:
        The result (use ``yield from``).

    Raises:
        UserError: Settings, photos or machine do not fit, or another run is being trained on the device.
        Interrupted: ``stop`` said so; what is trained is kept, and the next call goes on from there.
    """
    worker = Worker(plan.folder, before_job)
    total = plan.epochs * len(plan.cells)
    for number, (recipe, share) in enumerate(plan.cells):
        name = _name(recipe, share)
        known = _known(plan.folder, name)
        if known is not None and known.state == "completed":
            _forget_weights(known.path)  # where a process was killed before it did
            continue
        photos = portion(plan.index, share, plan.config.seed)
        what = f"{RECIPES[recipe]}, {len(photos.used('train')):,} photos"
        yield Progress(what, number * plan.epochs, total, "epochs")
        if stop():
            raise Interrupted("The study was stopped.")
        if known is None:
            job = worker.start(cell_config(plan.config, recipe), name=name, index=photos)
        else:
            job = worker.resume(name)
        yield from _watched(job, what, number * plan.epochs, total, stop)
        _forget_weights(plan.folder / name)
    return result_of(plan)


def cell_config(config: TrainConfig, recipe: str) -> TrainConfig:
    """The settings of one training: from scratch nothing is taken over."""
    weights = "default" if recipe == "scratch" else config.weights
    return dataclasses.replace(config, recipe=recipe, weights=weights)


def result_of(plan: Study) -> WorthResult:
    """What there is so far, read from the study's folder."""
    trainings = tuple(
        trained
        for recipe, share in plan.cells
        if (trained := _trained(plan.folder, recipe, share)) is not None
    )
    lines = {
        words: [_point(each) for each in trainings if each.recipe == recipe]
        for recipe, words in RECIPES.items()
    }
    assert plan.config.image_size is not None
    return WorthResult(
        data=plan.index.source,
        backbone=plan.config.backbone,
        image_size=plan.config.image_size,
        epochs=plan.epochs,
        val_images=len(plan.index.used("val")),
        trainings=trainings,
        planned=len(plan.cells),
        sentences=read_chart(trainings),
        figure=plots_runs.against_photos({words: points for words, points in lines.items() if points}),
        folder=str(plan.folder),
    )


def _watched(
    job: Job, what: str, done: int, total: int, stop: Callable[[], bool]
) -> Generator[Event, None, None]:
    """Waits for the end of one training.

    Raises:
        Interrupted: ``stop`` said so.
        BaseException: Whatever ended the training.
    """
    try:
        while not job.wait(_POLL_SECONDS):
            snapshot = job.snapshot()
            beside = f" ({snapshot.activity})" if snapshot.activity else ""
            yield Progress(what + beside, done + len(snapshot.epoch_rows), total, "epochs")
            if stop():
                raise Interrupted(
                    "The study was stopped. What is trained is kept: the next one goes on from there."
                )
    finally:  # also when nobody asks for more events: a training must not outlive its study
        job.stop()
        job.wait(_END_SECONDS)
    if job.error is not None:
        raise job.error


def _known(folder: Path, name: str) -> RunInfo | None:
    return runs.open_run(folder / name, folder) if (folder / name / "config.json").is_file() else None


def _forget_weights(run: Path) -> None:
    """A chart needs no weights: the networks of twelve trainings are a lot of disk."""
    shutil.rmtree(run / "checkpoints", ignore_errors=True)


def _trained(folder: Path, recipe: str, share: int) -> Trained | None:
    result = read_result(folder / _name(recipe, share))
    if result is None or result.state != "completed" or result.val_accuracy is None:
        return None
    low, high = share_interval(result.val_accuracy, result.val_images)
    return Trained(
        recipe=recipe,
        share=share,
        photos=result.train_images,
        val_images=result.val_images,
        accuracy=result.val_accuracy,
        low=low,
        high=high,
        seconds=result.seconds,
        trained_parameters=result.trainable_parameters,
        total_parameters=result.total_parameters,
    )


def _point(trained: Trained) -> plots_runs.Point:
    return plots_runs.Point(
        trained.photos,
        trained.accuracy,
        trained.low,
        trained.high,
        trained.seconds,
        trained.trained_parameters,
    )


def _name(recipe: str, share: int) -> str:
    return f"{recipe} {share}"
