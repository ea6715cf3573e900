"""The study of what transfer was worth, in the background: one at a time, and never beside a training.

It belongs to the server, like a job. Knows nothing of components.
"""

from __future__ import annotations

import dataclasses
import threading
import traceback
from dataclasses import dataclass
from typing import Literal

from tl_app.errors import Interrupted, UsageError, UserError
from tl_app.events import Event, Progress
from tl_app.ui import loading, manners
from tl_app.worthwhile import Study, WorthResult, result_of, study

State = Literal["running", "done", "stopped", "failed"]

_MAKE_WAY_SECONDS = 60.0  # a batch, and the checkpoint after it


@dataclass(frozen=True)
class Standing:
    """Where a study stands.

    Attributes:
        plan: What is trained.
        state: What became of it.
        message: What to know of the state.
        activity: What is going on; ``done`` of ``total`` epochs of all trainings.
        result: What there is so far.
    """

    plan: Study
    state: State = "running"
    message: str = ""
    activity: str = "getting ready"
    done: int = 0
    total: int = 0
    result: WorthResult | None = None


class Weigher:
    """Carries studies out."""

    def __init__(self) -> None:
        self.standing: Standing | None = None
        self.version = 0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._ended.set()

    @property
    def is_under_way(self) -> bool:
        """Whether a study is going on."""
        return self.standing is not None and self.standing.state == "running"

    def start(self, plan: Study) -> None:
        """Starts a study, or goes on with it where it was.

        Raises:
            UsageError: One is under way.
        """
        with self._lock:
            if not self._ended.is_set():
                raise UsageError("A study is under way already.", remedy="Stop it, or wait.")
            self._stopping, self._ended = threading.Event(), threading.Event()
            self._move(Standing(plan, result=result_of(plan)))
        threading.Thread(target=self._run, name=f"study of {plan.config.data}", daemon=True).start()

    def stop(self) -> None:
        """Ends the study under way, if there is one, within a batch."""
        self._stopping.set()

    def make_way(self) -> None:
        """Stops, and waits until the device is free, for a training that is about to start."""
        self.stop()
        self._ended.wait(_MAKE_WAY_SECONDS)

    def _move(self, standing: Standing) -> None:
        self.standing = standing
        self.version += 1

    def _run(self) -> None:
        assert self.standing is not None
        manners.step_aside()
        last: Standing = self.standing
        try:
            found = self._found(last.plan)
            last = dataclasses.replace(last, state="done", result=found)
        except Interrupted as error:
            last = self._ended_early("stopped", str(error))
        except UserError as error:
            last = self._ended_early("failed", str(error))
        except Exception as error:  # a defect of ours: the whole story goes to the terminal
            traceback.print_exc()
            last = self._ended_early("failed", f"Unexpected {type(error).__name__}: {error}")
        finally:
            self._move(last)
            self._ended.set()
            manners.give_back()

    def _ended_early(self, state: State, message: str) -> Standing:
        assert self.standing is not None
        return dataclasses.replace(self.standing, state=state, message=message)

    def _found(self, plan: Study) -> WorthResult:
        loading.wait()
        from tl_app.engine.background import to_the_end

        def hear(event: Event) -> None:
            now = self.standing
            if not isinstance(event, Progress) or now is None:
                return
            is_next = event.done // plan.epochs != now.done // plan.epochs
            result = result_of(plan) if is_next else now.result
            values = {name: getattr(event, name) for name in ("activity", "done", "total")}
            if dataclasses.replace(now, **values) != now:
                self._move(dataclasses.replace(now, **values, result=result))

        return to_the_end(study(plan, self._stopping.is_set, manners.step_aside), hear)
