"""Where the files that ship with the product are, in a checkout and in an installed wheel.

Knows only paths; it opens nothing. The user's own folders (`runs`, caches, locks) are named here too, so that
one environment variable, ``TL_APP_HOME``, moves all of them.
"""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

_PACKAGE = Path(__file__).resolve().parent


def assets_dir() -> Path:
    """The folder with style sheet, scripts, logo and the bundled backbone."""
    return _shipped("assets")


def sample_data_dir() -> Path:
    """The labelled sample photos that ship with the product."""
    return _shipped("sample_data")


def _shipped(name: str) -> Path:
    inside = _PACKAGE / f"_{name}"  # an installed wheel
    return inside if inside.is_dir() else _PACKAGE.parent / name  # a checkout


def home_dir() -> Path:
    """The user's own tl-app folder: ``$TL_APP_HOME``, or the platform's place for user data."""
    override = os.environ.get("TL_APP_HOME")
    return Path(override).expanduser() if override else Path(platformdirs.user_data_dir("tl-app", False))


def runs_dir(asked: str | Path | None = None) -> Path:
    """Where runs are kept: the folder that was asked for, or the user's own."""
    return Path(asked).expanduser() if asked else home_dir() / "runs"


def cache_dir() -> Path:
    """Where data that can be made again is kept: unpacked zips, thumbnails, decoded photos."""
    override = os.environ.get("TL_APP_HOME")
    return home_dir() / "cache" if override else Path(platformdirs.user_cache_dir("tl-app", False))


def locks_dir() -> Path:
    """Where the one-job-per-device locks are kept; shared by all processes of this user."""
    return home_dir() / "locks"
