"""A preset, and what someone gave beside it, which wins. Knows nothing of files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tl_app import presets
from tl_app.config import AUTO, TrainConfig
from tl_app.contradictions import depth_settings
from tl_app.errors import UsageError
from tl_app.events import Event, Notice
from tl_app.presets import Preset

# Settings that go with some others only, each after those that it needs; those in one row stand or fall together.
_DEPENDENT = (
    ("weights", "start"),
    ("batchnorm",),
    ("l2_sp",),
    ("feature_distance",),
    ("probe_epochs",),
    ("teacher", "imitation", "soft_labels"),
    ("blockwise_epochs",),
    ("pooling",),
    ("fuse_stages", "fuse_backbone"),
    ("resize_from",),
    ("augmentation",),
    ("flip",),
    ("rotation",),
    ("erasing",),
)


def fields(
    preset: str | Path | None,
    recipe: str | None,
    freeze: int | str | None,
    settings: Mapping[str, Any],
    on_event: Callable[[Event], None] | None = None,
) -> dict[str, Any]:
    """The fields of a config: those of a preset, if any, and over them what was given beside it.

    Args:
        preset: As for :func:`tl_app.presets.load`.
        recipe: None: not given.
        freeze: As people write it; None: not given.
        settings: Other fields.
        on_event: Hears what of the preset is left out.

    Raises:
        UsageError: The preset is not right, or recipe and freezing depth contradict each other.
    """
    if preset is None:
        return {**settings, **depth_settings(recipe, freeze)}
    found = presets.load(preset)
    whole = merged(found, {**settings, "recipe": recipe, "freeze": freeze})
    left_out = [name for name in sum(_DEPENDENT, ()) if name in found.settings.keys() - whole.keys()]
    if left_out and on_event is not None:
        on_event(
            Notice(f"Left out of preset '{found.name}', as other settings were given: {', '.join(left_out)}.")
        )
    return whole


def merged(preset: Preset, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a preset with what someone gave beside it, which wins.

    A recipe or a freezing depth replaces both of the preset, and another backbone its weights: those stand for each
    other. What in the preset depends on a setting that was given otherwise goes with it, such as the epochs for the
    head first with another recipe.

    Args:
        preset: Read before.
        given: Fields of :class:`TrainConfig`; absent ones are the preset's. ``freeze`` as people write it.

    Raises:
        UsageError: Recipe and freezing depth contradict each other.
    """
    base = dict(preset.settings)
    if given.get("recipe") is not None or given.get("freeze") is not None:
        base.pop("freeze", None)
        depth = depth_settings(given.get("recipe"), given.get("freeze"))
        given = {**given, "freeze": None, **depth}
    if given.get("backbone") not in (None, base.get("backbone", AUTO)) and base.get("weights") != "random":
        base.pop("weights", None)
    chosen = {name: value for name, value in given.items() if value is not None}
    return {**_agreeing(base, chosen), **chosen}


def _agreeing(base: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A preset's settings, without those that depend on others and contradict what was given.

    All of them where it is not these that stand in the way: then whoever makes a config of them says what is.
    """
    core = {name: value for name, value in base.items() if name not in sum(_DEPENDENT, ())}
    if _goes(base, given) or not _goes(core, given):
        return base
    for names in _DEPENDENT:
        more = core | {name: base[name] for name in names if name in base}
        core = more if _goes(more, given) else core
    return core


def _goes(settings: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Whether settings go together with those that were given over them."""
    try:
        TrainConfig.from_dict({**settings, **given})
    except UsageError:
        return False
    return True
