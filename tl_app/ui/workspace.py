"""What one running app remembers beside the page: worker and prober, scanned photos, loaded predictors.

It belongs to the server, not to a browser tab, so that a reloaded page or a second browser finds everything
again. Knows nothing of components.
"""

from __future__ import annotations

import collections
import dataclasses
import threading
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tl_app import loading, resources, runs
from tl_app.config import TrainConfig
from tl_app.data.index import DatasetIndex, scan
from tl_app.data.roots import Roots, confined, lies_in
from tl_app.errors import UsageError
from tl_app.events import Event
from tl_app.jobs import Job, Worker
from tl_app.references import FILE_PREFIX, RUN_PREFIX, located
from tl_app.runs import RunInfo
from tl_app.scanning import scanned
from tl_app.snapshot import Snapshot, snapshot_of
from tl_app.ui import manners, remembered
from tl_app.ui.aside import Aside
from tl_app.ui.examiner import Examiner
from tl_app.ui.exporter import exporter
from tl_app.ui.opened import Opened
from tl_app.ui.prober import Prober
from tl_app.ui.sharing import Sharer
from tl_app.worthwhile import Study, WorthResult, result_of, study, study_of

if TYPE_CHECKING:
    from tl_app.export.answering import OnnxPredictor
    from tl_app.finding import RatesResult
    from tl_app.predictor import Predictor

_PREDICTORS_KEPT = 2
_DATASETS_KEPT = 4

Mark = tuple[str, int, int, bool]
Photographed = tuple[TrainConfig, DatasetIndex]
Progress = Callable[[int, int], None]


