"""Folders that photos may come from, once every link on the way is followed. Knows nothing of who asks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tl_app.errors import DataError

Roots = Sequence[Path] | None  # None: anywhere


def lies_in(path: str | Path, roots: Roots) -> bool:
    """Whether a file or folder lies in one of ``roots``, wherever links lead; what is not there can lie in them too."""
    if roots is None:
        return True
    try:
        real = Path(os.path.realpath(path))
        return any(real.is_relative_to(os.path.realpath(root)) for root in roots)
    except (OSError, ValueError):  # a NUL in it
        return False


def confined(path: Path, roots: Roots) -> Path:
    """The path itself.

    Nothing is said of whether it is there: who may not use a folder need not know of it.

    Raises:
        DataError: It lies outside of ``roots``.
    """
    if lies_in(path, roots):
        return path
    allowed = ", ".join(f"'{root}'" for root in roots or ())
    raise DataError(
        f"'{path}' is not in a folder that may be used from here.".replace("\0", "\\0"),
        f"Allowed are {allowed or 'uploads'} and what is in there, not links that lead out.",
        "Upload a zip instead, or start tl-app with --data-root and the folder.",
    )
