"""Jobs: a run trained by one background thread, which records every event in the run folder.

A job belongs to the process, not to a browser tab or a terminal. One job per device, across processes. Knows
nothing of how events are shown.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tl_app import history, resources, results, runs
from tl_app.config import TrainConfig
from tl_app.data.index import DatasetIndex, relocate
from tl_app.errors import Interrupted, ResourceError, UsageError, UserError
from tl_app.events import CheckpointSaved, EpochDone, Event, Finished, Notice
from tl_app.extending import extended
from tl_app.locks import DeviceLock
from tl_app.references import located
from tl_app.scanning import scanned
from tl_app.snapshot import Snapshot, result_of, snapshot_of
from tl_app.transfer.extensions import Extension

if TYPE_CHECKING:
    from tl_app.data.store import Preprocessing

Listener = Callable[[Event], None]
Asked = Callable[[], bool]  # whether somebody asked for an end


class Job:
    """One run being trained by a thread of this process."""

    def __init__(
        self, path: Path, snapshot: Snapshot, events: Callable[[Asked, Asked], Iterator[Event]]
    ) -> None:
        self.path = path
        self.error: BaseException | None = None
        self._snapshot = snapshot
        self._events = events
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._finishing = threading.Event()
        # Not Thread.join: Ctrl-C in it makes Python 3.11 take a running thread for dead.
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"tl-app job {path.name}", daemon=True)
        self._evaluation: dict[str, Any] | None = None
        self._listener: Listener | None = None
        self._done: Callable[[], None] = lambda: None

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.name

    @property
    def is_alive(self) -> bool:
        """Whether the thread is still at work."""
        return not self._ended.is_set()

    @property
    def version(self) -> int:
        """Moves whenever the snapshot does; cheap to ask for."""
        return self._snapshot.version

    def snapshot(self) -> Snapshot:
        """A copy of where the run stands."""
        with self._lock:
            return self._snapshot.copy()

    def stop(self) -> None:
        """Asks for an end in good order; training ends within the current batch with the best model kept."""
        self._stopping.set()
        with self._lock:
            if self._snapshot.is_running:
                self._snapshot.state = "stopping"
                self._snapshot.version += 1

    def finish(self) -> None:
        """Asks for an end as :meth:`stop` does, and makes the run complete, with its best model so far.

        Raises:
            UsageError: There is no model to finish with, or the run has ended.
        """
        with self._lock:
            if not (self.is_alive and self._snapshot.is_running):
                raise UsageError(f"Run '{self.name}' has ended.", remedy="Extend it to train more.")
            if not self._snapshot.best_epoch:
                raise UsageError(
                    f"Run '{self.name}' has no best model yet: its first epoch is not done.",
                    remedy="Wait for it, or stop the run.",
                )
        self._finishing.set()
        self.stop()

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Waits for the end of the job; returns whether it ended."""
        return self._ended.wait(timeout_seconds)

    def start(self, listener: Listener | None, done: Callable[[], None]) -> None:
        """Starts the thread; ``listener`` is called in it with each recorded event, ``done`` at its end."""
        self._listener, self._done = listener, done
        self._status("starting", "")
        self._thread.start()

    def _run(self) -> None:
        try:
            with open(self.path / history.NAME, "a+b") as file:
                history.end_torn_line(file)
                for event in self._until_judged():
                    self._record(event, file)
        except Interrupted:
            self._end("stopped", "Stopped before the first step. Resume starts it.")
        except UserError as error:
            self._end("failed", str(error), error)
        except OSError as error:
            text = f"The run folder {self.path} could not be written: {error.strerror or error}."
            failure = ResourceError(text, remedy="Free some space and resume the run.")
            failure.__cause__ = error
            self._end("failed", str(failure), failure)
        except BaseException as error:  # a defect of ours: kept for the reader and in the run folder
            story = traceback.format_exc().encode(errors="backslashreplace")
            with contextlib.suppress(OSError):
                (self.path / "error.log").write_bytes(story)
            text = f"Unexpected {type(error).__name__}: {error}. See error.log in the run folder."
            self._end("failed", text, error)
        finally:
            try:
                self._done()
            finally:
                self._ended.set()

    def _until_judged(self) -> Iterator[Event]:
        """Calibration comes before the end: a process killed within it leaves a run that resumes with it."""
        from tl_app.evaluation import concluded

        for event in self._until_ended():
            if isinstance(event, Finished) and event.reason == "completed":
                self._evaluation = yield from concluded(self.path, self._stopped)
            yield event

    def _stopped(self) -> bool:
        """Whether a person asked for an end at once, and not for a finished run."""
        return self._stopping.is_set() and not self._finishing.is_set()

    def _until_ended(self) -> Iterator[Event]:
        try:
            yield from self._events(self._stopping.is_set, self._finishing.is_set)
        except Interrupted:
            if not self._finishing.is_set():
                raise
            now = self._snapshot
            best = (now.best_epoch, now.val_accuracy, now.val_loss)
            yield Finished("completed", *best, now.seconds, now.images_per_second)

    def _record(self, event: Event, file: IO[bytes]) -> None:
        history.append(file, event)
        with self._lock:
            state = self._snapshot.state
            self._snapshot.apply(event)
            now = self._snapshot.state
        if isinstance(event, Finished):
            result = result_of(self.path, self._snapshot, event)
            results.write_result(self.path, result, self._evaluation)
        if now != state or isinstance(event, EpochDone | CheckpointSaved | Finished):
            self._status("running" if now == "stopping" else now, "")
        if self._listener is not None:
            try:
                self._listener(event)
            except BaseException as error:  # a terminal that went away must not cost anyone a training
                warnings.warn(f"No longer shown: {error!r}", RuntimeWarning, stacklevel=2)
                self._listener = None

    def _end(self, state: str, message: str, error: BaseException | None = None) -> None:
        self.error = error
        try:
            self._status(state, message)
        except (
            OSError
        ):  # a full disk is what `error` is about, most likely: no status at all means interrupted
            with contextlib.suppress(OSError):
                (self.path / "status.json").unlink()
        with self._lock:
            self._snapshot.state, self._snapshot.message, self._snapshot.activity = state, message, ""
            self._snapshot.eta_seconds = None
            self._snapshot.version += 1

    def _status(self, state: str, message: str) -> None:
        now = self._snapshot
        runs.write_status(
            self.path,
            state,
            message,
            epochs_done=len(now.epoch_rows),
            best_epoch=now.best_epoch,
            val_accuracy=now.val_accuracy,
            val_loss=now.val_loss,
            seconds=now.seconds,
        )


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
        from tl_app.decisions import decided
        from tl_app.engine.setup import resolve, stage_names
        from tl_app.engine.source import source_of

        config = located(config, self.runs_dir)
        with self._lock, DeviceLock(config.device, self._running()) as lock:
            if index is None:
                index = scanned(config, listener)
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
            info.path, snapshot, info.config, index, preprocessing, lock, listener, extensions, said
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

        job = Job(path, snapshot, events)
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
