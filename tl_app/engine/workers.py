"""A batch shared out among threads that compute on one core each.

Torch by itself shares out every single operation, and all cores wait for the slowest after each one. Beside other work
on the same cores (photos being decoded, a web server) small networks then ran at a tenth of their speed. Knows nothing
of networks or photos.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

import torch
from torch import Tensor

from tl_app.cores import one_core_pool

Run = Callable[[Tensor], Tensor]
T = TypeVar("T")
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


def on_each_core(work: Callable[[T], R], tasks: Iterable[T], cores: int) -> Iterator[R]:
    """Does tasks in threads of one core each, a few ahead of what is taken; results come in order.

    For work that prepares its rows and computes with them in one thread. Threads that prepare and others that compute
    wait for Python's interpreter lock in turn: light augmentation in front of MobileNetV3-small ran at 1,030 views a
    second that way, at 1,220 this way, and with OpenVINO at 1,160 and 1,640.

    Args:
        work: From a task to its result.
        tasks: Taken one by one.
        cores: How many threads.
    """
    pool, waiting = _pool(cores, "rows", _priority()), deque[Future[R]]()
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
