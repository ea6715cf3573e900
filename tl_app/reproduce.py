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


def blend_command(blended: tuple[str, float] | None) -> str:
    """What the command of a blended run ends with: a line that blends the run of the first; empty for a training."""
    return (
        ""
        if blended is None
        else "\n" + shlex.join(["tl-app", "blend", blended[0], "--alpha", f"{blended[1]:g}"])
    )


def blend_lines(blended: tuple[str, float] | None) -> str:
    """The same for the Python lines."""
    return "" if blended is None else f"\nblend = tl_app.blend({blended[0]!r}, {blended[1]:g})"


def _changed(config: TrainConfig) -> dict[str, Any]:
    """Settings that differ from their defaults, and always the ones that matter most."""
    always = {"backbone", "recipe", "seed"}
    return {
        spec.name: getattr(config, spec.name)
        for spec in dataclasses.fields(config)
        if spec.name != "data" and (spec.name in always or getattr(config, spec.name) != spec.default)
    }
