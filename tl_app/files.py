"""Writing files so that a reader, or a process killed at any instant, never sees half of one.

Knows nothing of what is in them.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tl_app.errors import UsageError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside ``path`` to be written; it then takes its place in one step: fsync, ``os.replace``.

    Yields:
        An empty file; whoever writes it may put another one there.

    Raises:
        OSError: The disk is full or the folder cannot be written; the old file is then untouched.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.touch(exist_ok=False)
        rights = temporary.stat().st_mode
        yield temporary
        if temporary.stat().st_mode != rights:  # another file, which is its maker's alone
            temporary.chmod(rights)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_atomically(path: Path, content: bytes) -> None:
    """Replaces ``path`` in one step.

    Raises:
        OSError: The disk is full or the folder cannot be written; the old file is then untouched.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_new(folder: Path, stem: str, suffix: str, content: bytes) -> Path:
    """Writes a file under a name that nobody has yet, ``stem``, ``stem-2``, …, and returns its path.

    Raises:
        UsageError: The folder cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            path = folder / (f"{stem}{suffix}" if number == 1 else f"{stem}-{number}{suffix}")
            with contextlib.suppress(FileExistsError):
                # Taken at once, so that two programs cannot both choose it.
                path.touch(exist_ok=False)
                break
        write_atomically(path, content)
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be written: {error.strerror or error}.", remedy="Choose another folder."
        ) from error
    return path


def write_json(path: Path, values: Any) -> None:
    """Writes ``values`` as indented JSON in one step."""
    write_atomically(path, (json.dumps(values, indent=2) + "\n").encode())


def remove_leftovers(folder: Path, *, older_seconds: float = 0.0) -> None:
    """Removes temporary files that a killed process left in ``folder``.

    Args:
        folder: Where they are.
        older_seconds: How long ago they were written to; not 0 where another process may be writing one now.
    """
    ours, of_safetensors = folder.glob(".*.tmp"), folder.glob(".tmp*")
    for path in itertools.chain(ours, of_safetensors):
        with contextlib.suppress(FileNotFoundError):  # renamed or removed by the other one
            if not older_seconds or time.time() - path.stat().st_mtime > older_seconds:
                path.unlink()


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
