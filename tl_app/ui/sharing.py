"""The one demo that this app has handed out: it belongs to the server, not to a browser tab.

A reloaded page finds it again, and it ends with the app. Knows nothing of components.
"""

from __future__ import annotations

import atexit
import threading

from tl_app.demo.child import Demo
from tl_app.demo.protocol import Settings, Status
from tl_app.errors import UsageError


class Sharer:
    """Starts and stops demos, one at a time. Safe to use from several browser tabs at once."""

    def __init__(self) -> None:
        """Nothing is shared."""
        self._lock = threading.Lock()
        self._demo: Demo | None = None
        self.run = ""
        self.version = 0
        atexit.register(self.stop)

    @property
    def status(self) -> Status | None:
        """Where the demo stands, also after its end; None when there was none."""
        demo = self._demo
        return demo.status if demo is not None else None

    def start(self, settings: Settings, run: str) -> None:
        """Starts a demo; how it goes is told by :attr:`status`.

        Args:
            settings: What to serve.
            run: Its run's name.

        Raises:
            UsageError: One is running already.
        """
        with self._lock:
            if self._demo is not None and self._demo.status.alive:
                raise UsageError(
                    f"The demo of run '{self.run}' is running already.",
                    remedy="Stop it first, then start another.",
                )
            self.run = run
            self._demo = Demo(settings, self._moved)
        self._moved(self._demo.status)

    def stop(self) -> None:
        """Ends the demo, its public link first, and returns when it is gone."""
        with self._lock:
            if self._demo is not None and self._demo.status.alive:
                self._demo.stop()

    def _moved(self, status: Status) -> None:
        self.version += 1
