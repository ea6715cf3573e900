"""How memory is handed out and searched for garbage: settings of the whole process.

Imports no torch, so that they can be made first of all.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import gc
import sys
from collections.abc import Iterator

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


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """For imports of large libraries: what they make is not garbage, and nobody looks for any among it later.

    The half million objects of torch and torchvision make Python's collector search again and again, for 0.6 s of the
    2.5 s that importing them takes here, and those of gradio for 0.4 of 2.3 s.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        atexit.register(gc.unfreeze)  # libraries that count their objects at the end would report leaks
        if was_enabled:
            gc.enable()
