"""On how many cores a thread computes: torch shares out every operation on more than some 30,000 numbers.

Knows nothing of networks or photos.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import torch

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
