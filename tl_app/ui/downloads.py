"""Files made for a download, in gradio's own folder: it serves nothing from the user's."""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

from tl_app.errors import ResourceError

_KEPT_SECONDS = 3600


def made(kind: str, name: str, text: str) -> str:
    """Writes a file to download, and removes those of the same kind that are old.

    Args:
        kind: The folder's name.
        name: With its ending; what is no usual character becomes a dash.
        text: What is in it.

    Returns:
        Its path.
    """
    file = _place(kind, name)
    file.write_text(text, encoding="utf-8", newline="")
    return str(file)


def copied(kind: str, name: str, source: Path) -> str:
    """The same with a file that is there already; a folder becomes a zip.

    Returns:
        Its path.

    Raises:
        ResourceError: It cannot be copied.
    """
    try:
        if source.is_dir():
            file = _place(kind, f"{name}.zip")
            shutil.make_archive(str(file.with_suffix("")), "zip", source.parent, source.name)
        else:
            file = _place(kind, name)
            shutil.copyfile(source, file)
    except OSError as error:
        raise ResourceError(
            f"{source.name} could not be made ready to download: {error.strerror or error}.",
            remedy=f"It lies in {source.parent}, to be copied from there.",
        ) from error
    return str(file)


def _place(kind: str, name: str) -> Path:
    folder = Path(os.environ["GRADIO_TEMP_DIR"]) / kind
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if time.time() - old.stat().st_mtime > _KEPT_SECONDS:
            old.unlink(missing_ok=True)
    return folder / re.sub(r"[^A-Za-z0-9_.-]+", "-", name)
