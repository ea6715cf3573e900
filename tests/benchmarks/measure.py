"""One program measured as a whole: its time, its memory with all its children, and what it said.

Needs Linux or macOS. Knows nothing of what is measured.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

_SAMPLE_SECONDS = 0.25
_SHARED_SECONDS = 5.0  # counting shared pages costs about 15 ms a process, so it is done less often
_PER_USER = ("TORCH_HOME", "FASTAI_HOME", "YOLO_CONFIG_DIR", "MPLCONFIGDIR")
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GOMP_CPU_AFFINITY")


@dataclass(frozen=True)
class Measured:
    """What one process, with all its children, took.

    Attributes:
        seconds: From its start to its end, imports included.
        cpu_seconds: Of all processes and cores; other programs on the machine disturb it least.
        memory_bytes: Highest sum of resident memory over the process and its children.
        shared_once_bytes: The same with pages that several of them share counted once; equal for one process.
        said: The JSON object in the last line of its output.
        error: Empty when it ended well, else its last words.
        code: Its exit code.
    """

    seconds: float
    cpu_seconds: float
    memory_bytes: int
    shared_once_bytes: int
    said: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    code: int = 0


def environment(home: Path, **more: str) -> dict[str, str]:
    """The variables a side runs with: as many threads as it likes, no downloads, its files in ``home``.

    What peers write once per user (a font list, a settings file) goes beside it: in a new home each, every run
    would pay for it.
    """
    shared = home.parent / "shared"
    own = {
        **{name: str(shared / name.lower()) for name in _PER_USER},
        "TL_APP_HOME": str(home),
        "MPLBACKEND": "Agg",
        "HF_HUB_OFFLINE": "1",
        "YOLO_OFFLINE": "true",
        "GRADIO_ANALYTICS_ENABLED": "False",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }
    kept = {name: value for name, value in os.environ.items() if name not in _THREADS}
    return {**kept, **own, **more}


def run(
    command: Sequence[str | Path],
    env: Mapping[str, str],
    on_start: Callable[[int], None] = lambda pid: None,
) -> Measured:
    """Runs a program to its end.

    Args:
        command: The program and its arguments.
        env: Its environment.
        on_start: Called with its process id; whoever wants to interrupt it does so from a thread.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        process = subprocess.Popen([str(part) for part in command], stdout=out, stderr=err, env=dict(env))
        memory = Memory(process.pid)
        try:
            on_start(process.pid)
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            end_tree(process)
            raise
        finally:
            memory.stop()
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        # The system knows the main process's peak exactly; the sum over the tree is sampled.
        alone = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        error = _last_words(err, process.returncode) if process.returncode else ""
        return Measured(
            seconds=seconds,
            cpu_seconds=usage.ru_utime + usage.ru_stime,
            memory_bytes=max(alone, memory.peak_bytes),
            shared_once_bytes=max(alone, memory.peak_shared_once_bytes),
            said=_last_object(out),
            error=error,
            code=process.returncode,
        )


class Memory:
    """Watches the memory of a process and its children from a thread, from now until :meth:`stop`."""

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self.peak_shared_once_bytes = 0
        self._pid = pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the watch."""
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        shared_at = time.monotonic() + 1.0
        while not self._done.is_set():
            count, total = tree_memory(self._pid)
            self.peak_bytes = max(self.peak_bytes, total)
            if count > 1 and time.monotonic() >= shared_at:
                total = tree_memory(self._pid, shared_once=True)[1]
                shared_at = time.monotonic() + _SHARED_SECONDS
                self.peak_shared_once_bytes = max(self.peak_shared_once_bytes, total)
            self._done.wait(_SAMPLE_SECONDS)


def tree_memory(pid: int, shared_once: bool = False) -> tuple[int, int]:
    """How many processes a process and its children are, and the bytes of memory they hold.

    Args:
        pid: Of the process; one that is gone holds nothing.
        shared_once: Pages shared between processes are counted once, where the system can tell (Linux).
    """
    sizes = []
    for process in tree(pid):
        with contextlib.suppress(psutil.Error):  # gone meanwhile
            if shared_once:
                full = process.memory_full_info()
                sizes.append(getattr(full, "pss", full.rss))
            else:
                sizes.append(process.memory_info().rss)
    return len(sizes), sum(sizes)


def tree(pid: int) -> list[psutil.Process]:
    """The process and all its descendants, as far as they live."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def end_tree(process: subprocess.Popen[Any]) -> None:
    """Ends a process that we started, with its children."""
    for each in tree(process.pid):
        with contextlib.suppress(psutil.Error):
            each.kill()
    process.wait()


def _last_object(file: Any) -> dict[str, Any]:
    lines = _text(file).strip().splitlines()
    try:
        said = json.loads(lines[-1]) if lines else {}
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _last_words(file: Any, code: int) -> str:
    lines = [line.strip() for line in _text(file).splitlines() if line.strip()]
    return f"exit code {code}: {lines[-1][:300] if lines else 'nothing said'}"


def _text(file: Any) -> str:
    file.seek(0)
    return str(file.read().decode(errors="replace"))
