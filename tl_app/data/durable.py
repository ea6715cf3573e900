"""Pieces of a large file, written in any order, and a journal of those that will still be there after a power cut.

A piece is entered in the journal only once the disk has confirmed it, in a background thread, so that nobody waits for
the disk and nothing half written is ever taken for whole. Knows nothing of what the pieces are.
"""

from __future__ import annotations

import itertools
import json
import os
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from filelock import BaseFileLock

_BLOCK_BYTES, _BLOCK_SECONDS = 64 << 20, 2.0  # the most that is written between two entries
_sync = getattr(os, "fdatasync", os.fsync)
_seeking = threading.Lock()


class Journal:
    """Which pieces are whole, and which never will be and why; one line an entry, each with a check sum."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> tuple[set[int], dict[int, str]]:
        """The pieces that are whole, and the reasons of those that never will be.

        Raises:
            OSError: It is there and cannot be read.
        """
        done: set[int] = set()
        failed: dict[int, str] = {}
        for entry in self._entries()[0]:
            done.update(itertools.chain.from_iterable(range(first, end) for first, end in entry["done"]))
            failed.update((int(number), reason) for number, reason in entry["failed"].items())
        return done, failed

    def append(self, done: Iterable[int], failed: dict[int, str]) -> None:
        """Enters pieces; they are on the disk when this returns.

        Raises:
            OSError: The disk is full or broken.
        """
        text = json.dumps({"done": list(_stretches(sorted(done))), "failed": failed})
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(handle, f"{zlib.crc32(text.encode()):08x} {text}\n".encode())
            _sync(handle)
        finally:
            os.close(handle)

    def cut(self) -> None:
        """Removes an entry that a kill or a power cut left half written, and what may follow it.

        Raises:
            OSError: It cannot be written.
        """
        whole_bytes = self._entries()[1]
        if whole_bytes < self._path.stat().st_size:
            os.truncate(self._path, whole_bytes)

    def _entries(self) -> tuple[list[dict[str, Any]], int]:
        entries: list[dict[str, Any]] = []
        whole_bytes = 0
        for line in self._path.read_bytes().splitlines(keepends=True):
            check, _, text = line.partition(b" ")
            if not line.endswith(b"\n") or check != f"{zlib.crc32(text[:-1]):08x}".encode():
                break
            entries.append(json.loads(text))
            whole_bytes += len(line)
        return entries, whole_bytes


def _stretches(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """``[3, 4, 5, 9]`` as ``(3, 6), (9, 10)``."""
    for _, stretch in itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        members = [number for _, number in stretch]
        yield members[0], members[-1] + 1


class PieceWriter:
    """Writes pieces from any thread, and ends by itself when all users have left and the disk has everything.

    Args:
        path: The file, at its full length.
        journal: Of this file.
        lock: Held for as long as this writes; released at the end.
        on_lost: Called with pieces that were entered but did not reach the disk.

    Raises:
        OSError: The file cannot be opened.
    """

    def __init__(
        self, path: Path, journal: Journal, lock: BaseFileLock, on_lost: Callable[[list[int]], None]
    ) -> None:
        self._journal, self._lock, self._on_lost = journal, lock, on_lost
        self._file = open(path, "r+b", buffering=0)  # noqa: SIM115  the thread closes it
        self._users = 1
        self._ended = self._unsafe = False
        self._changed = threading.Condition()
        self._done: list[int] = []
        self._failed: dict[int, str] = {}
        self._written_bytes = 0
        self.error: OSError | None = None  # the disk is full or broken: nothing more is written
        # No daemon: at the end of the program it may still have to wait for the disk.
        threading.Thread(target=self._follow, name="tl-app decoded photos", daemon=False).start()

    def join(self) -> bool:
        """One more user; False when it has ended already."""
        with self._changed:
            self._users += not self._ended
            return not self._ended

    def leave(self) -> None:
        """One user less; what was written is seen through in the background."""
        with self._changed:
            self._users -= 1
            self._changed.notify()

    def write(self, offset: int, data: memoryview) -> bool:
        """Writes one piece; False when the disk is full or broken, now or before."""
        if self.error is not None or self._ended:
            return False
        try:
            _write_at(self._file.fileno(), data, offset)
        except OSError as error:
            self.error = error
            return False
        return True

    def enter(self, number: int, size_bytes: int) -> None:
        """Says that a piece was written in full."""
        with self._changed:
            self._done.append(number)
            self._written_bytes += size_bytes
            if self._written_bytes >= _BLOCK_BYTES:
                self._changed.notify()

    def note(self, number: int, reason: str) -> None:
        """Remembers that a piece will never be there, and why."""
        with self._changed:
            self._failed[number] = reason

    def _follow(self) -> None:
        try:
            while not self._ended:
                with self._changed:
                    self._changed.wait_for(self._due, timeout=_BLOCK_SECONDS)
                self._see_through()
        finally:
            self._ended = True
            self._on_lost = (
                _forget  # its owner may own this: they would wait for the garbage collector together
            )
            self._file.close()
            self._lock.release()

    def _due(self) -> bool:
        return self._users == 0 or self._written_bytes >= _BLOCK_BYTES

    def _see_through(self) -> None:
        """Waits for the disk, then enters what is on it; ends when nobody is going to write any more."""
        with self._changed:
            done, failed = self._done, self._failed
            self._done, self._failed, self._written_bytes = [], {}, 0
            # The program may be over while a thread of it is still a user.
            self._ended = (
                not done and not failed and (self._users == 0 or not threading.main_thread().is_alive())
            )
        if self._unsafe:
            self._on_lost(done)
        elif done or failed:
            try:
                _sync(self._file.fileno())
                self._journal.append(done, failed)
            except OSError as error:
                # The system tells of pages that it could not write once only: nothing is believed from here on.
                self.error, self._unsafe = error, True
                self._on_lost(done)


def _forget(numbers: list[int]) -> None:
    pass


def read_at(handle: int, size_bytes: int, offset: int) -> bytes:
    """Part of a file, from any thread; shorter where the file ends."""
    if hasattr(os, "pread"):
        return os.pread(handle, size_bytes, offset)
    with _seeking:  # Windows
        os.lseek(handle, offset, os.SEEK_SET)
        return os.read(handle, size_bytes)


def _write_at(handle: int, data: memoryview, offset: int) -> None:
    while data:
        if hasattr(os, "pwrite"):
            written = os.pwrite(handle, data, offset)
        else:  # Windows
            with _seeking:
                os.lseek(handle, offset, os.SEEK_SET)
                written = os.write(handle, data)
        data, offset = data[written:], offset + written
