"""Settings in run folders of older releases, read as they were meant. Knows nothing of run folders."""

from __future__ import annotations

from typing import Any

from tl_app.config import TrainConfig


def stored(settings: dict[str, Any]) -> TrainConfig:
    """Settings as a run folder holds them; those made before classes were balanced go on without."""
    return TrainConfig.from_dict({"balance": "none", **settings})


def left_open(asked: dict[str, Any], used: dict[str, Any]) -> dict[str, Any]:
    """Settings as they were asked for; older runs name an augmentation where recipe `auto` decided another."""
    if asked.get("recipe") != "auto" or asked.get("augmentation") == used.get("augmentation"):
        return asked
    return {**asked, "augmentation": "auto"}


def with_probe(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings without gaps; older runs of `lp-ft` do not say for how long the head was alone: two thirds, then."""
    if settings.get("recipe") != "lp-ft" or "probe_epochs" in settings or not settings.get("epochs"):
        return settings
    return {**settings, "probe_epochs": settings["epochs"] - max(1, settings["epochs"] // 3)}
