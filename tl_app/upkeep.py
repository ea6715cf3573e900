"""The public Python API for what is kept: the cache, and presets."""

from __future__ import annotations

from pathlib import Path

from tl_app import caches, presets, resources, runs
from tl_app.caches import CacheInfo, Cleared
from tl_app.presets import Preset


def cache_info() -> CacheInfo:
    """What is kept on disk to be fast: decoded photos, activations, unpacked zips, thumbnails, scans, speeds."""
    return caches.info()


def clear_cache(kind: str | None = None) -> Cleared:
    """Removes what can be made again; runs and photos are never touched, and what is in use stays.

    Args:
        kind: ``decoded``, ``boundary``, ``zips``, ``thumbnails``, ``scans`` or ``speeds`` (of this machine); None for
            all.

    Raises:
        UsageError: There is no such kind.
    """
    freed_bytes = caches.clear(kind)
    return caches.Cleared(freed_bytes, tuple(caches.in_use(kind)))


def limit_cache(size: int | str) -> CacheInfo:
    """Sets what the cache may take, and removes what is over it, least recently used first.

    Args:
        size: In bytes, or a text such as ``20GB``; 0 keeps nothing.

    Raises:
        UsageError: It is not a size.
    """
    caches.set_budget(caches.parse_bytes(str(size)))
    return caches.info()


def list_presets() -> list[Preset]:
    """The presets that ship with the product."""
    return list(presets.shipped().values())


def save_preset(
    run: str | Path,
    file: str | Path,
    *,
    name: str = "",
    description: str = "",
    runs_dir: str | Path | None = None,
) -> Preset:
    """Saves the settings of a run as a preset for other photos; nothing of the photos or the machine is in it.

    Args:
        run: Its name in ``runs_dir``, or its path.
        file: A YAML file that is not there yet.
        name: Made of backbone and recipe when empty.
        description: One line.
        runs_dir: None for the user's own folder.

    Returns:
        What was saved.

    Raises:
        UserError: There is no such run, or the file is there already or cannot be written.
    """
    asked = runs.open_run(run, resources.runs_dir(runs_dir)).asked
    preset = presets.of_config(asked, name, description)
    presets.save(preset, Path(file).expanduser())
    return preset
