"""What a field of ``TrainConfig`` says of itself: label, unit, range and choices, and the check against them.

Knows no field by name but the learning rate, whose option is shorter.
"""

from __future__ import annotations

import dataclasses
from dataclasses import field
from typing import Any

from tl_app.errors import UsageError

_PLAIN: dict[str, type[Any]] = {"int": int, "float": float, "str": str}


def setting(
    default: Any,
    label: str,
    help: str,
    *,
    group: str = "basic",
    choices: tuple[str, ...] | None = None,
    low: float | None = None,
    high: float | None = None,
) -> Any:
    """A config field: ``low`` and ``high`` are inclusive; ``None`` as a value always means automatic."""
    metadata = {"label": label, "help": help, "group": group, "choices": choices, "low": low, "high": high}
    return field(default=default, metadata=metadata)


def option(name: str) -> str:
    """The command-line option of a config field; ``data`` is an argument and has none."""
    return {"lr_head": "--lr"}.get(name, "--" + name.replace("_", "-"))


def field_type(spec: dataclasses.Field[Any]) -> tuple[type[Any], bool]:
    """The plain type of a config field and whether ``None`` (automatic) is allowed."""
    plain, *others = str(spec.type).split(" | ")
    return _PLAIN[plain], others == ["None"]


def check(spec: dataclasses.Field[Any], value: Any) -> None:
    """Whether a value is one of the field's.

    Raises:
        UsageError: It is not.
    """
    plain, optional = field_type(spec)
    if value is None and optional:
        return
    name, meta = spec.name, spec.metadata
    accepted = (int, float) if plain is float else (plain,)
    if not isinstance(value, accepted) or isinstance(value, bool):
        raise UsageError(
            f"{name} is {value!r}.", f"It must be {_an(plain)}{' or empty' if optional else ''}."
        )
    if meta["choices"] and value not in meta["choices"]:
        raise UsageError(f"{name} is '{value}'.", f"Allowed: {', '.join(meta['choices'])}.")
    low, high = meta["low"], meta["high"]
    # Written so that NaN fails both comparisons.
    if (low is not None and not value >= low) or (high is not None and not value <= high):
        bounds = f"at least {low}" if high is None else f"from {low} to {high}"
        raise UsageError(f"{name} is {value}.", f"Allowed: {bounds}.")


def _an(plain: type[Any]) -> str:
    return {int: "a whole number", float: "a number", str: "text"}[plain]


def with_one_stage(arguments: list[str]) -> list[str]:
    """``--unfreeze`` alone means one stage: options whose value may be left out are nothing that typer knows."""
    whole = []
    for number, argument in enumerate(arguments):
        whole.append(argument)
        if (
            argument == "--unfreeze"
            and not "".join(arguments[number + 1 : number + 2]).lstrip("-").isdecimal()
        ):
            whole.append("1")
    return whole


def with_joined_shares(arguments: list[str]) -> list[str]:
    """``--shares 25 50 100`` is one value: options with as many values as one likes are nothing that typer knows."""
    whole: list[str] = []
    joining = False
    for argument in arguments:
        if joining and argument.rstrip(",%").isdecimal() and whole[-1] != "--shares":
            whole[-1] += f" {argument}"
        else:
            joining = argument == "--shares" or (joining and whole[-1] == "--shares")
            whole.append(argument)
    return whole


def whole_numbers(text: str) -> list[int]:
    """The whole numbers in a text, apart by spaces or commas, with or without a percent sign.

    Raises:
        UsageError: Something else is among them.
    """
    parts = text.replace(",", " ").replace("%", " ").split()
    if not parts or not all(part.isdecimal() for part in parts):
        raise UsageError(f"Shares are '{text}'.", "Allowed: whole numbers from 1 to 100, such as 25 50 100.")
    return [int(part) for part in parts]
