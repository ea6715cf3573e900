"""The file of decoded photos as such: where each photo lies in it, how it is made, and what others of its kind have.

An entry of the cache holds ``photos`` (a line each: hash of the content, width, height), ``pixels`` (in the same order)
and ``journal``. Knows nothing of who reads or fills it.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from tl_app import caches, resources
from tl_app.data.durable import Journal, read_at
from tl_app.errors import ResourceError
from tl_app.files import sync_folder, write_atomically

if TYPE_CHECKING:
    from filelock import BaseFileLock

_ALIGNED_BYTES = 64
_LOCK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Row:
    """Where a photo lies in the file: its number, its first byte, and its sides in pixels."""

    number: int
    offset: int
    width: int
    height: int

    @property
    def size_bytes(self) -> int:
        """Three bytes a pixel."""
        return self.width * self.height * 3


class Donors:
    """Photos that files of decoded ones have already; a photo in two of them is taken from the newer one.

    Args:
        folders: The entries that are looked through.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self._places: dict[str, tuple[BinaryIO, Row]] = {}
        for path in sorted(folders, key=_used_seconds):
            with contextlib.suppress(OSError, ValueError):  # it is being removed, or spoilt
                self._take_in(path)

    @classmethod
    def alike(cls, folder: Path) -> Donors:
        """Of an entry: those whose photos were made in the same way, which begin their names alike."""
        kind = folder.name.partition("-")[0]
        return cls(path for path in folder.parent.glob(f"{kind}-*") if path != folder)

    @classmethod
    def all(cls) -> Donors:
        """Whatever there is, in whichever size."""
        return cls((resources.cache_dir() / "decoded").glob("*-*"))

    def size(self, content: str) -> tuple[int, int] | None:
        """Width and height, in pixels, in which there is a photo."""
        place = self._places.get(content)
        return (place[1].width, place[1].height) if place else None

    def pixels(self, content: str) -> bytes | None:
        """A photo's pixels, row by row."""
        place = self._places.get(content)
        if place is None:
            return None
        file, row = place
        with contextlib.suppress(OSError):
            found = read_at(file.fileno(), row.size_bytes, row.offset)
            return found if len(found) == row.size_bytes else None
        return None

    def _take_in(self, path: Path) -> None:
        rows, size_bytes = rows_of((path / "photos").read_text().splitlines())
        done, _ = Journal(path / "journal").read()
        file = open(path / "pixels", "rb", buffering=0)  # noqa: SIM115  closed with the last reference to it
        if os.fstat(file.fileno()).st_size == size_bytes:
            self._places |= {name: (file, row) for name, row in rows.items() if row.number in done}


def _used_seconds(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def rows_of(lines: list[str]) -> tuple[dict[str, Row], int]:
    """Where each photo lies, and how long the file is, in bytes."""
    rows: dict[str, Row] = {}
    offset = 0
    for number, line in enumerate(lines):
        content, width, height = line.split()
        row = rows[content] = Row(number, offset, int(width), int(height))
        offset += -(-row.size_bytes // _ALIGNED_BYTES) * _ALIGNED_BYTES
    return rows, offset


def settled(folder: Path, lines: list[str]) -> list[str]:
    """The lines in the order of the file; where there is no file, or it is spoilt, a new one is made.

    Raises:
        ResourceError: There is no room for a new one.
        OSError: The entry cannot be written, or another process is making the same file.
    """
    stored = _stored(folder, lines)
    if stored is None:
        lock = locked(folder, _LOCK_SECONDS)
        if lock is None:
            raise OSError(errno.EBUSY, "Another process makes the same file", str(folder))
        try:
            stored = _stored(folder, lines)
            if stored is None:
                _start_anew(folder, lines)
        finally:
            lock.release()
    return stored or lines


def _stored(folder: Path, lines: list[str]) -> list[str] | None:
    try:
        stored = (folder / "photos").read_text().splitlines(keepends=True)
        length_bytes = (folder / "pixels").stat().st_size
        whole = (folder / "journal").is_file() and sorted(stored) == sorted(lines)
    except (OSError, ValueError):
        return None
    return stored if whole and length_bytes == rows_of(lines)[1] else None


def _start_anew(folder: Path, lines: list[str]) -> None:
    for name in ("journal", "pixels", "photos"):
        (folder / name).unlink(missing_ok=True)
    sync_folder(folder)  # from here on no journal speaks of pixels that are not there
    size_bytes = rows_of(lines)[1]
    if not caches.make_room(size_bytes, keep=[folder]):
        raise ResourceError(
            f"There is no room on the disk to keep {size_bytes / 1e9:.1f} GB of decoded photos.",
            remedy="Free some, or allow more: tl-app cache limit.",
        )
    with open(folder / "pixels", "wb") as file:
        file.truncate(size_bytes)
        os.fsync(file.fileno())
    (folder / "journal").touch()
    write_atomically(folder / "photos", "".join(lines).encode())


def locked(folder: Path, timeout_seconds: float) -> BaseFileLock | None:
    """The lock of the one who writes; None while another has it."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / "lock", timeout=timeout_seconds, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        return None
    return lock
