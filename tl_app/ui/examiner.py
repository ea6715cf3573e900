"""Runs examined in the background: answers computed once, then held ready for the page, a few at a time.

It belongs to the server, like a job, and goes on beside a training, out of its way. Knows nothing of components.
"""

from __future__ import annotations

import collections
import dataclasses
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tl_app import loading
from tl_app.errors import Interrupted, UsageError, UserError
from tl_app.runs import RunInfo
from tl_app.ui import manners

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tl_app.analysis.examined import Examined

    Plane = tuple[NDArray[np.int64], NDArray[np.float32], float | None]

Shown = tuple[str, str, str]  # a run, a split, and the model that the page shows of it
State = Literal["running", "done", "stopped", "failed"]

_KEPT = 4  # what was examined last: figures of 10,000 photos, 1,000 classes take 30 MB; answers stay in their file
_STANDINGS = 32
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Standing:
    """How far a run is examined on one split.

    Attributes:
        message: What to know of the state.
        done: Photos answered, of ``total``; 0 when unknown.
        result: When it is ``done``.
    """

    state: State = "running"
    message: str = ""
    done: int = 0
    total: int = 0
    result: Examined | None = None


class Examiner:
    """Examines runs, one after the other. Safe to use from several threads.

    Args:
        open_run: Finds one by its name.
    """

    def __init__(self, open_run: Callable[[str], RunInfo]) -> None:
        self._open_run = open_run
        self._lock, self._turn = threading.Lock(), threading.Lock()
        self._stopping = threading.Event()
        self._standings: collections.OrderedDict[tuple[str, str], Standing] = collections.OrderedDict()
        self._planes: collections.OrderedDict[tuple[str, ...], Plane] = collections.OrderedDict()
        self._laying_out: dict[tuple[str, ...], threading.Lock] = {}
        self._ended: dict[tuple[str, str], threading.Event] = {}

    def ask(self, run: str, split: str, wait_seconds: float = 0.0) -> Standing:
        """Where it stands; begins, or begins anew, when that is needed.

        Args:
            run: The run's name.
            split: ``train``, ``val`` or ``test``.
            wait_seconds: How long to wait for the end.

        Raises:
            UsageError: There is no such run.
        """
        info = self._open_run(run)
        key = (info.name, split)
        with self._lock:
            known = self._standings.get(key)
            if known is None or known.state in ("failed", "stopped") or self._is_old(known, info):
                self._put(key, Standing())
                self._ended[key] = threading.Event()
                name = f"examination of {info.name}"
                threading.Thread(target=self._run, args=(key, info), name=name, daemon=True).start()
            ended = self._ended[key]
        if wait_seconds:
            ended.wait(wait_seconds)
        return self.standing(run, split) or Standing()

    def standing(self, run: str, split: str) -> Standing | None:
        """Where it stands; None when it was never asked for, or long ago."""
        return self._standings.get((run, split))

    def found(self, shown: Shown) -> Examined:
        """What the page shows, from memory, or from what is kept in the run folder.

        Raises:
            UserError: The run is gone, or has another model by now.
        """
        run, split, model = shown
        known = self._standings.get((run, split))
        if known is None or known.result is None:
            known = self.ask(run, split, _PATIENCE_SECONDS)
        if known.result is None:
            raise UsageError(
                f"Run '{run}' cannot be looked at now. {known.message}".strip(), remedy="Open the tab again."
            )
        if known.result.model != model:
            raise UsageError(f"Run '{run}' has a better model by now.", remedy="Press Look again.")
        return known.result

    def plane(self, shown: Shown, way: str) -> Plane:
        """Photos laid out on a plane by their features; see :mod:`tl_app.analysis.projection`.

        Args:
            shown: Whose.
            way: ``pca`` or ``umap``.

        Returns:
            The photos' numbers, their points (N, 2), and the share of variance that is seen; None for UMAP.

        Raises:
            UserError: As for :meth:`found`, or the layout cannot be made.
        """
        from tl_app.analysis import projection
        from tl_app.analysis.familiar import spread_evenly

        examined, key = self.found(shown), (*shown, way)
        with self._lock:
            turn = self._laying_out.setdefault(key, threading.Lock())
        with turn:  # whoever asks for one that is being made waits for it
            if (kept := self._planes.get(key)) is not None:
                return kept
            numbers = spread_evenly(examined.judged.labels, projection.MOST)
            features = examined.answers.features[numbers]
            flat = projection.pca(features) if way == "pca" else (projection.umap(features), None)
            plane = (numbers, *flat)
            with self._lock:
                self._planes[key] = plane
                while len(self._planes) > _KEPT:
                    self._laying_out.pop(self._planes.popitem(last=False)[0], None)
        return plane

    def stop(self) -> None:
        """Ends what is under way, within a batch; for the end of the server."""
        self._stopping.set()

    def forget(self, run: str) -> None:
        """Drops what is held of a run, which was deleted."""
        with self._lock:
            for key in [key for key in self._standings if key[0] == run]:
                del self._standings[key]

    def _is_old(self, known: Standing, info: RunInfo) -> bool:
        """Whether there is a better model by now, or another run of that name."""
        if known.result is None:
            return False
        loading.wait()
        from tl_app.predictor import model_of

        before = known.result
        return (before.info.created, before.model) != (info.created, model_of(info))

    def _put(self, key: tuple[str, str], standing: Standing) -> None:
        self._standings[key] = standing
        self._standings.move_to_end(key)
        full = [other for other, each in self._standings.items() if each.result is not None]
        spare = [other for other, each in self._standings.items() if each.state in ("failed", "stopped")]
        for other in (*full[: max(0, len(full) - _KEPT)], *spare[: max(0, len(spare) - _STANDINGS)]):
            del self._standings[other]

    def _run(self, key: tuple[str, str], info: RunInfo) -> None:
        manners.step_aside()
        with self._turn:
            standing = self._examined(key, info)
        with self._lock:
            if key in self._standings:  # else the run is gone
                self._put(key, standing)
            self._ended[key].set()
        manners.give_back()

    def _examined(self, key: tuple[str, str], info: RunInfo) -> Standing:
        def hear(done: int, total: int) -> None:
            if self._stopping.is_set():
                raise Interrupted("Stopped.")
            with self._lock:
                if key in self._standings:
                    running = self._standings[key]
                    self._standings[key] = dataclasses.replace(running, done=done, total=total)

        try:
            loading.wait()
            from tl_app.analysis.examined import examine

            return Standing("done", result=examine(info, key[1], hear))
        except Interrupted as stopped:
            return Standing("stopped", str(stopped))
        except UserError as error:
            return Standing("failed", str(error))
        except Exception as error:  # a defect of ours: the whole story goes to the terminal
            traceback.print_exc()
            return Standing("failed", f"Unexpected {type(error).__name__}: {error}")
