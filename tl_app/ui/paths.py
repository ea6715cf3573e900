"""Completion for the path box: folders and zips that begin with what was typed. Knows the file system."""

from __future__ import annotations

import os
from pathlib import Path

from tl_app.data.roots import Roots, lies_in

_MOST = 12


def suggest(typed: str, roots: Roots = None) -> list[str]:
    """Folders (with a separator at the end) and zips that continue ``typed``, folders first.

    Hidden ones are offered only when their dot was typed. A folder that may not be read suggests nothing.

    Args:
        typed: What the path box holds; ``~`` stands for the home folder.
        roots: Folders that may be looked into, offered themselves when nothing was typed; None for all.

    Returns:
        At most a dozen whole paths.
    """
    typed = typed.strip().strip('"')
    if not typed:
        return [str(root) + os.sep for root in roots or ()][:_MOST]
    expanded = os.path.expanduser(typed)
    if expanded == typed and not os.path.isabs(typed):
        expanded = os.path.abspath(typed) + (os.sep if typed.endswith(("/", os.sep)) else "")
    folder, start = os.path.split(expanded)
    folders, zips = [], []
    if not lies_in(folder, roots):
        return []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.lower().startswith(start.lower()) or _hidden(entry.name, start):
                    continue
                if not lies_in(entry.path, roots):
                    continue
                if entry.is_dir():
                    folders.append(entry.path + os.sep)
                elif entry.name.lower().endswith(".zip"):
                    zips.append(entry.path)
    except OSError:
        return []
    found = sorted(folders, key=str.lower) + sorted(zips, key=str.lower)
    return [path for path in found if _sendable(path)][:_MOST]


def tidy(typed: str) -> str:
    """What a person pasted, as a path: without quotes, blanks and ``file://``."""
    text = typed.strip().strip('"').strip("'")
    if text.startswith("file://"):
        from urllib.parse import unquote, urlparse
        from urllib.request import url2pathname

        text = url2pathname(unquote(urlparse(text).path)) if os.name == "nt" else unquote(urlparse(text).path)
    return str(Path(text).expanduser()) if text else ""


def _hidden(name: str, start: str) -> bool:
    return name.startswith(".") and not start.startswith(".")


def _sendable(path: str) -> bool:
    """Whether a name can travel as JSON; a name that is not valid UTF-8 cannot be typed either."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