class Workspace:
    """The app's memory. Safe to use from several browser tabs at once.

    Args:
        runs_dir: Where runs are kept.
        roots: Folders that photos may come from, when who asks may not use all; then runs come from ``runs_dir`` alone.
    """

    def __init__(self, runs_dir: Path | None = None, roots: Roots = None) -> None:
        """Nothing is read or written yet."""
        self.roots = roots
        self._confined: set[tuple[str, int]] = set()
        self.worker = Worker(runs_dir, before_job=manners.step_aside)
        self.prober = Prober(self.running)
        self.finder: Aside[Photographed, RatesResult] = Aside(
            "tl-app learning rates",
            self._rates,
            busy="A learning rate is being searched for already.",
            patience_seconds=20.0,  # a step may take a few
        )
        self.weigher: Aside[Study, WorthResult] = Aside(
            "tl-app study",
            lambda plan, stop: study(plan, stop, manners.step_aside),
            busy="A study is under way already.",
            patience_seconds=60.0,  # a batch, and the checkpoint after it
            so_far=result_of,
        )
        self.examiner = Examiner(self.open_with_photos)
        self.exporter = exporter()
        self.sharer = Sharer()
        self._lock = threading.Lock()
        self._datasets: collections.OrderedDict[str, DatasetIndex] = collections.OrderedDict()
        self._predictors: collections.OrderedDict[tuple[str, ...], Predictor] = collections.OrderedDict()
        self.opened = Opened()
        self._stored: tuple[str, Snapshot] | None = None

    @property
    def runs_dir(self) -> Path:
        """Where runs are kept."""
        return self.worker.runs_dir

    # Photos

    def scan(self, source: str, on_progress: Progress | None = None) -> DatasetIndex:
        """Scans a folder or zip and remembers it, also among the recent ones.

        Raises:
            DataError: The photos cannot be used as they are.
        """
        index = scan(source, roots=self.roots, on_progress=on_progress)
        key = str(index.source)
        with self._lock:
            self._datasets[key] = index
            self._datasets.move_to_end(key)
            while len(self._datasets) > _DATASETS_KEPT:
                self._datasets.popitem(last=False)
        remembered.remember(key)
        return index

    def recent(self) -> list[str]:
        """Folders and zips used before that may be used now, latest first."""
        return [source for source in remembered.recent() if lies_in(source, self.roots)]

    def dataset(self, source: str) -> DatasetIndex | None:
        """The photos scanned under that name, if they still are in memory."""
        return self._datasets.get(source)

    def last_dataset(self) -> DatasetIndex | None:
        """The photos chosen last, for a page that was just opened."""
        with self._lock:
            return next(reversed(self._datasets.values()), None)

    # Runs

    def open_run(self, run: str | Path) -> RunInfo:
        """A run by its name or path.

        Raises:
            UsageError: There is none that may be used from here.
        """
        return runs.open_run(self._own(run), self.runs_dir)

    def open_with_photos(self, run: str | Path) -> RunInfo:
        """A run whose photos will be read.

        Raises:
            UsageError: There is none that may be used from here.
            DataError: Its photos may not.
        """
        info = self.open_run(run)
        manifest = info.path / "manifest.csv"
        if self.roots is None or not manifest.is_file():
            return info
        state = (str(manifest), manifest.stat().st_mtime_ns)
        if state not in self._confined:
            index = DatasetIndex.read_manifest(manifest)
            roots = [*self.roots, resources.cache_dir() / "zips"]
            for place in (
                index.root,
                *(index.root / photo.path for photo in index.photos if not photo.issue),
            ):
                confined(place, roots)
            self._confined.add(state)
        return info

    def checked(self, config: TrainConfig) -> TrainConfig:
        """The settings, once what they start from may be used from here.

        Raises:
            UsageError: They name a run that may not.
            DataError: They name a file that may not.
        """
        named = {"weights": config.weights, "teacher": config.teacher}
        for setting, value in named.items():
            if value.startswith(RUN_PREFIX):
                # By its whole path: a name could be found in the server's working directory, too.
                named[setting] = f"{RUN_PREFIX}{self._own(value.removeprefix(RUN_PREFIX))}"
            elif value.startswith(FILE_PREFIX):
                confined(Path(value.removeprefix(FILE_PREFIX)).expanduser(), self.roots)
        return dataclasses.replace(config, weights=named["weights"], teacher=named["teacher"])

    def _own(self, run: str | Path) -> str | Path:
        if self.roots is None:
            return run
        found = (self.runs_dir / run).resolve()
        if found.parent == self.runs_dir.resolve():
            return found
        raise UsageError(
            f"The run '{run}' may not be used from here.", f"Allowed are those in {self.runs_dir}."
        )

    # Training

    def start(self, config: TrainConfig, name: str | None = None) -> None:
        """Starts a run; the scanned photos are used again when the config would split them in the same way.

        Raises:
            UserError: Another run is being trained, or settings, photos or machine do not fit.
        """
        config = self.checked(config)
        index = self._index(config)
        if index is None and self.roots is not None:  # the worker's own scan would follow links anywhere
            index = scanned(config, None, self.roots)
        loading.wait()
        self._make_way()
        _rest_after(self.worker.start(config, name=name, index=index))

    def resume(self, run: Path) -> None:
        """Goes on with a run.

        Raises:
            UserError: It cannot be resumed, or another run is being trained.
        """
        run = self.open_with_photos(run).path
        loading.wait()
        self._make_way()
        _rest_after(self.worker.resume(run))

    def finish(self, run: Path) -> None:
        """Makes a run complete with its best model so far, whether it is under way or was stopped.

        Raises:
            UserError: It cannot be finished, or another run is being trained.
        """
        job = self.worker.job
        if job is not None and job.path == run:
            if job.is_alive or not job.snapshot().is_waiting:
                return job.finish()
        run = self.open_with_photos(run).path
        loading.wait()
        self._make_way()
        _rest_after(self.worker.finish(run))

    def find_rate(self, config: TrainConfig) -> None:
        """Searches for a learning rate in the background.

        Raises:
            UserError: A search is under way, or the photos cannot be used.
        """
        loading.wait()
        config = located(self.checked(config), self.runs_dir)
        index = self._index(config) or scanned(config, None, self.roots)
        self.prober.make_way()
        self.weigher.make_way()
        self.finder.start((config, index))

    def _rates(self, plan: Photographed, stop: Callable[[], bool]) -> Generator[Event, None, RatesResult]:
        from tl_app.finding import find

        return find(*plan, stop, self.running())

    def weigh(self, config: TrainConfig, shares: Sequence[int], epochs: int) -> None:
        """Finds out in the background what transfer is worth for these photos.

        Raises:
            UserError: A study is under way, or settings or photos do not fit.
        """
        loading.wait()
        config = self.checked(config)
        index = self._index(config) or scanned(config, None, self.roots)
        plan = study_of(config, index, self.runs_dir, shares, epochs)
        self.prober.make_way()
        self.finder.make_way()
        self.weigher.start(plan)

    def _make_way(self) -> None:
        """Stops what goes on in the background, for a training."""
        for other in (self.prober, self.finder, self.weigher, self.exporter):
            other.make_way()

    def close(self) -> None:
        """Ends whatever goes on, with the app."""
        for other in (self.prober, self.finder, self.exporter, self.sharer, self.examiner):
            other.stop()
        self.weigher.make_way()
        self.worker.close()

    def _index(self, config: TrainConfig) -> DatasetIndex | None:
        """The photos as they were scanned, when the config would split them in the same way."""
        index, default = self.dataset(config.data), TrainConfig()
        same_split = (config.val_fraction, config.seed) == (default.val_fraction, default.seed)
        if index is not None and index.made_split and not same_split:
            return None
        if index is not None and not index.root.is_dir():  # a zip's photos, cleared from the cache since
            return None
        return index

    def extend(self, run: Path, epochs: int, unfreeze: int) -> None:
        """Goes on with a complete run for more epochs, perhaps with more stages unfrozen.

        Raises:
            UserError: It cannot be extended, or another run is being trained.
        """
        run = self.open_with_photos(run).path
        loading.wait()
        self._make_way()
        _rest_after(self.worker.extend(run, epochs=epochs, unfreeze=unfreeze))

    def running(self) -> str:
        """The name of the run that is being trained by this app; empty when there is none."""
        job = self.worker.job
        return job.name if job is not None and job.is_alive else ""

    def mark(self) -> Mark | None:
        """A cheap token that changes whenever :meth:`snapshot` would."""
        job = self.worker.job
        if job is not None:
            return str(job.path), id(job), job.version, job.is_alive
        stored = self._unfinished()
        return (stored.run_path, 0, stored.version, False) if stored else None

    def snapshot(self) -> Snapshot | None:
        """The run to show: the running or last one, else the newest when it waits to be resumed."""
        job = self.worker.job
        return job.snapshot() if job is not None else self._unfinished()

    def _unfinished(self) -> Snapshot | None:
        """The newest run of an earlier process, when it can be resumed; looked up once per app."""
        if self._stored is None:
            newest = next(iter(runs.list_runs(self.runs_dir)), None)
            found = snapshot_of(newest) if newest is not None and newest.resumable else Snapshot()
            self._stored = (found.run_path, found)
        return self._stored[1] if self._stored[0] else None

    def forget(self, path: Path) -> None:
        """Drops what is remembered of a run that was deleted."""
        self.examiner.forget(path.name)
        if self._stored is not None and self._stored[0] == str(path):
            self._stored = ("", Snapshot())
        job = self.worker.job
        if job is not None and job.path == path and not job.is_alive:
            self.worker.job = None

    # Predicting

    def predictor(self, kind: str, name: str, on_progress: Progress | None = None) -> Predictor:
        """A loaded run (kind ``run``) or a pretrained network as it is (kind ``backbone``).

        Raises:
            UserError: There is no model to use.
        """
        loading.wait()
        from tl_app.predictor import load_backbone, load_run, state_of

        key: tuple[str, ...] = (kind, name)
        if kind == "run":
            info = self.open_run(name)
            key = (kind, str(info.path), info.created, *state_of(info))
        with self._lock:
            if key in self._predictors:
                self._predictors.move_to_end(key)
                return self._predictors[key]
        found = load_run(info) if kind == "run" else load_backbone(name, on_progress=on_progress)
        with self._lock:
            self._predictors[key] = found
            while len(self._predictors) > _PREDICTORS_KEPT:
                self._predictors.popitem(last=False)
        return found

    def model(self, kind: str, name: str, on_progress: Progress | None = None) -> Predictor | OnnxPredictor:
        """Like :meth:`predictor`, also of kind ``export``: a model that was opened."""
        return (
            self.opened.get(name).predictor if kind == "export" else self.predictor(kind, name, on_progress)
        )


def _rest_after(job: Job) -> None:
    """Gives memory back when the job has ended."""

    def wait() -> None:
        job.wait()
        manners.give_back()

    threading.Thread(target=wait, name=f"end of {job.name}", daemon=True).start()
