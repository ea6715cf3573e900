"""Runs a long call beside the generator, so that its progress callbacks come out as events.

Knows nothing of what the call does.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator
from typing import TypeVar

from tl_app.errors import Interrupted
from tl_app.events import Event, Progress

T = TypeVar("T")
Report = Callable[[int, int], None]
_INTERVAL_SECONDS = 0.2
_HEARTBEAT_SECONDS = 1.0  # between events while nothing is reported, so that whoever listens can stop
_PATIENCE_SECONDS = 60.0  # for work that is given up, until its next report


def with_progress(activity: str, unit: str, work: Callable[[Report], T]) -> Generator[Event, None, T]:
    """Runs ``work(report)`` in a thread and yields its progress about five times a second, at least once a second.

    When it is closed, the next ``report`` of the work raises :class:`Interrupted`, and closing waits for that.

    Args:
        activity: What is going on, for :class:`Progress`.
        unit: What ``done`` and ``total`` count.
        work: Calls ``report(done, total)`` as it moves on, and returns a result.

    Returns:
        What ``work`` returned (use ``yield from``); whatever it raised is raised here.
    """
    events: queue.SimpleQueue[Progress | None] = queue.SimpleQueue()  # None: that was all
    outcome: list[T] = []
    failure: list[BaseException] = []
    last = [0.0]
    given_up = threading.Event()

    def report(done: int, total: int) -> None:
        if given_up.is_set():
            raise Interrupted(f"{activity[:1].upper()}{activity[1:]} was stopped.")
        now = time.monotonic()
        if done == total or now - last[0] >= _INTERVAL_SECONDS:
            last[0] = now
            events.put(Progress(activity, done, total, unit))

    def run() -> None:
        try:
            outcome.append(work(report))
        except BaseException as error:  # handed to the caller below, whatever it is
            failure.append(error)
        finally:
            events.put(None)

    thread = threading.Thread(target=run, name=f"tl-app {activity}", daemon=True)
    thread.start()
    try:
        yield from _heard(events, Progress(activity, 0, 0, unit))
    except GeneratorExit:
        given_up.set()
        thread.join(_PATIENCE_SECONDS)
        raise
    if failure:
        raise failure[0]
    return outcome[0]


def _heard(events: queue.SimpleQueue[Progress | None], latest: Progress) -> Generator[Event, None, None]:
    """What the work says until its end; what it said last again when it is silent for long."""
    while True:
        try:
            said = events.get(timeout=_HEARTBEAT_SECONDS)
        except queue.Empty:
            said = latest
        if said is None:
            return
        latest = said
        yield latest


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
