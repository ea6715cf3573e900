"""How much may lie in the upload folder: measured now and then, counted in between. Knows nothing of requests."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

_MEASURED_SECONDS = 2.0


class Room:
    """A bound on what uploads may fill.

    Args:
        folders: Where they land.
        most_bytes: Of all of them together.
    """

    def __init__(self, folders: Iterable[Path], most_bytes: int) -> None:
        """Nothing is measured yet."""
        self._folders, self._most_bytes = tuple(folders), most_bytes
        self._measured_at, self._lying, self._coming = float("-inf"), 0, 0

    def take(self, size: int) -> bool:
        """Keeps room for an upload of at most ``size`` bytes, if there is so much."""
        now = time.monotonic()
        if now - self._measured_at > _MEASURED_SECONDS:
            self._lying, self._measured_at = sum(map(folder_bytes, self._folders)), now
        if self._lying + self._coming + size > self._most_bytes:
            return False
        self._coming += size
        return True

    def landed(self, size: int) -> None:
        """The upload that :meth:`take` was called for has ended; it counts until the next measurement."""
        self._coming -= size
        self._lying += size


def folder_bytes(folder: Path) -> int:
    """The files in a folder and below; those that vanish meanwhile count nothing."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_size
            except OSError:
                continue  # removed meanwhile
    return total
