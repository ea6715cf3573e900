"""The shell command and the Python lines that train a run again. Knows only what is in its folder."""

from __future__ import annotations

import dataclasses
import shlex
from typing import Any

from tl_app.config import TrainConfig
from tl_app.fields import option
from tl_app.runs import RunInfo


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


def command_of(info: RunInfo) -> str:
    """The shell commands that train a run again and extend it as it was, joined to one line."""
    lines = [command_line(info.asked)]
    if info.extensions:
        lines[0] += f" --name {shlex.quote(_again(info))}"
    for each in info.extensions:
        words = ["tl-app", "extend", _again(info)]
        for name, value in _extension(info, each).items():
            words += [option(name), str(value)]
        lines.append(shlex.join(words))
    return " && ".join(lines) + _caveat(info)


def python_of(info: RunInfo) -> str:
    """The Python lines that train a run again and extend it as it was."""
    lines = [python_lines(info.asked)]
    for each in info.extensions:
        settings = "".join(f", {name}={value!r}" for name, value in _extension(info, each).items())
        lines.append(f"result = tl_app.extend(result.run{settings})")
    return "\n".join(lines) + _caveat(info)


def _caveat(info: RunInfo) -> str:
    """A comment on what the lines do not repeat: an end before all epochs were done, which came from a click."""
    ends = [each["after"] for each in info.extensions]
    planned = [
        info.planned_epochs,
        *(each["after"] + each["phase"]["epochs"] for each in info.extensions),
    ]
    if info.state == "completed":
        ends.append(info.epochs_done)
    early = [f"{end} of {whole}" for end, whole in zip(ends, planned, strict=False) if end < whole]
    if not early:
        return ""
    return f"  # it was finished early, after {' and '.join(early)} epochs; this trains all of them"


def _again(info: RunInfo) -> str:
    """A name for the repetition: that of the run is taken."""
    return f"{info.name[:90]}-again"


def _extension(info: RunInfo, values: dict[str, Any]) -> dict[str, Any]:
    phase = values["phase"]
    settings = {"epochs": phase["epochs"], "lr": phase["lr_head"]}
    if values["unfrozen"]:
        settings["unfreeze"] = values["unfrozen"]
    if phase["frozen_stages"] < len(info.stages):
        settings["lr_backbone"] = phase["lr_backbone"]
    return settings


def _changed(config: TrainConfig) -> dict[str, Any]:
    """Settings that differ from their defaults, and always the ones that matter most."""
    always = {"backbone", "recipe", "seed"}
    return {
        spec.name: getattr(config, spec.name)
        for spec in dataclasses.fields(config)
        if spec.name != "data" and (spec.name in always or getattr(config, spec.name) != spec.default)
    }
