"""How heavy work behaves inside the server's process: requests go first, and memory is given back afterwards."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
import threading

# Page requests during full fine-tuning on two cores that others kept busy as well, 95th percentile: 80 ms with 0,
# 40 ms with 5, 30 ms with 10.
_NICENESS = 10


def step_aside() -> None:
    """Lets other threads of the process go first: the calling one and those it starts get a lower priority.

    For threads of one's own only, since it cannot be taken back. Outside Linux priorities belong to whole processes,
    and nothing is done.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # lower already
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def give_back() -> None:
    """Returns memory that the C library keeps for the next batch; 250 MB after a probe of 400 photos."""
    gc.collect()
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # a C library other than glibc
            ctypes.CDLL(None).malloc_trim(0)
