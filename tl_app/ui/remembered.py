"""Photos that were used before: the list of recent folders and zips, and uploaded zips, which are kept.

Knows nothing of what is done with them.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

from tl_app import resources
from tl_app.errors import UserError
from tl_app.files import write_json

_RECENT_KEPT = 8


def recent() -> list[str]:
    """Folders and zips used before that are still there, latest first."""
    try:
        entries = json.loads(_recent_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    known = [entry for entry in entries if isinstance(entry, str)] if isinstance(entries, list) else []
    return [entry for entry in known if Path(entry).exists()]


def remember(source: str) -> None:
    """Puts a folder or zip first among the recent ones."""
    entries = [source, *(entry for entry in recent() if entry != source)][:_RECENT_KEPT]
    with contextlib.suppress(OSError):  # a convenience: a full disk must not stop anyone from choosing photos
        _recent_file().parent.mkdir(parents=True, exist_ok=True)
        write_json(_recent_file(), entries)


def keep_upload(path: Path) -> tuple[Path, bool]:
    """Moves an uploaded zip to a lasting place, so that its run can be resumed and reproduced later.

    Returns:
        The place, and whether it was not there before.

    Raises:
        UserError: It cannot be kept.
    """
    import hashlib

    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    target = resources.home_dir() / "uploads" / digest[:12] / path.name
    is_new = not target.is_file()
    try:
        if is_new:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, target)
    except OSError as error:
        raise UserError(
            f"{path.name} could not be kept in {target.parent}: {error.strerror or error}.",
            remedy="Free some space and upload it again.",
        ) from error
    return target, is_new


def _recent_file() -> Path:
    return resources.home_dir() / "recent.json"
