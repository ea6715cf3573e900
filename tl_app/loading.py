"""Loads torch and the catalogue behind a page that is served already, or while photos are scanned.

Everything that may import them meanwhile calls :func:`wait` first. Two threads in the middle of torchvision would
otherwise each hold what the other one waits for, and Python then hands out modules that are only half there. Knows
nothing of the page.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.util
import os
import threading
from collections.abc import Callable
from pathlib import Path

from tl_app.memory import without_collector

# What the first scan, training and prediction would wait for otherwise.
_MODULES = ("tl_app.backbones.weights", "tl_app.engine.train", "tl_app.predictor")

_loaded = threading.Event()
_loaded.set()  # nothing is under way


def wait() -> None:
    """Returns when no thread is loading torch, or about to."""
    _loaded.wait()


def announce() -> None:
    """Lets everyone wait from now on for a thread that is started soon."""
    _loaded.clear()


def in_background(then: Callable[[], None] = lambda: None) -> threading.Thread:
    """Starts loading in a thread that does not keep the process alive.

    Args:
        then: Called in that thread when everything is there.
    """
    announce()
    thread = threading.Thread(target=_load, args=(then,), name="loading torch", daemon=True)
    thread.start()
    return thread


def _load(then: Callable[[], None]) -> None:
    try:
        with without_collector():  # which takes up to 0.4 s in one piece, in which no request is answered
            _link_torch()
            for name in _MODULES:
                importlib.import_module(name)
    finally:
        _loaded.set()
    then()


def _link_torch() -> None:
    """Links torch's libraries without the interpreter lock, which ``import`` would hold for half a second."""
    found = importlib.util.find_spec("torch")
    if os.name != "posix" or found is None or found.origin is None:
        return
    with contextlib.suppress(AttributeError, OSError):
        open_library = ctypes.CDLL(None).dlopen
        open_library.argtypes, open_library.restype = [ctypes.c_char_p, ctypes.c_int], ctypes.c_void_p
        for library in sorted((Path(found.origin).parent / "lib").glob("libtorch_python.*")):
            open_library(os.fsencode(library), os.RTLD_NOW | os.RTLD_LOCAL)
