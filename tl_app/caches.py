"""What can be made again is kept here: one folder per entry, least recently used ones go when room is needed.

Knows where entries are, how many bytes they take, when they were used last, who uses them, and the budget; nothing
of what is in them. Imports neither torch nor numpy.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tl_app import resources
from tl_app.errors import UsageError
from tl_app.files import write_json

if TYPE_CHECKING:
    from filelock import BaseFileLock

SPEEDS = (
    "speeds"  # measured on this machine: a few kB, which go when the user clears them, and never for room
)
KINDS = ("boundary", "decoded", "scans", SPEEDS, "thumbnails", "zips")

_DEFAULT_BYTES = 20 << 30
_DEFAULT_SHARE = 4  # at most a quarter of what is free on the disk or the cache's already
_LEFT_FREE_BYTES, _LEFT_FREE_SHARE = 2 << 30, 10  # 2 GiB or a tenth of the disk, whichever is less
_LOCK_SECONDS = 30.0  # it is held for moments only: whoever waits that long waits for a process that hangs
_PARTIAL, _TRASH = "partial-", ".trash-"  # what is still being unpacked; what is being deleted
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True)
class KindInfo:
    """What is cached of one kind.

    Attributes:
        kind: One of :data:`KINDS`.
        entries: How many there are.
        bytes: What they take, with what is reserved for one that is being written.
        last_used: When one of them was used last, in UTC (ISO 8601).
    """

    kind: str
    entries: int
    bytes: int
    last_used: str


@dataclass(frozen=True)
class CacheInfo:
    """All that is cached.

    Attributes:
        where: The folder.
        kinds: Sorted by name; kinds of which there is nothing are left out.
        total_bytes: Of all kinds.
        budget_bytes: What they may take together.
    """

    where: str
    kinds: tuple[KindInfo, ...]
    total_bytes: int
    budget_bytes: int


@dataclass(frozen=True)
class Cleared:
    """What clearing came to.

    Attributes:
        freed_bytes: What is free on the disk again.
        kept: Entries that stayed because they are in use, as ``kind/key``.
    """

    freed_bytes: int
    kept: tuple[str, ...]


@dataclass(frozen=True)
class _Entry:
    path: Path
    size_bytes: int  # of its files once they are filled
    disk_bytes: int  # what they take on the disk now
    used_seconds: float


class Hold:
    """Keeps an entry from being removed until :meth:`release`, or until the process ends in whatever way.

    It is a file lock of the operating system's, so that a killed process leaves nothing behind that counts.
    """

    def __init__(self, lock: BaseFileLock, mark: Path) -> None:
        self._lock, self._mark = lock, mark

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def __del__(self) -> None:
        self.release()

    def release(self) -> None:
        """Lets the entry go; a second call does nothing."""
        if self._lock.is_locked:
            self._lock.release()
            with contextlib.suppress(OSError):  # a mark that nobody holds is swept away sooner or later
                self._mark.unlink(missing_ok=True)


def place(kind: str, key: str) -> Path:
    """Where an entry is, or would be; nothing is made."""
    return resources.cache_dir() / kind / key


def folder(kind: str, key: str) -> Path:
    """The folder of one entry, made if need be; it counts as used now.

    Args:
        kind: One of :data:`KINDS`.
        key: What tells the entries of a kind apart; a plain file name.

    Raises:
        OSError: The cache cannot be written.
    """
    path = place(kind, key)
    with _locked():  # or it may be removed between the two calls
        path.mkdir(parents=True, exist_ok=True)
        os.utime(path)
    return path


def hold(path: Path) -> Hold:
    """Marks an entry as in use: no process removes it, neither for room nor because the user clears the cache.

    Args:
        path: As :func:`folder` gave it; made again if it was removed in between.

    Raises:
        OSError: The cache cannot be written.
    """
    from filelock import FileLock

    with _locked():
        mark = _marks_dir() / f"{path.parent.name}~{path.name}~{uuid.uuid4().hex}.lock"
        mark.parent.mkdir(exist_ok=True)
        lock = FileLock(mark, timeout=0, thread_local=False)
        lock.acquire()
        path.mkdir(parents=True, exist_ok=True)
    return Hold(lock, mark)


def entry_of(path: Path) -> Path | None:
    """The entry that ``path`` lies in, say the unpacked zip that photos come from; None outside the cache."""
    home = resources.cache_dir()
    try:
        parts = path.absolute().relative_to(home.absolute()).parts
    except ValueError:
        return None
    return home / parts[0] / parts[1] if len(parts) >= 2 else None


def make_room(needed_bytes: int, keep: Collection[Path] = ()) -> bool:
    """Removes the least recently used entries until ``needed_bytes`` more fit into the budget and on the disk.

    Nothing is removed when that would not be enough.

    Args:
        needed_bytes: What is about to be written on top of what there is. A file that has its final length already
            counts in full, however little of it is filled.
        keep: Entries that must stay. Those in use (:func:`hold`) stay anyway.

    Returns:
        Whether there is room now.

    Raises:
        OSError: The cache cannot be written.
    """
    with _locked():
        entries = _entries()
        excess_bytes = _excess_bytes(entries, needed_bytes)
        leaving = _oldest(entries, excess_bytes, keep)
        enough = sum(entry.size_bytes for entry in leaving) >= excess_bytes
        moved = _set_aside(leaving) if enough else []
    _delete(moved)
    return enough and len(moved) == len(leaving)


def budget_bytes() -> int:
    """What all entries may take together: the user's setting, or 20 GiB, or a quarter of the disk's room."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # never set, or spoilt
        return max(0, int(json.loads(_settings_file().read_text(encoding="utf-8"))["budget_bytes"]))
    cached_bytes = sum(entry.disk_bytes for entry in _entries())
    return min(_DEFAULT_BYTES, (_disk()[1] + cached_bytes) // _DEFAULT_SHARE)


def set_budget(size_bytes: int) -> None:
    """Sets what all entries may take together; the least recently used ones beyond it are removed at once.

    Args:
        size_bytes: 0 keeps nothing.

    Raises:
        UsageError: It is negative.
        OSError: The setting or the cache cannot be written.
    """
    if size_bytes < 0:
        raise UsageError(f"The cache was limited to {size_bytes} bytes.", "The limit must be 0 or more.")
    resources.home_dir().mkdir(parents=True, exist_ok=True)
    write_json(_settings_file(), {"budget_bytes": size_bytes})
    with _locked():
        entries = _entries()
        excess_bytes = sum(entry.size_bytes for entry in entries) - size_bytes
        moved = _set_aside(_oldest(entries, excess_bytes))
    _delete(moved)


def parse_bytes(text: str) -> int:
    """A size such as ``20GB``, ``512 MiB`` or ``0`` as a number of bytes.

    Raises:
        UsageError: It is not a size.
    """
    plain = text.strip().upper().removesuffix("B")
    units = _BINARY_UNITS if plain.endswith("I") else _UNITS
    number = plain.removesuffix("I").rstrip("KMGT")
    try:
        size_bytes = int(float(number) * units[plain.removesuffix("I")[len(number) :]])
    except (ValueError, OverflowError, KeyError):
        size_bytes = -1
    if size_bytes < 0:
        raise UsageError(f"'{text}' is not a size.", "Sizes look like 20GB, 500MB or 0.")
    return size_bytes


def info() -> CacheInfo:
    """What is cached, and what may be."""
    found: dict[str, list[_Entry]] = {}
    for entry in _entries(speeds=True):
        if entry.size_bytes:
            found.setdefault(entry.path.parent.name, []).append(entry)
    kinds = tuple(_kind_info(kind, entries) for kind, entries in sorted(found.items()))
    total_bytes = sum(kind.bytes for kind in kinds)
    return CacheInfo(str(resources.cache_dir()), kinds, total_bytes, budget_bytes())


def in_use(kind: str | None = None) -> list[str]:
    """Names of the entries that are in use, as ``kind/key``, sorted; of one kind or of all."""
    entries = [entry.path for entry in _entries(speeds=True) if kind in (None, entry.path.parent.name)]
    with _locked():
        return sorted(f"{path.parent.name}/{path.name}" for path in entries if _is_used(path))


def clear(kind: str | None = None) -> int:
    """Removes the entries of one kind, or all; those in use stay, and :func:`in_use` names them.

    Returns:
        What was freed, in bytes.

    Raises:
        UsageError: There is no such kind.
        OSError: The cache cannot be written.
    """
    if kind is not None and kind not in KINDS:
        raise UsageError(f"There is no cache '{kind}'.", f"There are {', '.join(KINDS)}.")
    with _locked():
        entries = [entry for entry in _entries(speeds=True) if kind in (None, entry.path.parent.name)]
        moved = _set_aside([entry for entry in entries if not _is_used(entry.path)])
    freed_bytes = sum(_entry(path).disk_bytes for path in moved)
    _delete(moved)
    return freed_bytes


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """One process at a time looks for entries to remove or marks one as in use."""
    from filelock import FileLock

    home = resources.cache_dir()
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / ".lock", timeout=_LOCK_SECONDS):
        yield


