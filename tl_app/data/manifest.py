"""The dataset index: one row per photo, and its CSV form, the manifest that is saved with a run.

Knows rows and columns only; how they come about is :mod:`tl_app.data.index`'s business.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import BinaryIO

from tl_app.errors import DataError
from tl_app.files import write_atomically

SPLITS = ("train", "val", "test")
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Photo:
    """One file of the user's folder.

    Args:
        path: Relative to the index's root, with ``/`` between folders.
        label: The class; empty for a photo outside every class folder.
        split: ``train``, ``val`` or ``test``; empty when it is left out.
        width: In pixels, upright; 0 when unknown.
        height: Likewise.
        file_bytes: Its size on disk.
        content_hash: BLAKE2b of the content, 32 hexadecimal digits; empty when it was not worth reading.
        issue: Empty, or why it is left out.
    """

    path: str
    label: str
    split: str
    width: int
    height: int
    file_bytes: int
    content_hash: str
    issue: str = ""


@dataclass(frozen=True)
class DatasetIndex:
    """Every photo of a folder, with its class and split or the reason it is left out.

    Args:
        root: The folder that the photos' paths start from.
        source: What the user named: a folder or a zip.
        photos: Sorted by path; used and left-out ones.
        classes: Sorted; the position is the class's number.
        made_split: Whether the val split was made here rather than found in the folder.
    """

    root: Path
    source: str
    photos: tuple[Photo, ...]
    classes: tuple[str, ...]
    made_split: bool

    def used(self, split: str) -> list[Photo]:
        """The photos of one split, sorted by path."""
        return [photo for photo in self.photos if photo.split == split and not photo.issue]

    @property
    def left_out(self) -> list[Photo]:
        """The files that are not used; each says why in ``issue``."""
        return [photo for photo in self.photos if photo.issue]

    def counts(self) -> dict[str, dict[str, int]]:
        """Used photos per class and split; ``test`` is there only when the folder has one."""
        found = [split for split in SPLITS if split != "test" or any(p.split == "test" for p in self.photos)]
        counts = {label: dict.fromkeys(found, 0) for label in self.classes}
        for photo in self.photos:
            if not photo.issue:
                counts[photo.label][photo.split] += 1
        return counts

    def fingerprint(self) -> str:
        """Says whether two indexes use the same photos in the same way, wherever their roots are."""
        digest = hashlib.blake2b(digest_size=16)
        for photo in self.photos:
            if not photo.issue:
                row = "\0".join((photo.path, photo.label, photo.split, photo.content_hash, ""))
                digest.update(row.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def write_manifest(self, path: Path) -> None:
        """Write ``manifest.csv`` so that it is there whole or not at all."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(_rows(self))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.getvalue().encode("utf-8"))

    @classmethod
    def read_manifest(cls, path: Path, root: Path | None = None) -> DatasetIndex:
        """The index that :meth:`write_manifest` wrote.

        Args:
            path: The manifest.
            root: Where the photos are now, if they moved.

        Raises:
            DataError: It is not there, or not a manifest.
        """
        try:
            now = path.stat()
            return _read_manifest(path, root, (now.st_ino, now.st_size, now.st_mtime_ns))
        except (OSError, ValueError, TypeError, IndexError, csv.Error) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise DataError(f"The manifest '{path}' cannot be read: {reason}.") from error


@functools.lru_cache(maxsize=2)  # a run is looked at from many sides at once, each by itself
def _read_manifest(path: Path, root: Path | None, as_written: tuple[int, ...]) -> DatasetIndex:
    """One that is written anew, always as another file, is read anew."""
    with open(path, encoding="utf-8", newline="") as file:
        return _from_rows(list(csv.reader(file, strict=True)), root)


_PHOTO_COLUMNS = tuple(spec.name for spec in fields(Photo))
# What holds for the whole index stands beside the first row: the file is a plain table for any program.
_COLUMNS = (*_PHOTO_COLUMNS, "root", "source", "made_split")


def _rows(index: DatasetIndex) -> Iterable[list[str | int]]:
    whole: list[str | int] = [_escaped(str(index.root)), _escaped(index.source), int(index.made_split)]
    for photo in index.photos or (Photo("", "", "", 0, 0, 0, "", ""),):
        values = (getattr(photo, name) for name in _PHOTO_COLUMNS)
        yield [*(_escaped(value) if isinstance(value, str) else value for value in values), *whole]
        whole = ["", "", ""]


def _from_rows(rows: list[list[str]], root: Path | None) -> DatasetIndex:
    if len(rows) < 2 or tuple(rows[0]) != _COLUMNS or any(len(row) != len(_COLUMNS) for row in rows):
        raise ValueError("its columns are not a manifest's")
    photos = []
    for row in rows[1:]:
        path, label, split, width, height, file_bytes, content_hash, issue, *_ = map(_plain, row)
        if path:
            photos.append(
                Photo(path, label, split, int(width), int(height), int(file_bytes), content_hash, issue)
            )
    stored_root, source, made_split = rows[1][-3:]
    return DatasetIndex(
        root=root or Path(_plain(stored_root)),
        source=_plain(source),
        photos=tuple(photos),
        classes=classes_of(photos),
        made_split=bool(int(made_split)),
    )


def content_hash(file: BinaryIO) -> str:
    """BLAKE2b of all that an open file holds, as in :class:`Photo`; the file's position moves."""
    digest = hashlib.blake2b(digest_size=16)
    file.seek(0)
    while block := file.read(_BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


def classes_of(photos: Iterable[Photo]) -> tuple[str, ...]:
    """The classes that there are photos to train on for, sorted."""
    return tuple(sorted({photo.label for photo in photos if photo.split == "train" and not photo.issue}))


def _escaped(text: str) -> str:
    r"""Bytes in names that are no UTF-8 (lone surrogates) are written ``\udcNN``, and so ``\`` is ``\\``."""
    return text.replace("\\", "\\\\").encode("utf-8", "backslashreplace").decode("utf-8")


def _plain(text: str) -> str:
    if "\\" not in text:  # nearly always, and 50,000 rows have 550,000 texts
        return text
    return re.sub(
        r"\\(?:\\|u([0-9a-f]{4}))", lambda found: chr(int(found[1], 16)) if found[1] else "\\", text
    )
