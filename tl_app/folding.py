"""Cross-validation: a run's settings trained several times on other splits of its photos, in a folder that goes away.

Knows nothing of how progress is shown.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tl_app import resources, runs, words
from tl_app.analysis.answers import Answers, answers_of
from tl_app.analysis.learned import inherited
from tl_app.analysis.metrics import measured
from tl_app.data.index import DatasetIndex, relocate
from tl_app.data.splits import dealt
from tl_app.errors import DataError, Interrupted, UsageError
from tl_app.events import Event, Notice
from tl_app.jobs import Job, Worker
from tl_app.runs import RunInfo

_MOST_FOLDS = 20

Listener = Callable[[Event], None]


@dataclass(frozen=True)
class FoldsResult:
    """How right models with a run's settings are, over several splits.

    Attributes:
        run: The run folder's path.
        data: The photos.
        folds: How many trainings there were.
        images: How many photos were left out of one of them and judged by it.
        accuracies: Of each training, on the photos left out of it. Its best epoch was chosen by the same photos, so
            they are a little optimistic.
        accuracy: Their mean.
        spread: Their standard deviation, which is what another split changes.
        accuracy_interval: Where the accuracy on all such photos lies with 95 % confidence, from all photos together as
            if one model had judged them; no estimate of it from folds is without bias (Bengio and Grandvalet 2004,
            "No Unbiased Estimator of the Variance of K-Fold Cross-Validation").
        balanced_accuracy: Over all photos together, as the rest.
        macro_f1: As in :class:`tl_app.evaluation.EvaluationResult`.
        weighted_f1: Likewise.
        per_class: Likewise.
        confusion: Likewise.
        classes: Their names.
        seconds: What it took.
    """

    run: str
    data: str
    folds: int
    images: int
    accuracies: list[float]
    accuracy: float
    spread: float
    accuracy_interval: tuple[float, float]
    balanced_accuracy: float
    macro_f1: float
    weighted_f1: float
    per_class: dict[str, dict[str, Any]]
    confusion: list[list[int]]
    classes: tuple[str, ...]
    seconds: float


def cross_validated(info: RunInfo, folds: int, listener: Listener | None = None) -> FoldsResult:
    """Trains on all folds but one, once for each; arguments as for :func:`tl_app.insights.cross_validate`."""
    if not 2 <= folds <= _MOST_FOLDS:
        raise UsageError(f"folds is {folds}.", f"Allowed: 2 to {_MOST_FOLDS}; 5 is usual.")
    if info.blended is not None:
        raise UsageError(
            f"Run '{info.name}' is a blend; no training makes it.", f"Cross-validate '{info.blended[0]}'."
        )
    if info.extensions:
        raise UsageError(
            f"Run '{info.name}' was extended after its end, which folds do not repeat.",
            remedy="Train once more with as many epochs and stages in all, and cross-validate that run.",
        )
    index = relocate(DatasetIndex.read_manifest(info.path / "manifest.csv"))
    _check_source(info, index)
    start, found = time.perf_counter(), list[Answers]()
    with _folder(info) as folder:
        worker = Worker(folder)
        for number, split in enumerate(fold_indexes(index, folds, info.config.seed), 1):
            if listener is not None:
                counts = (words.plural(len(split.used(name)), "photo") for name in ("train", "val"))
                listener(Notice(f"Fold {number} of {folds}: {' to train on, '.join(counts)} left out."))
            job = worker.start(info.config, name=f"fold {number}", index=split, listener=listener)
            _wait(job)
            found.append(answers_of(runs.open_run(job.path, folder), "val", device=info.config.device))
    accuracies = [float((each.logits.argmax(1) == each.labels).mean()) for each in found]
    together = measured(
        np.concatenate([each.labels for each in found]),
        np.concatenate([each.logits for each in found]),
        info.classes,
    )
    return FoldsResult(
        run=str(info.path),
        data=index.source,
        folds=folds,
        images=together.images,
        accuracies=accuracies,
        accuracy=statistics.mean(accuracies),
        spread=statistics.stdev(accuracies),
        accuracy_interval=together.accuracy_interval,
        balanced_accuracy=together.balanced_accuracy,
        macro_f1=together.macro_f1,
        weighted_f1=together.weighted_f1,
        per_class=together.per_class,
        confusion=together.confusion.tolist(),
        classes=info.classes,
        seconds=time.perf_counter() - start,
    )


def _check_source(info: RunInfo, index: DatasetIndex) -> None:
    """Whether folds would be measured on photos that the weights they start from have learned."""
    own = {photo.content_hash for split in ("train", "val") for photo in index.used(split)}
    if known := inherited(info) & own:
        raise UsageError(
            f"Run '{info.name}' starts from a run that has learned {words.plural(len(known), 'photo')} of these "
            "already, so folds would flatter.",
            remedy="Cross-validate a run that starts from published weights.",
        )


def fold_indexes(index: DatasetIndex, folds: int, seed: int) -> list[DatasetIndex]:
    """A split for each fold: its photos validate, those of the others train; test photos are in none.

    Raises:
        DataError: There are too few photos for so many folds.
    """
    photos = [*index.used("train"), *index.used("val")]
    places = dealt([p.label for p in photos], folds, seed, [p.content_hash or p.path for p in photos])
    if len(set(places) - {-1}) < folds:
        raise DataError(f"{words.plural(len(photos), 'photo')} are too few for {folds} folds.")
    found = []
    for fold in range(folds):
        rows = [
            dataclasses.replace(photo, split="val" if place == fold else "train")
            for photo, place in zip(photos, places, strict=True)
        ]
        rows.sort(key=lambda photo: photo.path)
        found.append(dataclasses.replace(index, photos=tuple(rows)))
    return found


def _wait(job: Job) -> None:
    """Until it ends; Ctrl-C ends it in good order first, so that nothing writes into the folder any more."""
    try:
        while not job.wait(0.2):  # short waits, so that Ctrl-C is seen on every platform
            pass
    except KeyboardInterrupt:
        job.stop()
        job.wait()
        raise
    if job.error is not None:
        raise job.error
    if job.snapshot().state != "completed":
        raise Interrupted("Cross-validation was stopped.")


@contextlib.contextmanager
def _folder(info: RunInfo) -> Iterator[Path]:
    """For the runs of the folds; beside the caches, which may be on a larger disk than the system's own folder."""
    parent = resources.cache_dir()
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(".folds-*"):  # of a process that was killed; none takes a day for one epoch
        if time.time() - left.stat().st_mtime > 24 * 3600:
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f".folds-{info.name[:20]}-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
