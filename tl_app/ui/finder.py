"""The learning-rate finder in the background: one at a time, and never beside a training.

It belongs to the server, like a job. Knows nothing of components.
"""

from __future__ import annotations

import dataclasses
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tl_app.config import TrainConfig
from tl_app.data.index import DatasetIndex
from tl_app.errors import Interrupted, UsageError, UserError
from tl_app.events import Progress
from tl_app.finding import RatesResult
from tl_app.ui import loading, manners

State = Literal["running", "done", "stopped", "failed"]

_MAKE_WAY_SECONDS = 20.0  # the longest step between two looks at `stop` takes a few


@dataclass(frozen=True)
class Search:
    """Where a search stands.

    Attributes:
        config: Whose rate is searched for.
        state: What became of it.
        message: What to know of the state.
        activity: What is going on; ``done`` of ``total`` ``unit``, 0 when unknown.
        result: When it is ``done``.
    """

    config: TrainConfig
    state: State = "running"
    message: str = ""
    activity: str = "getting ready"
    done: int = 0
    total: int = 0
    unit: str = ""
    result: RatesResult | None = None


class Finder:
    """Searches for learning rates.

    Args:
        training: Names the run that is being trained; empty when there is none.
    """

    def __init__(self, training: Callable[[], str]) -> None:
        self.search: Search | None = None
        self.version = 0
        self._training = training
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._ended.set()

    @property
    def is_under_way(self) -> bool:
        """Whether a search is going on."""
        return self.search is not None and self.search.state == "running"

    def start(self, config: TrainConfig, index: DatasetIndex) -> None:
        """Starts a search.

        Raises:
            UsageError: One is under way.
        """
        with self._lock:
            if not self._ended.is_set():
                raise UsageError("A learning rate is being searched for already.", remedy="Stop it, or wait.")
            self._stopping, self._ended = threading.Event(), threading.Event()
            self._move(Search(config))
        threading.Thread(
            target=self._run, args=(config, index), name=f"rates of {config.data}", daemon=True
        ).start()

    def stop(self) -> None:
        """Ends the search under way, if there is one, within a step."""
        self._stopping.set()

    def make_way(self) -> None:
        """Stops, and waits until the device is free, for a training that is about to start."""
        self.stop()
        self._ended.wait(_MAKE_WAY_SECONDS)

    def _move(self, search: Search) -> None:
        self.search = search
        self.version += 1

    def _run(self, config: TrainConfig, index: DatasetIndex) -> None:
        manners.step_aside()
        search = Search(config)
        try:
            search = dataclasses.replace(search, state="done", result=self._found(config, index))
        except Interrupted:
            search = dataclasses.replace(search, state="stopped", message="Stopped.")
        except UserError as error:
            search = dataclasses.replace(search, state="failed", message=str(error))
        except Exception as error:  # a defect of ours: the whole story goes to the terminal
            traceback.print_exc()
            message = f"Unexpected {type(error).__name__}: {error}"
            search = dataclasses.replace(search, state="failed", message=message)
        finally:
            self._move(search)
            self._ended.set()
            manners.give_back()

    def _found(self, config: TrainConfig, index: DatasetIndex) -> RatesResult:
        loading.wait()
        from tl_app.engine.background import to_the_end
        from tl_app.finding import find

        def hear(event: object) -> None:
            if isinstance(event, Progress):
                values = {name: getattr(event, name) for name in ("activity", "done", "total", "unit")}
                self._move(dataclasses.replace(Search(config), **values))

        return to_the_end(find(config, index, self._stopping.is_set, self._training()), hear)
