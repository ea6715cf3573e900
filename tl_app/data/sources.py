"""Where the photos are: a folder as it is, or a zip unpacked once into the cache.

Knows what users type, and nothing of photos or classes. Their own folder and zip are only ever read.
"""

from __future__ import annotations

import difflib
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

from tl_app import resources
from tl_app.data.names import ignored, printable
from tl_app.data.roots import Roots, confined, lies_in
from tl_app.data.unzip import unpack
from tl_app.errors import DataError

_STRANGERS_BYTES = 20 * 2**30  # that a zip may unpack to when it comes from another machine
_WANTED = "Wanted is a folder, or a zip, with one folder of photos per class."


def sample_data() -> Path:
    """The labelled photos that ship with the product."""
    return resources.sample_data_dir()


def photo_files(photos: str | Path | Iterable[str | Path]) -> list[Path]:
    """A file, or several; a folder stands for the photos in it.

    Raises:
        DataError: There are none in a folder.
    """
    from tl_app.data.decode import EXTENSIONS

    found: list[Path] = []
    for photo in map(Path, [photos] if isinstance(photos, str | Path) else photos):
        if photo.is_dir():
            inside = sorted(
                path
                for path in photo.rglob("*")
                if path.suffix.lower() in EXTENSIONS and not ignored(path.name)
            )
            if not inside:
                raise DataError(f"There are no photos in {photo}.")
            found += inside
        else:
            found.append(photo)
    return found


def open_source(
    source: str | Path,
    *,
    roots: Roots = None,
    on_progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Path:
    """The folder that holds the photos: ``source`` itself, or what its zip unpacks to.

    Args:
        source: What the user named; ``~`` and quotes around it are understood.
        roots: Folders it must lie in, when whoever asks may not use all; then a zip may unpack to less, too.
        on_progress: Called with files unpacked and files in all.
        should_stop: Asked between files.

    Raises:
        DataError: It is not there, neither folder nor zip, or the zip is damaged, protected or not safe.
        ResourceError: The zip needs more disk than there is.
        Interrupted: ``should_stop`` said so.
    """
    path = located(str(source), roots)
    try:
        if path.is_dir():
            return path
        if not path.is_file():
            raise DataError(f"'{source}' is neither a folder nor a file.", _WANTED)
        with open(path, "rb") as file:
            if not zipfile.is_zipfile(file):
                raise _not_a_zip(path, source)
            most_bytes = None if roots is None else _STRANGERS_BYTES
            return unpack(path, file, most_bytes=most_bytes, on_progress=on_progress, should_stop=should_stop)
    except PermissionError as error:
        raise DataError(
            f"'{source}' cannot be opened: permission denied.", remedy="Change its permissions, or copy it."
        ) from error
    except OSError as error:
        raise DataError(f"'{source}' cannot be read: {error.strerror or error}.", _WANTED) from error


def located(source: str, roots: Roots = None) -> Path:
    """The absolute path of what the user named; quotes and spaces around it, as pasted, are dropped.

    Raises:
        DataError: There is no such file or folder (close names are suggested), or it does not lie in ``roots``.
    """
    if not source.strip():
        raise DataError("No folder was named.", _WANTED)
    stripped = source.strip()
    if len(stripped) > 2 and stripped[0] == stripped[-1] and stripped[0] in "'\"":
        stripped = stripped[1:-1]  # as file managers copy a path
    try:
        for candidate in (source, stripped):
            path = Path(os.path.abspath(os.path.expanduser(candidate)))
            if not lies_in(path, roots):
                continue
            if path.exists():
                return path
    except (OSError, ValueError) as error:  # too long, a NUL in it, a folder above it that may not be entered
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"'{_short(source)}' cannot be opened: {reason}.", _WANTED) from error
    confined(path, roots)
    if os.path.islink(path):
        raise DataError(f"'{source}' is a link to something that is not there.", _WANTED)
    remedy = _suggestion(path) if roots is None else "Check the path."
    raise DataError(f"There is no '{_short(source)}'.", _WANTED, remedy)


def _short(text: str) -> str:
    text = printable(text.replace("\0", "\\0"))
    return text if len(text) <= 200 else text[:200] + "…"


def _suggestion(path: Path) -> str:
    """Close names beside where ``path`` was looked for, or the last folder on its way that is there."""
    parent = path.parent
    while not parent.is_dir():
        path, parent = parent, parent.parent
    try:
        names = {name.casefold(): name for name in os.listdir(parent) if not ignored(name)}
    except OSError:
        return "Check the path."
    close = difflib.get_close_matches(path.name.casefold(), names, n=3, cutoff=0.6)
    if close:
        return "Did you mean " + " or ".join(f"'{_short(str(parent / names[name]))}'" for name in close) + "?"
    return f"There is no '{_short(path.name)}' in '{_short(str(parent))}'; check the path."


def _not_a_zip(path: Path, source: str | Path) -> DataError:
    if path.suffix.lower() == ".zip":
        return DataError(
            f"'{source}' is not a whole zip: it is damaged or not yet fully downloaded.",
            remedy="Download or make it again.",
        )
    try:
        is_tar = tarfile.is_tarfile(path)
    except (OSError, EOFError, zlib.error, lzma.LZMAError):
        is_tar = False
    if is_tar or path.suffix.lower() in (".rar", ".7z", ".tar", ".gz", ".tgz", ".xz", ".zst"):
        return DataError(
            f"'{source}' is an archive that is not a zip.", _WANTED, "Unpack it and name the folder."
        )
    return DataError(
        f"'{source}' is a file, not a folder or a zip.", _WANTED, f"Did you mean its folder, '{path.parent}'?"
    )
