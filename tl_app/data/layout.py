"""How a folder of photos is laid out: which files there are, which class and split each is in.

Knows names only, and opens no file. Understood are ``<class>/…`` and ``{train,val[,test]}/<class>/…``, also
inside wrapping folders; folders inside a class belong to it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tl_app.data.decode import EXTENSIONS
from tl_app.data.names import class_name, ignored, printable
from tl_app.data.roots import Roots, lies_in
from tl_app.errors import DataError

_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_DEEPEST = 64
_EMPTY = "This folder is empty."
_LOCKED = "This folder cannot be opened"
LAYOUTS = "Wanted is folder/<class>/photos, or folder/train/<class>/photos beside folder/val/<class>/photos."


@dataclass(frozen=True)
class Entry:
    """A file to look at, or a folder that cannot be.

    Args:
        path: Relative to the root, with ``/`` between folders.
        label: The class; empty outside every class folder.
        split: What the folders say: ``train``, ``val``, ``test``, or empty when they say nothing.
        issue: Why it cannot be used, when the place alone tells.
        stray: Whether it lies outside every class folder, where only photos are worth a word.
        locked: Whether it is a folder that cannot be opened.
    """

    path: str
    label: str
    split: str
    issue: str = ""
    stray: bool = False
    locked: bool = False


def list_entries(
    folder: Path, source: str, on_found: Callable[[int], None] = lambda count: None, roots: Roots = None
) -> tuple[Path, list[Entry]]:
    """Every visible file under ``folder``, in no particular order.

    Args:
        folder: Where the photos are.
        source: What the user named, for messages.
        on_found: Called now and then with the number of files so far; may raise to stop.
        roots: Links that lead out of these folders are not followed; None for anywhere.

    Returns:
        The folder that the paths start from (inside ``folder`` when other folders wrap it), and the entries.

    Raises:
        DataError: The folder cannot be opened, or has splits of which none is a ``train`` with classes.
    """
    root = _unwrapped(folder, source, roots)
    folders, files = _visible(root, source, roots)
    places = _split_places(root, source, folders, roots) or [(name, "", class_name(name)) for name in folders]
    entries = [Entry(name, "", "", "It is not inside a class folder.", stray=True) for name in files]
    place = os.stat(root)
    for top, split, label in places:
        for path, issue in _walk(root, top, [(place.st_dev, place.st_ino)], roots):
            entry = _entry(path, split, label, issue)
            # An empty folder matters where a class was meant, not deeper inside one.
            if issue != _EMPTY or path.count("/") == bool(split):
                entries.append(replace(entry, locked=issue.startswith(_LOCKED)))
            if len(entries) % 256 == 0:
                on_found(len(entries))
    return root, entries


def _entry(path: str, split: str, label: str, issue: str) -> Entry:
    if label:
        return Entry(path, label, split, issue)
    parts = path.split("/")
    if not split:
        return Entry(path, "", "", issue or "It is outside the train, val and test folders.", stray=True)
    if len(parts) == 2 and not issue:
        return Entry(path, "", split, "It is not inside a class folder.", stray=True)
    return Entry(path, class_name(parts[1]) if len(parts) > 1 else "", split, issue)


def _unwrapped(folder: Path, source: str, roots: Roots) -> Path:
    """Go into a folder that holds nothing but one other folder, down to where there is a choice."""
    for _ in range(_DEEPEST):
        folders, files = _visible(folder, source, roots)
        if len(folders) != 1 or _photo_names(files) or folders[0].lower() in _SPLIT_NAMES:
            return folder
        inner = folder / folders[0]
        try:
            inner_folders, inner_files = _visible(inner, source, roots)
        except DataError:
            return folder
        if not inner_folders or _photo_names(inner_files):  # it is a class itself
            return folder
        folder = inner
    return folder


def _visible(folder: Path, source: str, roots: Roots) -> tuple[list[str], list[str]]:
    """Names of the folders and of the other things in ``folder``, sorted."""
    try:
        with os.scandir(folder) as found:
            entries = [(entry.name, _is_dir(entry, roots)) for entry in found if not ignored(entry.name)]
    except OSError as error:
        raise DataError(
            f"The folder '{printable(source)}' cannot be opened: {error.strerror or error}.",
            remedy="Change its permissions, or copy it.",
        ) from error
    folders = sorted(name for name, is_dir in entries if is_dir)
    return folders, sorted(name for name, is_dir in entries if not is_dir)


def _photo_names(files: list[str]) -> bool:
    return any(os.path.splitext(name)[1].lower() in EXTENSIONS for name in files)


def _split_places(root: Path, source: str, folders: list[str], roots: Roots) -> list[tuple[str, str, str]]:
    """``(folder, split, "")`` for each top folder of a layout with splits; nothing for the plain layout."""
    splits = {name: _SPLIT_NAMES[name.lower()] for name in folders if name.lower() in _SPLIT_NAMES}
    only_splits = bool(splits) and not any(
        _holds_photos(root / name) for name in folders if name not in splits
    )
    if not splits or not (only_splits or len(splits) > 1):
        return []
    with_classes = {split for name, split in splits.items() if _readable_folders(root / name, roots)}
    if "train" in with_classes:
        return [(name, splits.get(name, ""), "") for name in folders]
    if not only_splits:  # classes that happen to be called so
        return []
    if "train" in splits.values():
        raise DataError(
            f"The 'train' folder of '{printable(source)}' has no class folders in it.",
            LAYOUTS,
            "Put the photos of each class in a folder of their own, named like the class.",
        )
    raise DataError(
        f"'{printable(source)}' has {' and '.join(repr(name) for name in splits)}, but no 'train' folder.",
        LAYOUTS,
        "Add the photos to train on, or name the folder of one split to have it divided.",
    )


def _holds_photos(folder: Path) -> bool:
    return any(_photo_names(names) for _, _, names in os.walk(folder))


def _readable_folders(folder: Path, roots: Roots) -> bool:
    try:
        return bool(_visible(folder, str(folder), roots)[0])
    except DataError:
        return True  # it is told about when it is walked


def _walk(root: Path, relative: str, above: list[tuple[int, int]], roots: Roots) -> Iterator[tuple[str, str]]:
    """Relative paths of the files under a folder, each with its issue; links are followed, not in rings."""
    try:
        place = os.stat(root / relative)
        if (place.st_dev, place.st_ino) in above or len(above) >= _DEEPEST:
            yield relative, "This folder is a link that leads back into itself."
            return
        with os.scandir(root / relative) as found:
            entries = sorted(
                (entry.name, _is_dir(entry, roots)) for entry in found if not ignored(entry.name)
            )
    except OSError as error:
        yield relative, f"{_LOCKED}: {error.strerror or error}."
        return
    if not entries:
        yield relative, _EMPTY
    for name, is_dir in entries:
        if is_dir:
            yield from _walk(root, f"{relative}/{name}", [*above, (place.st_dev, place.st_ino)], roots)
        else:
            yield f"{relative}/{name}", ""


def _is_dir(entry: os.DirEntry[str], roots: Roots) -> bool:
    try:
        return entry.is_dir() and (not entry.is_symlink() or lies_in(entry.path, roots))
    except OSError:  # a link to itself, say; opening it tells why
        return False
