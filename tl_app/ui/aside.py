"""Work in the background that makes way for trainings: one piece at a time, with how far it is.

It belongs to the server, like a job. Knows nothing of components, or of what the work is.
"""

from __future__ import annotations

import dataclasses
import threading
import traceback
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from tl_app import loading
from tl_app.errors import Interrupted, UsageError, UserError
from tl_app.events import Event, Progress
from tl_app.ui import manners

Plan = TypeVar("Plan")
Result = TypeVar("Result")
State = Literal["running", "done", "stopped", "failed"]
Steps = Callable[[Plan, Callable[[], bool]], Generator[Event, None, Result]]


@dataclass(frozen=True)
class Standing(Generic[Result]):
    """Where a piece of work stands.

    Attributes:
        state: What became of it.
        message: What to know of the state.
        activity: What is going on; ``done`` of ``total`` ``unit``, 0 when unknown.
        result: What there is so far, or when it is ``done``.
    """

    state: State = "running"
    message: str = ""
    activity: str = "getting ready"
    done: int = 0
    total: int = 0
    unit: str = ""
    result: Result | None = None


class Aside(Generic[Plan, Result]):
    """Does one kind of work.

    Args:
        name: Of its thread.
        steps: The work: from a plan, and a function that says whether to stop, to events and in the end a result.
        busy: Says that one is under way.
        patience_seconds: What the longest step between two looks at ``stop`` takes.
        so_far: What there is of a result; asked at the beginning and whenever another activity begins.
    """

    def __init__(
        self,
        name: str,
        steps: Steps[Plan, Result],
        *,
        busy: str,
        patience_seconds: float,
        so_far: Callable[[Plan], Result | None] = lambda plan: None,
    ) -> None:
        self.standing: Standing[Result] | None = None
        self.plan: Plan | None = None  # of the work under way, or of the last
        self.version = 0
        self._name, self._steps, self._busy, self._so_far = name, steps, busy, so_far
        self._patience_seconds = patience_seconds
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._ended.set()

    @property
    def is_under_way(self) -> bool:
        """Whether work is going on."""
        return self.standing is not None and self.standing.state == "running"

    def start(self, plan: Plan) -> None:
        """Starts a piece of work.

        Raises:
            UsageError: One is under way.
        """
        with self._lock:
            if not self._ended.is_set():
                raise UsageError(self._busy, remedy="Stop it, or wait.")
            self._stopping, self._ended = threading.Event(), threading.Event()
            self.plan = plan
            self._move(Standing(result=self._so_far(plan)))
        threading.Thread(target=self._run, args=(plan,), name=self._name, daemon=True).start()

    def stop(self) -> None:
        """Ends the work under way, if there is any, within a step."""
        self._stopping.set()

    def make_way(self) -> None:
        """Stops, and waits until the device is free, for a training that is about to start."""
        self.stop()
        self._ended.wait(self._patience_seconds)

    def _move(self, standing: Standing[Result]) -> None:
        self.standing = standing
        self.version += 1

    def _run(self, plan: Plan) -> None:
        manners.step_aside()
        try:
            last: Standing[Result] = Standing("done", result=self._done(plan))
        except Interrupted as error:
            last = self._ended_early("stopped", str(error))
        except UserError as error:
            last = self._ended_early("failed", str(error))
        except Exception as error:  # a defect of ours: the whole story goes to the terminal
            traceback.print_exc()
            last = self._ended_early("failed", f"Unexpected {type(error).__name__}: {error}")
        try:
            self._move(last)
        finally:
            self._ended.set()
            manners.give_back()

    def _ended_early(self, state: State, message: str) -> Standing[Result]:
        return dataclasses.replace(self.standing or Standing(), state=state, message=message)

    def _done(self, plan: Plan) -> Result:
        loading.wait()
        from tl_app.engine.background import to_the_end

        def hear(event: Event) -> None:
            now = self.standing
            if not isinstance(event, Progress) or now is None:
                return
            values = {name: getattr(event, name) for name in ("activity", "done", "total", "unit")}
            moved = dataclasses.replace(now, **values)
            if moved == now:
                return
            if moved.activity != now.activity:
                moved = dataclasses.replace(moved, result=self._so_far(plan))
            self._move(moved)

        return to_the_end(self._steps(plan, self._stopping.is_set), hear)
