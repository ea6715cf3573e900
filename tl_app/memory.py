"""How the C library hands out memory: one setting, made once per process, before threads that compute are started.

Imports no torch, so that it can be made first of all.
"""

from __future__ import annotations

import ctypes
import functools
import sys

# malloc.h of glibc.
_MMAP_THRESHOLD, _TRIM_THRESHOLD, _ARENA_MAX = -3, -1, -8
_KEPT_BYTES = 1 << 30


@functools.cache
def keep_memory() -> None:
    """Keeps freed memory for the next batch instead of giving it back to the system after every layer.

    With glibc's defaults each activation larger than 32 MiB at most is mapped anew and its pages are faulted in one
    by one: forward passes on a CPU took twice as long here. Once per process, and the earlier the better: threads that
    run already keep the arenas they have. Does nothing where libc is not glibc.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_ARENA_MAX, 1)  # other threads' arenas cannot hold blocks of more than 64 MiB, nor keep them
