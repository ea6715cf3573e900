"""The shell command and the Python script that train a run again. Knows only settings."""

from __future__ import annotations

import dataclasses
import shlex
import textwrap
from typing import Any

from tl_app.config import TrainConfig
from tl_app.fields import option

_SCRIPT = """\
# Trains run {name!r} again. In a terminal:
{command}

import tl_app

result = tl_app.train(
{arguments})
if result.val_accuracy is None:
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


def python_script(config: TrainConfig, name: str) -> str:
    """A whole Python script that trains the same again and prints the result; the command is its first lines.

    Args:
        config: The settings as they were given.
        name: Of the run.
    """
    arguments = [repr(config.data), *(f"{setting}={value!r}" for setting, value in _changed(config).items())]
    return _SCRIPT.format(
        name=name,
        command=textwrap.indent(command_line(config), "# ", lambda line: True),
        arguments="".join(f"    {argument},\n" for argument in arguments),
    )


def _changed(config: TrainConfig) -> dict[str, Any]:
    """Settings that differ from their defaults, and always the ones that matter most."""
    always = {"backbone", "recipe", "seed"}
    return {
        spec.name: getattr(config, spec.name)
        for spec in dataclasses.fields(config)
        if spec.name != "data" and (spec.name in always or getattr(config, spec.name) != spec.default)
    }
