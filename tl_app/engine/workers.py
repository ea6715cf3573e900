"""A batch shared out among threads that compute on one core each.

Torch by itself shares out every single operation, and all cores wait for the slowest after each one. Beside other work
on the same cores (photos being decoded, a web server) small networks then ran at a tenth of their speed. Knows nothing
of networks or photos.
"""

from __future__ import annotations

import functools
import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

import torch
from torch import Tensor

from tl_app.cores import one_core_pool

Run = Callable[[Tensor], Tensor]
T = TypeVar("T")
P = TypeVar("P")
R = TypeVar("R")


class SharedOut:
    """A function shared out among threads of one core each.

    Attributes:
        alone: The function itself, for callers that have a thread of their own for each core.
    """

    def __init__(self, run: Run, cores: int, lone_on_all_cores: bool) -> None:
        self.alone = run
        self._cores, self._lone_on_all_cores = cores, lone_on_all_cores
        self._pool()  # its threads take a moment to start

    def __call__(self, rows: Tensor) -> Tensor:
        """The results of all rows, in order."""
        if self._lone_on_all_cores and len(rows) < self._cores:
            return self.alone(rows)
        parts = rows.tensor_split(min(self._cores, len(rows)))
        results = list(self._pool().map(torch.inference_mode()(self.alone), parts))
        return results[0] if len(results) == 1 else torch.cat(results)

    def _pool(self) -> ThreadPoolExecutor:
        """Asked for at each call: one may come from a training, the next from the page."""
        return _pool(self._cores, "forward", _priority())


def shared_out(run: Run, *, lone_on_all_cores: bool) -> Run:
    """The same function, on as many cores as torch uses in this thread.

    Args:
        run: From rows (B, …) to results (B, …), each row on its own; on the CPU, for inference. Called from several
            threads at once.
        lone_on_all_cores: Whether a batch that is smaller than the number of cores is left to torch, because one core
            takes too long for a row.

    Returns:
        A :class:`SharedOut`; ``run`` itself where there is one core.
    """
    cores = torch.get_num_threads()
    return SharedOut(run, cores, lone_on_all_cores) if cores > 1 else run


def on_each_core(
    prepare: Callable[[T], P], compute: Callable[[T, P], R], tasks: Iterable[T], cores: int
) -> Iterator[R]:
    """Does tasks in threads of one core each, a few ahead of what is taken; results come in order.

    Each thread prepares its rows and computes with them. Threads that prepare and others that compute wait for Python's
    interpreter lock in turn: light augmentation in front of MobileNetV3-small ran at 1,030 views a second that way, at
    1,220 this way, and with OpenVINO at 1,160 and 1,640.

    Args:
        prepare: From a task to its rows, in Python for the most part; called by as few threads at a time as will do.
        compute: From a task and its rows to its result.
        tasks: Taken one by one.
        cores: How many threads.
    """
    pool, waiting = _pool(cores, "rows", _priority()), deque[Future[R]]()
    turns = _Turns(cores)

    def work(task: T) -> R:
        rows = turns.prepared(lambda: prepare(task))
        return turns.computed(lambda: compute(task, rows))

    try:
        for task in tasks:
            waiting.append(pool.submit(work, task))
            if len(waiting) > 2 * cores:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for rest in waiting:
            rest.cancel()
        wait(waiting)


class _Turns:
    """Lets no more threads prepare at a time than it takes to keep all of them busy.

    Each call of a library lets go of the interpreter's lock, and whoever waits for it is woken, mostly in vain. On two
    cores a lightly augmented view took 0.34 ms of one thread, and 0.49 ms of each of two; in front of MobileNetV3-small
    with OpenVINO, 1,000 to 1,250 views a second became 1,080 to 1,370.

    Args:
        cores: How many threads there are.
    """

    def __init__(self, cores: int) -> None:
        self._cores, self._inside = cores, 0
        self._preparing = self._computing = 0.0  # seconds so far, of all threads
        self._left = threading.Condition()

    def prepared(self, prepare: Callable[[], P]) -> P:
        """Calls it when it is this thread's turn."""
        with self._left:
            self._left.wait_for(lambda: self._inside < self._most)
            self._inside += 1
        start = time.perf_counter()
        try:
            return prepare()
        finally:
            with self._left:
                self._preparing += time.perf_counter() - start
                self._inside -= 1
                self._left.notify_all()

    def computed(self, compute: Callable[[], R]) -> R:
        """Calls it at once."""
        start = time.perf_counter()
        result = compute()
        with self._left:
            self._computing += time.perf_counter() - start
        return result

    @property
    def _most(self) -> int:
        if not self._computing:
            return 1
        return math.ceil(self._cores * self._preparing / (self._preparing + self._computing))


@functools.cache
def _pool(cores: int, purpose: str, priority: int) -> ThreadPoolExecutor:
    """Kept for good; threads get the priority of the one that starts them, ``priority``, and never another."""
    pool = one_core_pool(cores, f"tl-app {purpose}")
    started = threading.Barrier(cores + 1)
    for _ in range(cores):
        pool.submit(started.wait)
    started.wait()
    return pool


def _priority() -> int:
    """The niceness of the calling thread where threads have one of their own, else 0."""
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) if sys.platform == "linux" else 0
