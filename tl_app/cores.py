"""On how many cores a thread computes: torch shares out every operation on more than some 30,000 numbers.

Knows nothing of networks or photos.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")
_HAND_OVER_SECONDS = 0.05

_CHANGING = threading.Lock()


def take_one_core() -> int:
    """From now on the calling thread computes on one core; threads that start later are not concerned.

    Returns:
        On how many it did before.
    """
    with _CHANGING:
        before = torch.get_num_threads()  # asked first: else torch sets the default in the first operation
        if before > 1:
            torch.set_num_threads(1)
            # What a thread sets for itself is also what threads that start later get: another one puts that back.
            other = threading.Thread(target=torch.set_num_threads, args=(before,), name="tl-app cores")
            other.start()
            other.join()
    return before


def one_core_pool(threads: int, name: str) -> ThreadPoolExecutor:
    """Threads that compute on one core each: for many small tasks, such as photos to be loaded.

    Else each photo that is cut or copied is shared out among all cores, which then wait for one another instead of
    training the network: an epoch of MobileNetV3-small took 10.3 s on 1,600 photos, and 8.2 s this way (two cores).

    Args:
        threads: At most.
        name: What the threads' names begin with.
    """
    return ThreadPoolExecutor(threads, name, initializer=take_one_core)


def bundles(
    work: Callable[[T], R], items: Iterable[T], threads: int, name: str
) -> Generator[list[R], None, None]:
    """What ``work`` makes of each item, in any order, by threads of one core each.

    Results are handed over twenty times a second: one by one, threads wait for their turn at the interpreter's lock
    so often that photos take a sixth longer to be decoded (two cores).

    Args:
        work: Called from several threads.
        items: What to work on.
        threads: At most.
        name: What the threads' names begin with.

    Yields:
        Some results at a time.

    Raises:
        BaseException: The first that ``work`` raised; nothing is begun any more then, or once this is closed.
    """
    waiting: queue.SimpleQueue[T] = queue.SimpleQueue()
    for item in items:
        waiting.put(item)
    made: queue.SimpleQueue[list[R] | Future[list[R]]] = queue.SimpleQueue()  # futures: a thread's last ones
    ended = threading.Event()

    def take_turns() -> list[R]:
        found: list[R] = []
        since = time.monotonic()
        while not ended.is_set():
            try:
                item = waiting.get_nowait()
            except queue.Empty:
                break
            found.append(work(item))
            if time.monotonic() - since >= _HAND_OVER_SECONDS:
                made.put(found)
                found, since = [], time.monotonic()
        return found

    at_work = min(threads, waiting.qsize())
    pool = one_core_pool(threads, name)  # starts no thread before it has something to do
    try:
        for _ in range(at_work):
            pool.submit(take_turns).add_done_callback(made.put)
        while at_work:
            found = made.get()
            if isinstance(found, Future):
                at_work -= 1
                found = found.result()
            if found:
                yield found
    finally:
        ended.set()
        pool.shutdown()
