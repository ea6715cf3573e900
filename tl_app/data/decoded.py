"""Photos that were decoded and shrunk once: one file of pixels on disk, mapped into memory, shared by all readers.

A photo is known by the hash of its content, so what is read back always belongs to the photo that was scanned. The
file is filled in any order, by any number of threads, and goes on being filled after a stop, a ``kill -9`` or a power
cut (:mod:`tl_app.data.durable`). Knows nothing of how photos are decoded.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import mmap
import os
import threading
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from tl_app import caches
from tl_app.data.durable import Journal, PieceWriter
from tl_app.data.pixelfile import Donors, Row, locked, rows_of, settled
from tl_app.data.pixels import to_rows
from tl_app.errors import PhotoError

_VERSION = 1  # of what is in the files; another one, another key
# Pages that were read stay with the process until the system is short of memory: they are given back earlier.
_RESIDENT_BYTES = 512 << 20
_MISSING, _DONE, _FAILED = 0, 1, 2

# The map can only be read, and photos of a store are not to be written into anyway.
warnings.filterwarnings("ignore", message="The given buffer is not writable")

_shared: WeakValueDictionary[str, DecodedPhotos] = WeakValueDictionary()
_sharing = threading.Lock()


def open_decoded(sizes: Mapping[str, tuple[int, int]], made_by: str) -> DecodedPhotos:
    """The file for these photos, shared with everyone in this process who asked for the same ones.

    Args:
        sizes: Width and height of each photo's pixels by the hash of its content. Their order is that of the file
            when it is new, and does not matter otherwise.
        made_by: What else the pixels depend on.

    Raises:
        ResourceError: There is no room for it.
        OSError: The cache cannot be written.
    """
    lines = [f"{content} {width} {height}\n" for content, (width, height) in sizes.items()]
    alike = hashlib.blake2b(f"{_VERSION} {made_by}".encode(), digest_size=4).hexdigest()
    these = hashlib.blake2b("".join(sorted(lines)).encode(), digest_size=16).hexdigest()
    with _sharing:
        folder = caches.folder("decoded", f"{alike}-{these}")
        found = _shared.get(str(folder))
        if found is None:
            found = _shared[str(folder)] = DecodedPhotos(folder, lines)
        return found


class DecodedPhotos:
    """Photos by the hash of their content. Every method may be called from several threads.

    Made by :func:`open_decoded`: two of these for one folder, in one process, would not know of each other's photos.

    Args:
        folder: The cache entry: ``photos`` (the lines, in the order of the file), ``pixels`` and ``journal``.
        lines: Hash, width and height of each photo.

    Raises:
        ResourceError: There is no room.
        OSError: The cache cannot be written.
    """

    def __init__(self, folder: Path, lines: list[str]) -> None:
        self._folder, self._pixels = folder, folder / "pixels"
        self._journal = Journal(folder / "journal")
        self._hold = caches.hold(folder)  # for as long as this object is there
        self._states = bytearray(len(lines))
        self._reasons: dict[int, str] = {}
        self._writer: PieceWriter | None = None
        self._error: OSError | None = None
        self._donors: Donors | None = None
        self._lock = threading.Lock()
        self._read_bytes = 0
        self._rows, self.size_bytes = rows_of(settled(folder, lines))
        with open(self._pixels, "rb") as file:
            self._inode = os.fstat(file.fileno()).st_ino
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._bytes = torch.frombuffer(self._map, dtype=torch.uint8)
        self._take_in()

    def known(self, content: str) -> bool:
        """Whether a photo need not be decoded any more: it is there, or it is known why it never will be."""
        row = self._rows.get(content)
        return row is not None and self._states[row.number] != _MISSING

    def failure(self, content: str) -> str:
        """Why a photo cannot be decoded, as was found out earlier; empty where nothing speaks against it."""
        row = self._rows.get(content)
        return "" if row is None else self._reasons.get(row.number, "")

    def read(self, content: str) -> Tensor | None:
        """A photo's pixels, in the file itself and not to be written into; None when they are not there.

        Returns:
            uint8, (3, h, w), channels last.

        Raises:
            PhotoError: It cannot be decoded, as was found out when somebody tried.
        """
        row = self._rows.get(content)
        if row is None or self._states[row.number] == _MISSING:
            return None
        if self._states[row.number] == _FAILED:
            raise PhotoError(self._reasons[row.number])
        flat = self._bytes[row.offset : row.offset + row.size_bytes]
        self._count(row.size_bytes)
        return flat.view(row.height, row.width, 3).permute(2, 0, 1)

    def borrow(self, content: str) -> bool:
        """Takes a photo over from a file that was made in the same way for other photos; says whether there was one.

        Photos that are added to a folder later are so the only ones that are decoded.
        """
        row, donors = self._rows.get(content), self._donors
        if row is None or donors is None or donors.size(content) != (row.width, row.height):
            return False
        pixels = donors.pixels(content)
        return pixels is not None and self._write(row, memoryview(pixels))

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Photos can be added within; without room, or while another process adds them, nothing is kept."""
        with self._lock:
            if self._writer is None or not self._writer.join():
                self._writer = self._error = None
                try:
                    self._writer = self._new_writer()
                except OSError as error:
                    self._error = error
            writer = self._writer
        try:
            yield
        finally:
            self._donors = None
            if writer is not None:
                writer.leave()

    def add(self, content: str, image: Tensor) -> bool:
        """Keeps a photo's pixels, uint8 (3, h, w); False when that is not possible."""
        row = self._rows.get(content)
        fits = row is not None and image.shape == (3, row.height, row.width)
        return row is not None and fits and self._write(row, to_rows(image).reshape(-1).data)

    def add_failure(self, content: str, reason: str) -> None:
        """Remembers that a photo's content cannot be decoded, and why."""
        row, writer = self._rows.get(content), self._writer
        if row is not None and writer is not None:
            self._reasons[row.number] = reason
            self._states[row.number] = _FAILED
            writer.note(row.number, reason)

    @property
    def error(self) -> OSError | None:
        """What kept photos from being added: the disk is full, broken, or may not be written."""
        return self._error if self._writer is None else self._writer.error

    def _write(self, row: Row, pixels: memoryview) -> bool:
        writer = self._writer
        if writer is None or not writer.write(row.offset, pixels):
            return False
        self._states[row.number] = _DONE
        writer.enter(row.number, row.size_bytes)
        return True

    def _new_writer(self) -> PieceWriter | None:
        lock = locked(self._folder, 0)
        if lock is None:
            return None
        try:
            if self._pixels.stat().st_ino != self._inode:
                raise OSError(errno.ESTALE, "somebody has replaced the file")
            if not caches.make_room(0, keep=[self._folder]):  # what is still missing must fit
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._take_in()  # what another process may have added
            self._journal.cut()
            self._donors = Donors.alike(self._folder)
            return PieceWriter(self._pixels, self._journal, lock, self._lose)
        except BaseException:
            lock.release()
            raise

    def _take_in(self) -> None:
        done, failed = self._journal.read()
        self._reasons.update(failed)
        for numbers, state in ((done, _DONE), (failed, _FAILED)):
            for number in numbers:
                self._states[number] = state

    def _lose(self, numbers: list[int]) -> None:
        for number in numbers:
            self._states[number] = _MISSING

    def _count(self, size_bytes: int) -> None:
        """Gives pages back now and then; tensors stay valid, as what is read again is mapped again."""
        self._read_bytes += size_bytes
        if self._read_bytes > _RESIDENT_BYTES:
            self._read_bytes = 0
            if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
                self._map.madvise(mmap.MADV_DONTNEED)
