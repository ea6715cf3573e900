"""Labelled photos to measure a run on: its own, or others of its classes. Knows nothing of what is measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tl_app.data.index import DatasetIndex, Photo, relocate, scan
from tl_app.data.store import PhotoStore, Preprocessing
from tl_app.engine.views import Item
from tl_app.errors import DataError, UsageError
from tl_app.runs import RunInfo

SPLITS = ("train", "val", "test", "all")


@dataclass(frozen=True)
class Labelled:
    """Photos of a run's classes.

    Attributes:
        index: Where they are from.
        split: Which of them: one of :data:`SPLITS`.
        photos: At least one.
        own: Whether they are the run's own photos.
    """

    index: DatasetIndex
    split: str
    photos: Sequence[Photo]
    own: bool


def labelled(info: RunInfo, data: str | Path | None, split: str | None) -> Labelled:
    """The photos of a run, or of another folder or zip.

    Args:
        info: The run.
        data: Photos; None for the run's own.
        split: None for ``val`` where there is one, else ``test``. All photos of a folder without split folders count
            as ``test``.

    Raises:
        UsageError: There is no such split.
        DataError: It holds no photos, or some whose class the run does not know.
    """
    if split is not None and split not in SPLITS:
        raise UsageError(f"split is '{split}'.", f"Allowed: {', '.join(SPLITS)}.")
    if data is None:
        index = DatasetIndex.read_manifest(info.path / "manifest.csv")
        split = split or "val"
    else:
        index = scan(data, for_training=False)
        split = split or next((name for name in ("val", "test", "train") if index.used(name)), "all")
    photos = [photo for photo in index.photos if not photo.issue and split in ("all", photo.split)]
    _check_classes(photos, info, index.source, split)
    return Labelled(index, split, photos, own=data is None)


def open_photos(
    index: DatasetIndex,
    photos: Sequence[Photo],
    preprocessing: Preprocessing,
    classes: Sequence[str],
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[PhotoStore, list[Item], dict[str, str]]:
    """Decodes photos of known classes; returns their store, those that can be read, and why others cannot.

    Raises:
        DataError: None can be read.
    """
    index = relocate(index)
    store = PhotoStore(index.root, preprocessing, photos=[p for p in index.photos if not p.issue])
    failed = store.prepare([photo.path for photo in photos], on_progress)
    numbers = {label: number for number, label in enumerate(classes)}
    contents = {photo.path: photo.content_hash for photo in photos} | store.changed
    items = [Item(p.path, numbers[p.label], contents[p.path]) for p in photos if p.path not in failed]
    if not items:
        raise DataError(f"None of the {len(photos)} photos in {index.source} can be read any more.")
    return store, items, failed


def _check_classes(photos: list[Photo], info: RunInfo, source: str, split: str) -> None:
    if not photos:
        raise DataError(
            f"There are no photos in the {split} split of {source}.", f"Splits: {', '.join(SPLITS)}."
        )
    strange = sorted({photo.label for photo in photos} - set(info.classes))
    if strange:
        raise DataError(
            f"The photos in {source} have classes that run '{info.name}' does not know: {', '.join(strange[:5])}.",
            f"It knows {', '.join(info.classes[:20])}.",
            "Rename the folders, or leave those classes out.",
        )
