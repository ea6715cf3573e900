"""Writing files so that a reader, or a process killed at any instant, never sees half of one.

Knows nothing of what is in them.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from pathlib import Path
from typing import Any


def write_atomically(path: Path, content: bytes) -> None:
    """Replaces ``path`` in one step: temporary file beside it, fsync, ``os.replace``.

    Raises:
        OSError: The disk is full or the folder cannot be written; the old file is then untouched.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_json(path: Path, values: Any) -> None:
    """Writes ``values`` as indented JSON in one step."""
    write_atomically(path, (json.dumps(values, indent=2) + "\n").encode())


def remove_leftovers(folder: Path) -> None:
    """Removes temporary files that a killed process left in ``folder``."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Makes a name that is new in ``folder`` last through a power cut."""
    with contextlib.suppress(
        OSError
    ):  # Windows cannot open a folder; the rename itself is still atomic there
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
