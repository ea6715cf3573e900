"""How people name a network: ``run:``, ``backbone:`` or ``file:``, or not at all. Knows names, not networks."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from tl_app.backbones.bundled import default_backbone
from tl_app.config import AUTO, TrainConfig
from tl_app.runs import open_run

BACKBONE_PREFIX = "backbone:"  # "backbone:resnet18" names a pretrained network where a run is asked for
FILE_PREFIX = "file:"  # "file:PATH" names a safetensors file where weights are asked for
RUN_PREFIX = "run:"  # "run:NAME" names a run where weights are asked for


def located(config: TrainConfig, runs_dir: Path) -> TrainConfig:
    """The settings with a backbone where it was left to the program, and runs named by their folders.

    Raises:
        UsageError: There is no such run.
    """
    named: dict[str, Any] = {}
    for setting in ("weights", "teacher"):
        value = getattr(config, setting)
        if value.startswith(RUN_PREFIX):
            info = open_run(value.removeprefix(RUN_PREFIX), runs_dir)
            named[setting] = f"{RUN_PREFIX}{info.path}"
            if setting == "weights" and config.backbone == AUTO:
                named["backbone"] = info.config.backbone
    if config.weights.startswith(FILE_PREFIX):  # a run must find it again from anywhere
        path = Path(config.weights.removeprefix(FILE_PREFIX)).expanduser().absolute()
        named["weights"] = f"{FILE_PREFIX}{path}"
    config = dataclasses.replace(config, **named)
    return dataclasses.replace(config, backbone=default_backbone()) if config.backbone == AUTO else config
