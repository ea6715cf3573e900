"""A batch shared out among threads that compute on one core each.

Torch by itself shares out every single operation, and all cores wait for the slowest after each one. Beside other work
on the same cores (photos being decoded, a web server) small networks then ran at a tenth of their speed. Knows nothing
of networks or photos.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

Run = Callable[[Tensor], Tensor]


def shared_out(run: Run, *, lone_on_all_cores: bool) -> Run:
    """The same function, on as many cores as torch uses in this thread.

    Args:
        run: From rows (B, …) to results (B, …), each row on its own; on the CPU, for inference. Called from several
            threads at once.
        lone_on_all_cores: Whether a batch that is smaller than the number of cores is left to torch, because one core
            takes too long for a row.
    """
    cores = torch.get_num_threads()
    if cores == 1:
        return run
    pool = _pool(cores)

    def call(rows: Tensor) -> Tensor:
        if lone_on_all_cores and len(rows) < cores:
            return run(rows)
        parts = rows.tensor_split(min(cores, len(rows)))
        results = list(pool.map(torch.inference_mode()(run), parts))
        return results[0] if len(results) == 1 else torch.cat(results)

    return call


@functools.cache
def _pool(cores: int) -> ThreadPoolExecutor:
    pool = ThreadPoolExecutor(cores, "tl-app forward", initializer=_take_one_core)
    started = threading.Barrier(cores + 1)
    for _ in range(cores):
        pool.submit(started.wait)
    started.wait()
    # What a thread sets for itself is also what threads that start later get: put that back.
    torch.set_num_threads(cores)
    return pool


def _take_one_core() -> None:
    torch.get_num_threads()  # asked first: else torch sets the default in this thread's first operation
    torch.set_num_threads(1)
