"""Runs a long call beside the generator, so that its progress callbacks come out as events.

Knows nothing of what the call does.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator
from typing import TypeVar

from tl_app.events import Event, Progress

T = TypeVar("T")
Report = Callable[[int, int], None]
_INTERVAL_SECONDS = 0.2


def with_progress(activity: str, unit: str, work: Callable[[Report], T]) -> Generator[Event, None, T]:
    """Runs ``work(report)`` in a thread and yields its progress about five times a second.

    Args:
        activity: What is going on, for :class:`Progress`.
        unit: What ``done`` and ``total`` count.
        work: Calls ``report(done, total)`` as it moves on, and returns a result.

    Returns:
        What ``work`` returned (use ``yield from``); whatever it raised is raised here.
    """
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    outcome: list[T] = []
    failure: list[BaseException] = []
    last = [0.0]

    def report(done: int, total: int) -> None:
        now = time.monotonic()
        if done == total or now - last[0] >= _INTERVAL_SECONDS:
            last[0] = now
            events.put(Progress(activity, done, total, unit))

    def run() -> None:
        try:
            outcome.append(work(report))
        except BaseException as error:  # handed to the caller below, whatever it is
            failure.append(error)

    thread = threading.Thread(target=run, name=f"tl-app {activity}", daemon=True)
    thread.start()
    while thread.is_alive() or not events.empty():
        try:
            yield events.get(timeout=0.05)
        except queue.Empty:
            continue
    if failure:
        raise failure[0]
    return outcome[0]


def to_the_end(steps: Generator[Event, None, T], listener: Callable[[Event], None] | None) -> T:
    """What a generator of events returns in the end; ``listener`` hears each event."""
    try:
        while True:
            event = next(steps)
            if listener is not None:
                listener(event)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        steps.close()
