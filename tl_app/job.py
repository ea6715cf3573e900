"""A job: a run trained by one background thread, which records every event in the run folder.

A job belongs to the process, not to a browser tab or a terminal. Knows nothing of how events are shown, or of other
jobs.
"""

from __future__ import annotations

import contextlib
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from tl_app import history, results, runs
from tl_app.errors import Interrupted, ResourceError, UsageError, UserError
from tl_app.events import CheckpointSaved, EpochDone, Event, Finished, PhaseStarted
from tl_app.snapshot import Snapshot, result_of

Listener = Callable[[Event], None]
Asked = Callable[[], bool]  # whether somebody asked for an end


class Job:
    """One run being trained by a thread of this process."""

    def __init__(
        self,
        path: Path,
        snapshot: Snapshot,
        events: Callable[[Asked, Asked], Iterator[Event]],
        *,
        only_finish: bool = False,
    ) -> None:
        self.path = path
        self.error: BaseException | None = None
        self._snapshot = snapshot
        self._events = events
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._finishing = threading.Event()
        if only_finish:  # it is told to stop when its first phase has begun, and has all that a soup needs
            self._finishing.set()
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
                raise no_model(self.name, "Wait for it, or stop the run.")
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
        if isinstance(event, PhaseStarted) and self._finishing.is_set():
            self._stopping.set()
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


def no_model(run: str, remedy: str) -> UsageError:
    """What is said of a run that has no model to finish with."""
    return UsageError(f"Run '{run}' has no best model yet: its first epoch is not done.", remedy=remedy)
