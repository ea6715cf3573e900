"""What scans found out about files: one that has not changed since is not read again.

A file counts as unchanged while its size, its inode and both its times are what they were: the time of its last change
cannot be set by programs. One that was changed a moment before a scan is read again by the next one, as a second
change within one tick of the clock would not show. Knows nothing of classes and splits.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from pathlib import Path
from typing import NamedTuple

from tl_app import caches
from tl_app.files import write_atomically

_VERSION = 1  # of what is found out about a file: another one, another key
_KIND, _FILE = "scans", "files.json"
_TICK_NS = 2 * 10**9  # FAT's clock, the coarsest there is

_Marks = tuple[int, int, int, int]  # size, inode, and both times


class Facts(NamedTuple):
    """About a photo file: its size in bytes, its width and height in pixels, and the hash of its content."""

    file_bytes: int
    width: int
    height: int
    content_hash: str


class Seen:
    """The files of one folder; may be asked and told by several threads.

    Args:
        root: What the paths start from.
    """

    def __init__(self, root: Path) -> None:
        """Read what an earlier scan left, if it did."""
        text = f"{_VERSION} {os.path.realpath(root)}"
        self._root, self._key = root, hashlib.blake2b(os.fsencode(text), digest_size=16).hexdigest()
        self._before = self._read()
        self._now: dict[str, tuple[_Marks, Facts]] = {}
        self._settled_ns = time.time_ns() - _TICK_NS

    def facts(self, path: str) -> Facts | None:
        """What is known of a file as it is now."""
        known = self._before.get(path)
        if known is None:
            return None
        with contextlib.suppress(OSError, ValueError):
            if _marks(os.stat(self._root / path)) == known[0]:
                self._now[path] = known
                return known[1]
        return None

    def content(self, path: str, found: os.stat_result) -> str:
        """The hash of a file that has not changed since an earlier scan; empty where that is not known.

        Args:
            path: Relative to the root.
            found: Of the file, open.
        """
        known = self._before.get(path)
        return known[1].content_hash if known is not None and known[0] == _marks(found) else ""

    def note(self, path: str, found: os.stat_result, facts: Facts) -> None:
        """What was just found out about a file.

        Args:
            path: Relative to the root.
            found: Of the file, from before it was read.
            facts: About it.
        """
        if max(found.st_mtime_ns, found.st_ctime_ns) < self._settled_ns:
            self._now[path] = (_marks(found), facts)

    def save(self, *, complete: bool) -> None:
        """Keeps it for the next scan; a cache that cannot be written keeps nothing.

        Args:
            complete: Whether all files were looked at; else what was known of the others stays.
        """
        files = self._now if complete else {**self._before, **self._now}
        if files == self._before:
            return
        rows = [[path, *marks, *facts] for path, (marks, facts) in files.items()]
        content = json.dumps(rows, separators=(",", ":")).encode()
        with contextlib.suppress(OSError):
            if caches.make_room(len(content)):
                write_atomically(caches.folder(_KIND, self._key) / _FILE, content)

    def _read(self) -> dict[str, tuple[_Marks, Facts]]:
        with contextlib.suppress(OSError, ValueError, TypeError):  # not there, or spoilt
            rows = json.loads((caches.place(_KIND, self._key) / _FILE).read_bytes())
            return {path: ((a, b, c, d), Facts(*facts)) for path, a, b, c, d, *facts in rows}
        return {}


def _marks(found: os.stat_result) -> _Marks:
    return found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns
