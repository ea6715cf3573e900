"""The shell command and the Python lines that train a run again. Knows only settings."""

from __future__ import annotations

import dataclasses
import shlex
from typing import Any

from tl_app.config import TrainConfig
from tl_app.fields import option


def command_line(config: TrainConfig) -> str:
    """The shell command that trains the same again."""
    words = ["tl-app", "train", config.data]
    for name, value in _changed(config).items():
        words += [option(name), str(value)]
    return shlex.join(words)


def python_lines(config: TrainConfig) -> str:
    """The Python lines that train the same again."""
    settings = "".join(f", {name}={value!r}" for name, value in _changed(config).items())
    return f"import tl_app\n\nresult = tl_app.train({config.data!r}{settings})"


def _changed(config: TrainConfig) -> dict[str, Any]:
    """Settings that differ from their defaults, and always the ones that matter most."""
    always = {"backbone", "recipe", "seed"}
    return {
        spec.name: getattr(config, spec.name)
        for spec in dataclasses.fields(config)
        if spec.name != "data" and (spec.name in always or getattr(config, spec.name) != spec.default)
    }
