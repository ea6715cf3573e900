"""Files made for a download, in gradio's own folder: it serves nothing from the user's."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
import uuid
from pathlib import Path

from tl_app.errors import ResourceError

_KEPT_SECONDS = 3600
_QUICK_BYTES = 30 * 10**6


def made(kind: str, name: str, text: str) -> str:
    """Writes a file to download, and removes those of the same kind that are old.

    Args:
        kind: The folder's name.
        name: With its ending; what is no usual character becomes a dash.
        text: What is in it.

    Returns:
        Its path, which no other text has.
    """
    file = _place(kind, name, text)
    file.write_text(text, encoding="utf-8", newline="")
    return str(file)


def copied(kind: str, name: str, source: Path) -> str:
    """The same with a file that is there already; a folder becomes a zip.

    Returns:
        Its path, which no other source and no other version of it has: what a browser is being sent stays whole.

    Raises:
        ResourceError: It cannot be copied.
    """
    try:
        file = _place(kind, f"{name}.zip" if source.is_dir() else name, _version(source))
        if file.is_file():
            os.utime(file)  # in use, so not old
        else:
            _copy(source, file)
    except OSError as error:
        raise ResourceError(
            f"{source.name} could not be made ready to download: {error.strerror or error}.",
            remedy=f"It lies in {source.parent}, to be copied from there.",
        ) from error
    return str(file)


def is_quick(source: Path) -> bool:
    """Whether it is copied in no time, so that nobody need ask for it first: a file, and no large one."""
    return source.is_file() and source.stat().st_size < _QUICK_BYTES


def _version(source: Path) -> str:
    """Where it is, and which files of which size and time it is made of."""
    files = sorted(source.rglob("*")) if source.is_dir() else [source]
    stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files if path.is_file()]
    return repr((str(source.resolve()), stats))


def _copy(source: Path, file: Path) -> None:
    temporary = file.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        if source.is_dir():
            zipped = shutil.make_archive(str(temporary), "zip", source.parent, source.name)
            os.replace(zipped, temporary)
        else:
            shutil.copyfile(source, temporary)
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def _place(kind: str, name: str, what: str) -> Path:
    """A path for a file, in a folder of its own since names of two may be the same."""
    kept = Path(os.environ["GRADIO_TEMP_DIR"]) / kind
    folder = kept / hashlib.sha256(what.encode()).hexdigest()[:20]
    folder.mkdir(parents=True, exist_ok=True)
    for old in kept.glob("*/*"):
        if time.time() - old.stat().st_mtime > _KEPT_SECONDS:
            old.unlink(missing_ok=True)
    return folder / re.sub(r"[^A-Za-z0-9_.-]+", "-", name)
