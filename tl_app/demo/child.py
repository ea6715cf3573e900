"""A demo as a child process: started, listened to, and ended with whoever started it.

The one way in which the command line and the app's page start one. Knows nothing of what a demo shows.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tl_app.demo.protocol import Settings, Status, status_of, to_line

_PATIENCE_SECONDS = 6.0  # for visitors who are being answered, and for the tunnel's own end


class Demo:
    """A running demo. Ends when :meth:`stop` is called, when it expires, or when this process ends in whatever way.

    Args:
        settings: What to serve.
        on_change: Called in a thread of its own whenever :attr:`status` has changed.
    """

    def __init__(self, settings: Settings, on_change: Callable[[Status], None] = lambda status: None) -> None:
        self.settings = settings
        self.status = Status(sharing=settings.share)
        self._on_change = on_change
        self._stopping = False
        self._process = _start()
        self._reader = threading.Thread(target=self._listen, name="demo", daemon=True)
        self._reader.start()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has died already, which the reader tells
            self._process.stdin.write(to_line(settings))
            self._process.stdin.flush()

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    def stop(self) -> None:
        """Ends it, its tunnel first, and returns when it is gone."""
        self._stopping = True
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.close()
        try:
            self._process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            _end(self._process)
        self._reader.join(_PATIENCE_SECONDS)

    def wait(self, seconds: float | None = None) -> bool:
        """Whether it has ended, for which it waits so long at most."""
        self._reader.join(seconds)
        return not self._reader.is_alive()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            found = status_of(line)
            if found is not None:
                self._say(found)
        self._process.wait()
        _end(self._process)  # a tunnel that outlived it
        if self.status.alive:
            note = "" if self._stopping else "The demo ended unexpectedly."
            self._say(replace(self.status, state="ended", public="", sharing=False, note=note))

    def _say(self, status: Status) -> None:
        self.status = status
        self._on_change(status)


def _start() -> subprocess.Popen[str]:
    own = str(Path(__file__).resolve().parents[2])
    paths = os.environ.get("PYTHONPATH", "")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([own, *([paths] if paths else [])])}
    # In a session of its own: Ctrl-C reaches this process alone, which then ends the demo, and all that the demo has
    # started can be ended together.
    return subprocess.Popen(
        [sys.executable, "-m", "tl_app.demo"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        env=environment,
        start_new_session=True,
    )


def _end(process: subprocess.Popen[str]) -> None:
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    elif process.poll() is None:
        process.kill()
    process.wait()