def _settings_file() -> Path:
    return resources.home_dir() / "cache.json"


def _marks_dir() -> Path:
    return resources.cache_dir() / ".in-use"


def _is_used(path: Path) -> bool:
    """Whether some process holds the entry; marks of processes that are gone are removed on the way."""
    from filelock import FileLock, Timeout

    for mark in _marks_dir().glob(f"{path.parent.name}~{path.name}~*.lock"):
        try:
            with FileLock(mark, timeout=0):
                mark.unlink(missing_ok=True)
        except Timeout:
            return True
    return False


def _entries(*, speeds: bool = False) -> list[_Entry]:
    """All entries of all kinds, speeds on request; hidden folders and zips still being unpacked are none."""
    return [
        _entry(path)
        for kind in _folders(resources.cache_dir())
        if speeds or kind.name != SPEEDS
        for path in _folders(kind)
        if not path.name.startswith(_PARTIAL)
    ]


def _folders(parent: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return [path for path in parent.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return []


def _entry(path: Path) -> _Entry:
    size_bytes = disk_bytes = 0
    used_seconds = 0.0
    with contextlib.suppress(OSError):  # another process removed it
        used_seconds = path.stat().st_mtime
        for name in (os.path.join(at, name) for at, _, names in os.walk(path) for name in names):
            with contextlib.suppress(OSError):
                found = os.lstat(name)
                on_disk = getattr(found, "st_blocks", -(-found.st_size // 512)) * 512
                size_bytes += max(found.st_size, on_disk)
                disk_bytes += on_disk
    return _Entry(path, size_bytes, disk_bytes, used_seconds)


def _kind_info(kind: str, entries: Sequence[_Entry]) -> KindInfo:
    last_used = datetime.fromtimestamp(max(entry.used_seconds for entry in entries), UTC)
    size_bytes = sum(entry.size_bytes for entry in entries)
    return KindInfo(kind, len(entries), size_bytes, last_used.strftime("%Y-%m-%dT%H:%M:%SZ"))


def _excess_bytes(entries: Sequence[_Entry], needed_bytes: int) -> int:
    """How much must go so that ``needed_bytes`` more fit; 0 or less when they do."""
    size_bytes = sum(entry.size_bytes for entry in entries)
    to_come_bytes = needed_bytes + size_bytes - sum(entry.disk_bytes for entry in entries)
    disk_bytes, free_bytes = _disk()
    left_free_bytes = min(_LEFT_FREE_BYTES, disk_bytes // _LEFT_FREE_SHARE)
    return max(size_bytes + needed_bytes - budget_bytes(), to_come_bytes + left_free_bytes - free_bytes)


def _disk() -> tuple[int, int]:
    """Size and free bytes of the disk that the cache is on, or will be."""
    place = resources.cache_dir().absolute()
    while not place.exists():
        place = place.parent
    disk = shutil.disk_usage(place)
    return disk.total, disk.free


def _oldest(entries: Sequence[_Entry], excess_bytes: int, keep: Collection[Path] = ()) -> list[_Entry]:
    """The least recently used entries that make up ``excess_bytes`` together, or all that may go."""
    kept = {path.absolute() for path in keep}
    leaving: list[_Entry] = []
    for entry in sorted(entries, key=lambda entry: entry.used_seconds):
        if excess_bytes <= 0:
            break
        if entry.size_bytes and entry.path.absolute() not in kept and not _is_used(entry.path):
            leaving.append(entry)
            excess_bytes -= entry.size_bytes
    return leaving


def _set_aside(entries: Sequence[_Entry]) -> list[Path]:
    """Renames entries, so that each is gone in one step whatever happens while its files are deleted."""
    moved = []
    for entry in entries:
        trash = entry.path.with_name(f"{_TRASH}{uuid.uuid4().hex}")
        with contextlib.suppress(OSError):  # Windows: a file in it is open
            os.replace(entry.path, trash)
            moved.append(trash)
    return moved


def _delete(moved: Sequence[Path]) -> None:
    """Deletes what was set aside, and what a process that was killed here before left."""
    for trash in {*moved, *resources.cache_dir().glob(f"*/{_TRASH}*")}:
        shutil.rmtree(trash, ignore_errors=True)
