"""A run's settings in words, and the command and the script that train it again. Knows only what is in its folder."""

from __future__ import annotations

import dataclasses
import shlex
import textwrap
from typing import Any

from tl_app import words
from tl_app.config import TrainConfig
from tl_app.fields import option
from tl_app.runs import RunInfo
from tl_app.transfer.extensions import Extension, describe

_SCRIPT = """\
# Trains run {name!r} again. In a terminal:
{command}

import tl_app

result = tl_app.train(
{arguments})
{more}if result.val_accuracy is None:
    print(f"{{result.run}}: {{result.state}} before the first epoch was done")
else:
    print(f"{{result.run}}: {{result.val_accuracy:.1%}} of validation photos right after epoch {{result.best_epoch}}")
"""


def command_line(config: TrainConfig) -> str:
    """The shell command that trains the same again."""
    words = ["tl-app", "train", config.data]
    for name, value in _changed(config).items():
        words += [option(name), str(value)]
    return shlex.join(words)


def python_script(config: TrainConfig, name: str, command: str = "", more: str = "") -> str:
    """A whole Python script that trains the same again and prints the result; the command is its first lines.

    Args:
        config: The settings as they were given.
        name: Of the run.
        command: That does the same in a terminal; :func:`command_line` where left out.
        more: Whole lines that go on with ``result``.
    """
    arguments = [repr(config.data), *(f"{setting}={value!r}" for setting, value in _changed(config).items())]
    return _SCRIPT.format(
        name=name,
        command=textwrap.indent(command or command_line(config), "# ", lambda line: True),
        arguments="".join(f"    {argument},\n" for argument in arguments),
        more=more,
    )


def command_of(info: RunInfo) -> str:
    """The shell commands that train a run again, and extend and blend it as it was, joined to one line."""
    name, lines = _again(info.blended[0] if info.blended else info.name), [command_line(info.asked)]
    if _afterwards(info):
        lines[0] += f" --name {shlex.quote(name)}"
    for act, settings in _afterwards(info):
        words = ["tl-app", act, name]
        for setting, value in settings.items():
            words += [option(setting), str(value)]
        if act == "blend":
            name = _again(info.name)
            words += ["--name", name]
        lines.append(shlex.join(words))
    return " && ".join(lines) + _caveat(info)


def script_of(info: RunInfo) -> str:
    """The Python script that trains a run again, and extends and blends it as it was."""
    more = ""
    for act, settings in _afterwards(info):
        arguments = "".join(f", {setting}={value!r}" for setting, value in settings.items())
        more += f"result = tl_app.{act}(result.run{arguments}){'.kept' if act == 'blend' else ''}\n"
    return python_script(info.asked, info.name, command_of(info), more)


def settings_of(info: RunInfo) -> list[tuple[str, str]]:
    """Every setting of a run by its label, with what the automatic ones became, and what came of them."""
    asked, used = info.asked.to_dict(), info.config.to_dict()
    rows = [
        ("Learned from", words.lineage(info.lineage)),
        ("Shared layers", ", ".join(info.shared_layers) or "none"),
        ("Task-specific layers", ", ".join(info.task_layers)),
    ]
    for each in info.extensions:
        rows.append(("Extended", describe(Extension.from_dict(each), info.stages)))
    for spec in dataclasses.fields(TrainConfig):
        value = "automatic" if used[spec.name] is None else str(used[spec.name])
        chosen = asked[spec.name] is None and used[spec.name] is not None
        rows.append((spec.metadata["label"], value + (" (chosen automatically)" if chosen else "")))
    return rows


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


def _again(name: str) -> str:
    """A name for the repetition: that of the run is taken."""
    return f"{name[:90]}-again"


def _afterwards(info: RunInfo) -> list[tuple[str, dict[str, Any]]]:
    """What was done after the training, in order: ``extend`` or ``blend``, each with its settings."""
    done = [("extend", _extension(info, each)) for each in info.extensions]
    if info.blended:
        done.insert(info.inherited, ("blend", {"alpha": info.blended[1]}))
    return done


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
