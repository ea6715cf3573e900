"""What commands share: options, one per config field among them, and how a result is printed. Knows no command."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect as signatures
import json as jsonlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from tl_app import rows
from tl_app.config import TrainConfig
from tl_app.fields import field_type, option
from tl_app.memory import without_collector
from tl_app.references import FILE_PREFIX


def help_of(setting: str) -> str:
    """What a setting says of itself."""
    return str(TrainConfig.__dataclass_fields__[setting].metadata["help"])


Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object as the last line; the rest goes to stderr.")
]
RunsDir = Annotated[Path | None, typer.Option("--runs-dir", help="Folder of runs; default: the user's own.")]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="NAME|FILE",
        help="Settings to begin with: one of `tl-app presets`, or a YAML file; other options win over it.",
    ),
]
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Also take a .pt or .pth behind `--weights file:`; a pickle can run code."),
]
Run = Annotated[str, typer.Argument(metavar="RUN", help="A run's name or path.", show_default=False)]


Data = Annotated[str, typer.Argument(metavar="DATA", help=help_of("data"))]
Device = Annotated[str, typer.Option(help=help_of("device"))]


def train_signature(
    without: tuple[str, ...], first: tuple[str, Any] = ("data", Data)
) -> signatures.Signature:
    """The parameters of a command that trains: one option per config field, so that the two cannot drift apart.

    Args:
        without: Fields and options that the command does not have.
        first: Name and type of its argument.
    """
    keyword = signatures.Parameter.KEYWORD_ONLY
    name, kind = first
    parameters = [signatures.Parameter(name, signatures.Parameter.POSITIONAL_OR_KEYWORD, annotation=kind)]
    for spec in dataclasses.fields(TrainConfig):
        if spec.name == "data" or spec.name in without:
            continue
        plain = str if spec.name == "freeze" else field_type(spec)[0]
        declared = typer.Option(
            option(spec.name),
            help=spec.metadata["help"],
            metavar=_metavar(spec),
            show_default="automatic" if spec.default is None else str(spec.default),
        )
        annotation = Annotated[plain | None, declared]  # type: ignore[valid-type]
        parameters.append(signatures.Parameter(spec.name, keyword, default=None, annotation=annotation))
    naming = Annotated[str | None, typer.Option("--name", help="Name of the run; default: made up.")]
    own = {"name": naming, "preset": Preset, "runs_dir": RunsDir}
    trust = signatures.Parameter("trust", keyword, default=False, annotation=Trust)
    for name, annotation in own.items():
        if name not in without:
            parameters.append(signatures.Parameter(name, keyword, default=None, annotation=annotation))
    parameters.append(trust)
    parameters.append(signatures.Parameter("json", keyword, default=False, annotation=Json))
    return signatures.Signature(parameters)


def _metavar(spec: dataclasses.Field[Any]) -> str | None:
    if spec.name == "freeze":
        return "N|head|none"
    return "|".join(spec.metadata["choices"]) if spec.metadata["choices"] else None


def taken(settings: dict[str, Any], trust: bool) -> dict[str, Any]:
    """The settings that were given; a pickle of weights is replaced by a safetensors file when it is trusted.

    Raises:
        UserError: It cannot be read.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    if trust and str(given.get("weights", "")).startswith(FILE_PREFIX):
        import_torch()
        from tl_app.backbones.weight_files import trusted

        path = Path(given["weights"].removeprefix(FILE_PREFIX)).expanduser().absolute()
        given["weights"] = f"{FILE_PREFIX}{trusted(path)}"
    return given


def printed(as_json: bool, work: Callable[[], Any], show: Callable[[Any], None]) -> None:
    """Does ``work`` and prints its result: for people with ``show``, or as one line of JSON."""
    if not as_json:
        show(work())
        return
    with contextlib.redirect_stdout(sys.stderr):
        result = work()
    print(jsonlib.dumps(rows.as_json(result), default=str))


def import_torch() -> None:
    """For commands that need it; the first of their imports would bring it along, with the collector at work."""
    with without_collector():
        import tl_app.backbones.staged  # noqa: F401
