"""From what the user named to the dataset index: which photos there are, and which can be used for what.

Reads every file once, in parallel, and decodes none of them; what has not changed since an earlier scan is not
even read. One bad file never stops a scan: it is left out with its reason. Knows nothing of networks or training.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tl_app.data.decode import EXTENSIONS, read_size
from tl_app.data.layout import LAYOUTS, Entry, list_entries
from tl_app.data.manifest import SPLITS, DatasetIndex, Photo, classes_of, content_hash
from tl_app.data.names import printable
from tl_app.data.opening import at_hand, open_regular, small_and_cached
from tl_app.data.roots import Roots, lies_in
from tl_app.data.seen import Facts, Seen
from tl_app.data.sources import located, open_source
from tl_app.data.splits import stratified
from tl_app.errors import DataError, Interrupted, PhotoError

__all__ = ["SPLITS", "DatasetIndex", "Photo", "relocate", "scan"]

_BATCH = 32  # files a thread takes at a time
_SAMPLE = 16  # of all files, to see whether they lie in memory
_REPORT_SECONDS = 0.05
_LEADS_OUT = "It is a link that leads out of the folders that may be used from here."


@dataclasses.dataclass(frozen=True)
class _Row:
    photo: Photo
    entry: Entry
    photo_like: bool  # by its content or, where that is spoilt, by its name


def scan(
    source: str | Path,
    *,
    val_fraction: float = 0.2,
    seed: int = 0,
    for_training: bool = True,
    roots: Roots = None,
    on_progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> DatasetIndex:
    """Find out what is in a folder or zip of labelled photos.

    Without a ``val`` split a stratified one is made: the same photos and seed give the same split, whatever
    the files are called and wherever they are.

    Args:
        source: A folder, or a zip, as the user named it. It is only read.
        val_fraction: Share of each class that validates, when the split has to be made.
        seed: Of the split that is made.
        for_training: False for photos to measure a model on: any number of classes will do, no split is made, and
            photos outside split folders count as ``test``.
        roots: Folders that the photos must lie in once links are followed; None for anywhere.
        on_progress: Called with files done and files in all, from this thread.
        should_stop: Asked often.

    Returns:
        Every photo, used or left out with its reason.

    Raises:
        DataError: The photos cannot be used at all; each cause has its own message.
        ResourceError: A zip needs more disk than there is.
        Interrupted: ``should_stop`` said so.
    """
    report = _throttled(on_progress)

    def stop_if(count: int = 0) -> None:
        if should_stop():
            raise Interrupted("Reading the photos was stopped.")

    folder = open_source(source, roots=roots, on_progress=report, should_stop=should_stop)
    named = str(located(str(source), roots))  # a run must find it again from anywhere
    if folder != Path(named):
        roots = None  # a zip's own photos in the cache, among which there are no links
    root, entries = list_entries(folder, str(source), stop_if, roots)
    rows = _looked_at(root, entries, report, stop_if, roots)
    shown = printable(str(source))
    _check_photos(rows, entries, shown)
    photos = sorted((row.photo for row in rows), key=lambda photo: photo.path)
    if not for_training:
        photos = [p if p.issue or p.split else dataclasses.replace(p, split="test") for p in photos]
        labels = tuple(sorted({photo.label for photo in photos if not photo.issue}))
        return DatasetIndex(root, named, tuple(photos), labels, made_split=False)
    photos, made_split = _with_splits(photos, shown, val_fraction, seed)
    return DatasetIndex(root, named, tuple(photos), classes_of(photos), made_split)


def relocate(index: DatasetIndex) -> DatasetIndex:
    """The same index, its root on disk again if it was a zip whose unpacked copy is gone.

    Raises:
        DataError: The photos are no longer there.
    """
    if index.root.is_dir():
        return index
    folder = open_source(index.source)
    root, _ = list_entries(folder, index.source)
    return dataclasses.replace(index, root=root)


def _throttled(on_progress: Callable[[int, int], None] | None) -> Callable[[int, int], None]:
    last = -_REPORT_SECONDS

    def report(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if on_progress is not None and (done in (0, total) or now - last >= _REPORT_SECONDS):
            last = now
            on_progress(done, total)

    return report


def _looked_at(
    root: Path,
    entries: Sequence[Entry],
    report: Callable[[int, int], None],
    stop_if: Callable[[], None],
    roots: Roots,
) -> list[_Row]:
    rows: list[_Row] = []
    seen = Seen(root)
    batches = [entries[start : start + _BATCH] for start in range(0, len(entries), _BATCH)]
    report(0, len(entries))
    pool, done = ThreadPoolExecutor(_threads(root, entries, roots), thread_name_prefix="scan"), 0
    try:
        for batch, found in zip(
            batches,
            pool.map(lambda batch: [_look_at(root, entry, seen, roots) for entry in batch], batches),
            strict=True,
        ):
            done += len(batch)
            rows += [row for row in found if row is not None]
            report(done, len(entries))
            stop_if()
    finally:
        pool.shutdown(cancel_futures=True)
        seen.save(complete=done == len(entries))  # one that was stopped goes on where it was
    return rows


def _threads(root: Path, entries: Sequence[Entry], roots: Roots) -> int:
    """How many threads read the files: hashing and waiting for a disk release the interpreter's lock.

    Small files that lie in memory leave nothing to wait for but that lock: one thread reads 2,000 in 0.37 s, four in
    0.46 s, and while torch is being imported beside them, that takes 0.15 s less (two cores).
    """
    paths = [root / entry.path for entry in entries[:: 1 + len(entries) // _SAMPLE] if not entry.issue]
    if all(lies_in(path, roots) and small_and_cached(path) for path in paths):
        return 1
    return min(16, 2 * (os.cpu_count() or 1))


def _look_at(root: Path, entry: Entry, seen: Seen, roots: Roots = None) -> _Row | None:
    """What is known of one file without decoding it; nothing for a stray file that is no photo."""
    photo = Photo(entry.path, entry.label, "" if entry.issue else entry.split, 0, 0, 0, "", entry.issue)
    if entry.issue and not entry.stray:  # a folder with nothing in it, as far as one can see
        return _Row(photo, entry, photo_like=entry.locked)
    photo_like = os.path.splitext(entry.path)[1].lower() in EXTENSIONS
    if not lies_in(root / entry.path, roots):
        photo = dataclasses.replace(photo, split="", issue=_LEADS_OUT)
        return _Row(photo, entry, photo_like) if photo_like or not entry.stray else None
    known = seen.facts(entry.path)
    if known is not None:
        return _Row(dataclasses.replace(photo, **known._asdict()), entry, photo_like=True)
    try:
        with open_regular(root / entry.path) as file:
            found = os.fstat(file.fileno())
            photo = dataclasses.replace(photo, file_bytes=found.st_size)
            content = at_hand(file)
            width, height = read_size(content)
            photo_like = True
            facts = Facts(found.st_size, width, height, content_hash(content))
            seen.note(entry.path, found, facts)
            photo = dataclasses.replace(photo, **facts._asdict())
    except PhotoError as error:
        if not entry.issue:
            photo = dataclasses.replace(photo, split="", issue=str(error))
    return _Row(photo, entry, photo_like) if photo_like or not entry.stray else None


def _check_photos(rows: list[_Row], entries: Sequence[Entry], source: str) -> None:
    """The ways in which a folder cannot be used that have nothing to do with splits."""
    if not entries:
        raise DataError(f"'{source}' is empty.", LAYOUTS, "Put photos into it, or name another folder.")
    if not any(row.photo_like for row in rows):
        raise DataError(
            f"'{source}' holds no photos: {_told_apart(entries)}.",
            "Read are JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF and HEIC.",
            "Name a folder with one folder of photos per class.",
        )
    in_classes = [row for row in rows if row.photo_like and not row.entry.stray]
    if not in_classes:
        count = sum(row.photo_like for row in rows)
        raise DataError(
            f"'{source}' has no class folders: {count} photos lie side by side.",
            LAYOUTS,
            "Put the photos of each class in a folder of their own, named like the class.",
        )
    by_class: dict[str, list[Photo]] = defaultdict(list)
    for row in in_classes:
        if row.entry.split in ("", "train"):
            by_class[row.photo.label].append(row.photo)
    for label, photos in sorted(by_class.items()):
        if all(photo.issue for photo in photos):
            raise _unusable(label, photos)


def _unusable(label: str, photos: list[Photo]) -> DataError:
    count = "The only photo" if len(photos) == 1 else f"None of the {len(photos)} photos"
    name, issue = printable(photos[0].path), photos[0].issue
    return DataError(
        f"{count} of class '{label}' can{'not' if len(photos) == 1 else ''} be used. '{name}': {issue}",
        remedy=f"Put that right, or take the folder '{label}' away.",
    )


def _told_apart(entries: Sequence[Entry]) -> str:
    files = [entry for entry in entries if entry.stray or not entry.issue]
    if not files:
        return "; ".join(f"'{printable(entry.path)}': {entry.issue.rstrip('.')}" for entry in entries[:3])
    endings = Counter(os.path.splitext(entry.path)[1].lower() or "no ending" for entry in files)
    common = ", ".join(f"{count} x {printable(ending)}" for ending, count in endings.most_common(3))
    return f"{len(files)} other files ({common})"


def _with_splits(
    photos: list[Photo], source: str, val_fraction: float, seed: int
) -> tuple[list[Photo], bool]:
    """Give every used photo its split, and leave out what no split can use."""
    photos = [p if p.issue or p.split else dataclasses.replace(p, split="train") for p in photos]
    classes = classes_of(photos)
    if not classes:
        raise DataError(f"The 'train' folder of '{source}' has no photo that can be used.", LAYOUTS)
    photos = [_without_stranger(photo, classes) for photo in photos]
    if len(classes) < 2:
        count = sum(not photo.issue for photo in photos)
        raise DataError(
            f"'{source}' has one class only, '{classes[0]}' ({count} photos).",
            "A classifier needs at least two classes, each in a folder of its own.",
            "Add a folder with photos of something else.",
        )
    if any(photo.split == "val" and not photo.issue for photo in photos):
        return photos, False
    return _divided(photos, source, val_fraction, seed), True


def _without_stranger(photo: Photo, classes: tuple[str, ...]) -> Photo:
    if photo.issue or photo.label in classes:
        return photo
    close = difflib.get_close_matches(photo.label, classes, n=1)
    hint = f" (there is '{close[0]}')" if close else ""
    issue = f"Its class '{photo.label}' has no photos in the train folder{hint}."
    return dataclasses.replace(photo, split="", issue=issue)


def _divided(photos: list[Photo], source: str, val_fraction: float, seed: int) -> list[Photo]:
    pool = [photo for photo in photos if photo.split == "train" and not photo.issue]
    counts = Counter(photo.label for photo in pool)
    single = sorted(label for label, count in counts.items() if count == 1)
    if single:
        named = ", ".join(f"'{label}'" for label in single[:5]) + (" and others" if len(single) > 5 else "")
        what = f"Class {named} has" if len(single) == 1 else f"{len(single)} classes have"
        raise DataError(
            f"{what} a single usable photo{'' if len(single) == 1 else f': {named}'}, in '{source}'.",
            "Each class needs at least two: one to train on and one to validate with.",
            "Add photos, take the folder away, or make a 'val' folder yourself.",
        )
    splits = stratified([p.label for p in pool], val_fraction, seed, [p.content_hash for p in pool])
    chosen = {photo.path: split for photo, split in zip(pool, splits, strict=True)}
    return [dataclasses.replace(photo, split=chosen.get(photo.path, photo.split)) for photo in photos]
