"""The probe in the background: one at a time, for the photos chosen last, out of the way of any training.

It belongs to the server, like a job. Knows nothing of components.
"""

from __future__ import annotations

import dataclasses
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tl_app import loading
from tl_app.config import TrainConfig
from tl_app.data.index import DatasetIndex
from tl_app.errors import Interrupted, UsageError, UserError
from tl_app.events import Event, Progress
from tl_app.ui import manners

if TYPE_CHECKING:
    from tl_app.probing import ProbeResult

State = Literal["waiting", "running", "missing", "done", "stopped", "failed"]

_POLL_SECONDS = 0.25
_MAKE_WAY_SECONDS = 20.0  # the longest fit between two looks at `stop` takes a few


@dataclass(frozen=True)
class Standing:
    """Where a probe stands.

    Attributes:
        source: Names the photos.
        backbone: Whose features they are probed with.
        state: ``missing`` when the weights would have to be fetched first.
        message: What to know of the state.
        activity: What is going on while it is ``running``; ``done`` of ``total`` ``unit``, 0 when unknown.
        eta_seconds: Until the activity is over; None when unknown.
        result: When it is ``done``.
    """

    source: str
    backbone: str
    state: State = "waiting"
    message: str = ""
    activity: str = ""
    done: int = 0
    total: int = 0
    unit: str = ""
    eta_seconds: float | None = None
    result: ProbeResult | None = None

    @property
    def is_under_way(self) -> bool:
        """Whether it may still come to a result by itself."""
        return self.state in ("waiting", "running")


class Prober:
    """Asks for first answers.

    Args:
        training: Names the run that is being trained; empty when there is none.
    """

    def __init__(self, training: Callable[[], str]) -> None:
        self._training = training
        self._lock = threading.Lock()
        self._current: _Probe | None = None

    def ask(self, config: TrainConfig, index: DatasetIndex, *, fetch: bool = False) -> None:
        """Starts a probe in place of the last one, which is stopped.

        Args:
            config: Backbone, weights and how they are used.
            index: The photos.
            fetch: Whether weights that are not on disk are downloaded.
        """
        with self._lock:
            before = self._current
            if before is not None:
                before.stop("")
            self._current = _Probe(config, index, fetch, self._training, before)

    def standing(self, source: str) -> Standing | None:
        """Where the probe of these photos stands; None when others were asked about last."""
        current = self._current
        return current.standing if current is not None and current.standing.source == source else None

    @property
    def is_under_way(self) -> bool:
        """Whether a probe may still come to a result by itself."""
        return self._current is not None and self._current.standing.is_under_way

    def mark(self) -> tuple[int, int]:
        """A cheap token that changes whenever a standing does."""
        current = self._current
        return (0, 0) if current is None else (id(current), current.version)

    def stop(self, message: str = "Stopped. What was computed so far is kept for the next time.") -> None:
        """Stops the probe under way, if there is one."""
        if self._current is not None:
            self._current.stop(message)

    def make_way(self) -> None:
        """Stops the probe, and waits until it is at rest, for a training that is about to start."""
        self.stop("Stopped to make way for the training. What was computed so far is used by it.")
        if self._current is not None:
            self._current.ended.wait(_MAKE_WAY_SECONDS)


class _Probe:
    """One probe with its thread, which starts at once."""

    def __init__(
        self,
        config: TrainConfig,
        index: DatasetIndex,
        fetch: bool,
        training: Callable[[], str],
        before: _Probe | None,
    ) -> None:
        self.standing = Standing(config.data, config.backbone)
        self.version = 0
        self.ended = threading.Event()
        self._config, self._index, self._fetch = config, index, fetch
        self._training, self._before = training, before
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._since = 0.0
        threading.Thread(target=self._run, name=f"probe of {config.data}", daemon=True).start()

    def stop(self, message: str) -> None:
        if self.standing.is_under_way:
            self._move(state="stopped", message=message)
        self._stopping.set()

    def _move(self, **changes: object) -> None:
        with self._lock:
            if self._stopping.is_set() or self.standing.state == "stopped":
                return
            moved = dataclasses.replace(self.standing, **changes)  # type: ignore[arg-type]
            if moved != self.standing:
                self.standing = moved
                self.version += 1

    def _run(self) -> None:
        manners.step_aside()
        try:
            if not self._may_start():
                return
            missing = self._missing()
            if missing:
                self._move(state="missing", message=missing)
            else:
                self._probe()
        except Interrupted:
            pass  # whoever stopped it has said why
        except UserError as error:
            self._move(state="failed", message=str(error))
        except Exception as error:  # a defect of ours: the whole story goes to the terminal
            traceback.print_exc()
            self._move(state="failed", message=f"Unexpected {type(error).__name__}: {error}")
        finally:
            self._before = None
            self.ended.set()
            manners.give_back()

    def _may_start(self) -> bool:
        """Waits for the probe before to end and for a training; False when it was stopped meanwhile."""
        while not self._stopping.wait(_POLL_SECONDS if self.standing.message else 0.0):
            run = self._training()
            if not run and (self._before is None or self._before.ended.is_set()):
                return True
            self._move(
                message=f"Waits until run {run} has ended." if run else "Waits for the last one to end."
            )
        return False

    def _missing(self) -> str:
        """What would have to be fetched first; empty when nothing has.

        Raises:
            UsageError: The weights have no features worth a probe.
        """
        loading.wait()
        from tl_app.backbones.catalogue import get_backbone
        from tl_app.engine.source import source_of

        self._move(state="running", message="", activity="getting ready")
        start = source_of(self._config)
        if start is None:
            raise UsageError(
                "Random weights have nothing to say about photos.",
                remedy="Choose pretrained ones on the Train tab, or train from scratch.",
            )
        if start.choice is None or self._fetch or start.is_on_disk:
            return ""
        megabytes, label = start.choice.download_bytes / 1e6, get_backbone(start.backbone).label
        return f"The weights of {label} are not on this machine yet ({megabytes:.0f} MB to fetch)."

    def _probe(self) -> None:
        loading.wait()
        from tl_app.engine.background import to_the_end
        from tl_app.probing import probe

        result = to_the_end(probe(self._config, self._index, self._stopping.is_set), self._hear)
        self._move(state="done", result=result)

    def _hear(self, event: Event) -> None:
        if not isinstance(event, Progress):
            return
        now = time.monotonic()
        if event.activity != self.standing.activity:
            self._since = now
        share = event.done / event.total if event.total else 0.0
        eta = (now - self._since) * (1 - share) / share if share > 0.02 else None
        values = {name: getattr(event, name) for name in ("activity", "done", "total", "unit")}
        self._move(**values, eta_seconds=eta)
