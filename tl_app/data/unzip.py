"""A zip of photos, unpacked once into the cache and found there the next time.

Treats a zip as something a stranger made: it cannot write outside its own folder, fill the disk, or stop half
way and leave something that looks whole. Knows nothing of photos or classes.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import lzma
import os
import re
import shutil
import stat
import struct
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from tl_app import caches, resources
from tl_app.data.names import ignored
from tl_app.errors import DataError, Interrupted, ResourceError

MAX_MEMBERS = 100_000
MAX_UNPACKED_BYTES = 100 * 2**30
MAX_RATIO = 200  # unpacked to packed; photos hardly shrink, drawings saved as BMP some fifty times
_SMALL_BYTES = 64 * 2**20  # what any zip may unpack to, whatever the ratio
_BLOCK_BYTES = 1 << 20
_STALE_SECONDS = 24 * 3600

_TRUST = "If you trust it, unpack it yourself and name the folder."
_ROOM = "Make room on the disk of '{zips}', or point TL_APP_HOME to another one."
_BAD_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
)

Member = tuple[zipfile.ZipInfo, PurePosixPath]


def unpack(
    path: Path,
    file: BinaryIO,
    *,
    most_bytes: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Path:
    """The folder in the cache that holds what the zip holds, named by the zip's content.

    Args:
        path: The zip's name, for messages and its size.
        file: The zip, open for reading.
        most_bytes: That it may unpack to; None for what any zip may.
        on_progress: Called with files unpacked and files in all.
        should_stop: Asked often.

    Raises:
        DataError: The zip is damaged, protected, or not safe.
        ResourceError: There is not enough disk.
        Interrupted: ``should_stop`` said so.
    """
    most_bytes = MAX_UNPACKED_BYTES if most_bytes is None else most_bytes
    zips = resources.cache_dir() / "zips"
    target = zips / _content_hash(file, should_stop)
    if target.is_dir():  # it is renamed into place, so it is whole
        with contextlib.suppress(OSError):
            os.utime(target)  # used now: what was not used for longest leaves the cache first
        return target
    try:
        zips.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix="partial-", dir=zips))
    except OSError as error:
        raise ResourceError(f"The cache folder '{zips}' cannot be written: {error.strerror}.") from error
    _remove_stale(zips)
    try:
        with zipfile.ZipFile(file) as archive:
            members = _checked(archive, path, zips, most_bytes)
            _extract(archive, members, path, partial, most_bytes, on_progress, should_stop)
        _rename(partial, target)
        return target
    except _BAD_ZIP as error:
        remedy = "Download or make it again."
        raise DataError(f"The zip '{path}' cannot be unpacked: {error}.", remedy=remedy) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        remedy = _ROOM.format(zips=zips)
        raise ResourceError(f"The disk is full: the zip '{path}' does not fit.", remedy=remedy) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _rename(partial: Path, target: Path) -> None:
    try:
        os.replace(partial, target)
    except OSError:
        if not target.is_dir():  # else another process was faster with the same zip
            raise


def _content_hash(file: BinaryIO, should_stop: Callable[[], bool]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    file.seek(0)
    while block := file.read(_BLOCK_BYTES):
        digest.update(block)
        _stop_if(should_stop)
    file.seek(0)
    return digest.hexdigest()


def _stop_if(should_stop: Callable[[], bool]) -> None:
    if should_stop():
        raise Interrupted("Reading the photos was stopped.")


def _remove_stale(zips: Path) -> None:
    """What a killed process left behind, once it is so old that nobody can still be writing there."""
    for left in zips.glob("partial-*"):
        try:
            if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
        except FileNotFoundError:
            continue  # another process removed it


def _checked(archive: zipfile.ZipFile, path: Path, zips: Path, most_bytes: int) -> list[Member]:
    """The members to unpack and where each goes, once the table of contents has passed every check."""
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        raise _unsafe(path, f"it holds {len(infos):,} files", f"At most {MAX_MEMBERS:,} are unpacked.")
    members = []
    for info in infos:
        place = _place(info, path)
        if info.filename.endswith(("/", "\\")) or any(ignored(part) for part in place.parts):
            continue
        if info.flag_bits & 0x1:
            remedy = "Unpack it and name the folder."
            raise DataError(f"The zip '{path}' is protected with a password.", remedy=remedy)
        members.append((info, place))
    unpacked_bytes = sum(info.file_size for info, _ in members)
    _check_bytes(path, path.stat().st_size, unpacked_bytes, most_bytes)
    _make_room(path, zips, unpacked_bytes)
    return members


def _make_room(path: Path, zips: Path, unpacked_bytes: int) -> None:
    """What the cache keeps goes for it, the least recently used first; nothing goes where that would not do."""
    if caches.make_room(unpacked_bytes):
        return
    needed, allowed = f"{unpacked_bytes / 1e9:.1f} GB", f"{caches.budget_bytes() / 1e9:.1f} GB"
    free = f"{shutil.disk_usage(zips).free / 1e9:.1f} GB"
    raise ResourceError(
        f"The zip '{path}' unpacks to {needed}, and {free} are free; the cache may take {allowed} of the disk.",
        remedy=f"Raise the limit with `tl-app cache limit`, or unpack it yourself. {_ROOM.format(zips=zips)}",
    )


def _place(info: zipfile.ZipInfo, path: Path) -> PurePosixPath:
    """Where a member goes, relative to the folder that is unpacked into."""
    name = info.filename.replace("\\", "/")  # some Windows programs write backslashes
    place = PurePosixPath(name)
    shown = repr(info.filename[:80])
    if place.is_absolute() or re.match(r"[A-Za-z]:", name) or ".." in place.parts:
        raise _unsafe(path, f"it holds {shown}, which would be written outside its own folder")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if stat.S_ISLNK(kind):
        raise _unsafe(path, f"it holds the link {shown}", "Only plain files are unpacked.")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _unsafe(path, f"it holds {shown}, which is no plain file", "Only plain files are unpacked.")
    return place


def _unsafe(path: Path, why: str, allowed: str = "") -> DataError:
    return DataError(f"The zip '{path}' is not unpacked: {why}.", allowed, _TRUST)


def _check_bytes(path: Path, packed_bytes: int, unpacked_bytes: int, most_bytes: int) -> None:
    if unpacked_bytes > most_bytes:
        raise _unsafe(path, f"it unpacks to more than {most_bytes // 2**30} GiB")
    if unpacked_bytes > max(_SMALL_BYTES, MAX_RATIO * packed_bytes):
        raise _unsafe(path, f"it unpacks to more than {MAX_RATIO} times its size, as a zip bomb does")


def _extract(
    archive: zipfile.ZipFile,
    members: list[Member],
    path: Path,
    folder: Path,
    most_bytes: int,
    on_progress: Callable[[int, int], None] | None,
    should_stop: Callable[[], bool],
) -> None:
    packed_bytes, written_bytes = path.stat().st_size, 0
    for done, (info, place) in enumerate(members):
        if on_progress is not None:
            on_progress(done, len(members))
        with archive.open(info) as packed, _created(folder / place, info, path) as output:
            while block := packed.read(_BLOCK_BYTES):
                # Counted while reading: what the table of contents claims may be a lie.
                written_bytes += len(block)
                _check_bytes(path, packed_bytes, written_bytes, most_bytes)
                _stop_if(should_stop)
                output.write(block)
        _stop_if(should_stop)
    if on_progress is not None:
        on_progress(len(members), len(members))


def _created(goal: Path, info: zipfile.ZipInfo, path: Path) -> BinaryIO:
    try:
        goal.parent.mkdir(parents=True, exist_ok=True)
        return open(goal, "wb")
    except (OSError, ValueError) as error:  # a name the disk does not take, or one that is file and folder
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _unsafe(path, f"{info.filename[:80]!r} in it cannot be written ({error})") from error
