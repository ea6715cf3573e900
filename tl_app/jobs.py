"""The worker: starts jobs and goes on with them, one per device, across processes. Knows nothing of the page."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tl_app import loading, resources, runs
from tl_app.config import TrainConfig
from tl_app.data.index import DatasetIndex, relocate
from tl_app.errors import ResourceError, UsageError
from tl_app.events import Event, Notice
from tl_app.extending import extended
from tl_app.job import Asked, Job, Listener, no_model
from tl_app.locks import DeviceLock
from tl_app.references import located
from tl_app.scanning import scanned
from tl_app.snapshot import Snapshot, snapshot_of
from tl_app.transfer.extensions import Extension

if TYPE_CHECKING:
    from tl_app.data.store import Preprocessing

__all__ = ["Job", "Worker"]


class Worker:
    """Starts jobs, one at a time.

    Args:
        runs_dir: Where new runs are kept, and where names are looked up.
        before_job: Called first in the thread of each job.
    """

    def __init__(self, runs_dir: Path | None = None, before_job: Callable[[], None] | None = None) -> None:
        self.runs_dir = resources.runs_dir(runs_dir).resolve()
        self.job: Job | None = None
        self._before_job = before_job
        self._lock = threading.Lock()

    def start(
        self,
        config: TrainConfig,
        *,
        name: str | None = None,
        index: DatasetIndex | None = None,
        listener: Listener | None = None,
    ) -> Job:
        """Creates a run and starts training it.

        Args:
            config: ``config.data`` names the photos.
            name: Of the run; None for an automatic one.
            index: The scanned photos, when that was done before with the same split settings.
            listener: Called with each event, in the job's thread; before it, with the scan's progress, in this one.

        Raises:
            UserError: Another job holds the device, or settings, photos or machine do not fit.
        """
        config = located(config, self.runs_dir)
        if index is None:  # before anything that needs torch, which may be on its way
            index = scanned(config, listener)
        loading.wait()
        from tl_app.decisions import decided
        from tl_app.engine.setup import resolve, stage_names
        from tl_app.engine.source import source_of

        with self._lock, DeviceLock(config.device, self._running()) as lock:
            config = dataclasses.replace(config, data=index.source)
            used, reasons = decided(config, index, listener) if config.recipe == "auto" else (config, ())
            filled, preprocessing = resolve(used, len(index.used("train")))
            start = source_of(config)
            path = runs.create_run(
                self.runs_dir,
                name,
                asked=config,
                config=filled,
                preprocessing=preprocessing.to_dict(),
                stages=stage_names(filled),
                lineage=start.lineage if start is not None else (),
                index=index,
            )
            snapshot = Snapshot(
                run=path.name, run_path=str(path), backbone=config.backbone, epochs=filled.epochs or 0
            )
            notices = tuple(map(Notice, reasons))
            return self._launch(path, snapshot, filled, index, preprocessing, lock, listener, said=notices)

    def resume(self, run: str | Path, *, listener: Listener | None = None) -> Job:
        """Goes on with a run that was stopped, failed or was interrupted.

        Raises:
            UserError: There is no such run, it is complete or under way, or its photos are gone.
        """
        info = runs.open_run(run, self.runs_dir)
        with self._lock, DeviceLock(info.config.device, self._running()) as lock:
            info = runs.open_run(info.path, self.runs_dir)  # it may have moved on before the lock was ours
            if info.state == "completed":
                raise UsageError(
                    f"Run '{info.name}' is complete: all {info.epochs_done} epochs are done."
                    if info.epochs_done >= info.epochs
                    else f"Run '{info.name}' is complete: it was finished after {info.epochs_done} epochs.",
                    remedy="Extend it (`tl-app extend`) or start a new run to train more.",
                )
            return self._go_on(info, lock, listener)

    def finish(self, run: str | Path, *, listener: Listener | None = None) -> Job:
        """Makes a run that was stopped, failed or was interrupted complete, with its best model so far.

        Raises:
            UserError: There is no such run, it is complete or under way, it has no model yet, or its photos are gone.
        """
        info = runs.open_run(run, self.runs_dir)
        with self._lock, DeviceLock(info.config.device, self._running()) as lock:
            info = runs.open_run(info.path, self.runs_dir)
            if info.state == "completed":
                raise UsageError(f"Run '{info.name}' is complete.", remedy="Extend it to train more.")
            if not info.best_epoch:
                raise no_model(info.name, "Resume it to train more.")
            return self._go_on(info, lock, listener, only_finish=True)

    def extend(
        self,
        run: str | Path,
        *,
        listener: Listener | None = None,
        **asked: float | None,
    ) -> Job:
        """Goes on with a complete run for more epochs, or with more stages unfrozen.

        Args:
            run: Its name in ``runs_dir``, or its path.
            listener: Called with each event, in the job's thread.
            **asked: ``epochs``, ``unfreeze``, ``lr`` and ``lr_backbone``, as for
                :func:`tl_app.transfer.extensions.extend`.

        Raises:
            UserError: There is no such run, it is not complete, a number is out of range, or its photos are gone.
        """
        info = runs.open_run(run, self.runs_dir)
        with self._lock, DeviceLock(info.config.device, self._running()) as lock:
            info = runs.open_run(info.path, self.runs_dir)
            if info.resumable:
                raise UsageError(
                    f"Run '{info.name}' is not complete: {info.epochs_done} of {info.epochs} epochs are done.",
                    "Complete runs can be extended.",
                    "Resume it, and extend it when it is complete.",
                )
            return self._go_on(info, lock, listener, asked)

    def _go_on(
        self,
        info: runs.RunInfo,
        lock: DeviceLock,
        listener: Listener | None,
        asked: dict[str, Any] | None = None,
        *,
        only_finish: bool = False,
    ) -> Job:
        """Launches a run that has a folder; ``asked`` is what it is extended by first."""
        from tl_app.data.store import Preprocessing

        if info.is_running:
            raise ResourceError(f"Run '{info.name}' is being trained right now.", remedy="Stop it first.")
        index = relocate(DatasetIndex.read_manifest(info.path / "manifest.csv"))
        said: list[Event] = []
        if asked is not None:
            said.append(Notice(extended(info, **asked)))
            info = runs.open_run(info.path, self.runs_dir)
        snapshot = snapshot_of(info)
        snapshot.state, snapshot.message = "starting", ""
        preprocessing = Preprocessing.from_dict(info.preprocessing)
        extensions = [Extension.from_dict(each) for each in info.extensions]
        return self._launch(
            info.path,
            snapshot,
            info.config,
            index,
            preprocessing,
            lock,
            listener,
            extensions,
            said,
            only_finish=only_finish,
        )

    def close(self, timeout_seconds: float = 30.0) -> None:
        """Stops the running job in good order, if there is one."""
        if self.job is not None and self.job.is_alive:
            self.job.stop()
            self.job.wait(timeout_seconds)

    def _running(self) -> str:
        """The name of the job under way; empty when there is none."""
        return self.job.name if self.job is not None and self.job.is_alive else ""

    def _launch(
        self,
        path: Path,
        snapshot: Snapshot,
        config: TrainConfig,
        index: DatasetIndex,
        preprocessing: Preprocessing,
        lock: DeviceLock,
        listener: Listener | None,
        extensions: Sequence[Extension] = (),
        said: Sequence[Event] = (),
        *,
        only_finish: bool = False,
    ) -> Job:
        from tl_app.engine.train import train

        def events(stop: Asked, finish: Asked) -> Iterator[Event]:
            if self._before_job is not None:
                self._before_job()
            yield from said
            folder = path / "checkpoints"
            yield from train(
                config, index, preprocessing, folder, extensions=extensions, stop=stop, finish=finish
            )

        job = Job(path, snapshot, events, only_finish=only_finish)
        try:
            lock.keep(path.name)
            job.start(listener, lock.release)
        except BaseException as error:
            lock.kept = False
            with contextlib.suppress(OSError):
                (path / "status.json").unlink()  # no process is at it: the run counts as interrupted
            if isinstance(error, OSError):
                raise ResourceError(
                    f"The run {path} could not be started: {error.strerror or error}.",
                    remedy=f"Free some space, then resume the run '{path.name}'.",
                ) from error
            raise
        self.job = job
        return job
