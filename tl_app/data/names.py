"""Names of files and folders: which ones are nobody's photo, and which class a folder stands for."""

from __future__ import annotations

import unicodedata

_IGNORED = {
    "__macosx",
    "__pycache__",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "icon\r",
    "@eadir",
    "$recycle.bin",
    "system volume information",
    "lost+found",
}


def ignored(name: str) -> bool:
    """Whether a file or folder is hidden or the system's own, so that nobody wants to hear about it."""
    return name.startswith(".") or name.lower() in _IGNORED


def printable(name: str) -> str:
    r"""The name as it can be shown and stored anywhere: bytes that are no UTF-8 become ``\xNN``."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def class_name(folder: str) -> str:
    """The class that a folder stands for: its printable name, with accents composed (a Mac splits them)."""
    return unicodedata.normalize("NFC", printable(folder))
