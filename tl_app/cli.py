"""The command line: thin readers of :mod:`tl_app.api`, for people and (``--json``) for programs.

With ``--json`` the last line of standard output is one JSON object and everything else goes to standard error.
Exit codes: 0 ok, 2 usage, 3 bad data, 4 resource, 5 failed check, 130 interrupted. Imports torch only when it must.
"""

from __future__ import annotations

import contextlib
import copy
import inspect as signatures
import io
import json as jsonlib
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.models import CommandInfo

from tl_app import (
    api,
    cli_cache,
    cli_demo,
    cli_exports,
    cli_insights,
    cli_lists,
    cli_ui,
    compiler,
    loading,
    predicting,
    rows,
)
from tl_app.config import TrainConfig
from tl_app.errors import UsageError, UserError
from tl_app.fields import with_joined_shares, with_one_stage
from tl_app.memory import keep_memory
from tl_app.options import (
    Data,
    Device,
    Json,
    Run,
    RunsDir,
    help_of,
    import_torch,
    printed,
    taken,
    train_signature,
)

_STOPPED = object()

app = typer.Typer(
    help="Turn a folder of labelled photos into a classifier you can trust.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Runs the command line and exits with its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file name must not break a terminal that cannot show it
            stream.reconfigure(errors="backslashreplace")
    keep_memory()
    compiler.load_later()
    code = run(sys.argv[1:])
    # Nothing is left to do, but Python would first free every object, which takes a second with torch's. And after a
    # second Ctrl-C a job is still in a batch: an interpreter that waits for it would hang or abort.
    with contextlib.suppress(OSError):  # nobody reads any more
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def run(arguments: list[str]) -> int:
    """Runs one command.

    Args:
        arguments: Without the program's name.

    Returns:
        The exit code.
    """
    as_json = "--json" in arguments
    try:
        arguments = with_joined_shares(with_one_stage(arguments))
        # A command returns None or, when training was stopped, _STOPPED; a number comes from typer itself.
        outcome = _narrowed(arguments)(arguments, prog_name="tl-app", standalone_mode=False)
        if outcome == 130:
            raise KeyboardInterrupt
        return 130 if outcome is _STOPPED else outcome or 0
    except UserError as error:
        return _failed(str(error), error.exit_code, as_json)
    except (KeyboardInterrupt, typer.Abort):
        return _failed("Interrupted.", 130, as_json)
    except typer.TyperException as error:  # an option or a command that does not exist
        known = [*map(_called, app.registered_commands), *(group.name for group in app.registered_groups)]
        command = next((f" {name}" for name in arguments[:1] if name in known), "")
        said = error.format_message().rstrip(".")
        if not said:  # nothing was asked for, and the help is shown
            return 2
        said += "" if said.endswith("?") else "."
        return _failed(f"{said} See `tl-app{command} --help`.", 2, as_json)
    except OSError as error:
        return _failed(f"{error.filename or 'The system'}: {error.strerror or error}.", 4, as_json)
    except (
        Exception
    ) as error:  # a defect of ours: the whole story on standard error, the contract on standard output
        traceback.print_exc()
        return _failed(f"Unexpected {type(error).__name__}: {error}", 1, as_json)


def _narrowed(arguments: list[str]) -> typer.Typer:
    """The application with the one command that is asked for: all the others' options take 36 ms to be made."""
    narrowed = copy.copy(app)
    narrowed.registered_commands = [
        each for each in app.registered_commands if arguments[:1] == [_called(each)]
    ]
    return narrowed if narrowed.registered_commands else app


def _called(command: CommandInfo) -> str:
    return command.name or typer.main.get_command_name(getattr(command.callback, "__name__", ""))


def _failed(message: str, code: int, as_json: bool) -> int:
    print(f"tl-app: {message}", file=sys.stderr)
    if as_json:
        print(jsonlib.dumps({"error": message, "exit_code": code}))
    return code


app.command()(cli_ui.ui)


def train(
    data: str,
    name: str | None,
    preset: str | None,
    runs_dir: Path | None,
    trust: bool,
    json: bool,
    **settings: Any,
) -> object:
    """Train a classifier on a folder (or zip) with one folder of photos per class."""
    given = taken(settings, trust)
    own: dict[str, Any] = {"name": name, "preset": preset, "runs_dir": runs_dir}
    return _train(json, lambda show: api.train(data, on_event=show, **own, **given))


def pretrain(
    data: str, name: str | None, runs_dir: Path | None, trust: bool, json: bool, **settings: Any
) -> object:
    """Make a source model: train a backbone on a folder of photos, to start other runs from (--weights run:NAME)."""
    given = taken(settings, trust)
    return _train(json, lambda show: api.pretrain(data, name=name, runs_dir=runs_dir, on_event=show, **given))


def distill(
    run: str,
    name: str | None,
    runs_dir: Path | None,
    trust: bool,
    json: bool,
    backbone: str | None,
    **settings: Any,
) -> object:
    """Make a smaller copy of a run: train another backbone (--backbone) on its answers and its photos' labels."""
    given = taken(settings, trust)
    if backbone is None:
        raise UsageError(
            "There is no backbone for the copy.", "`tl-app backbones` lists them.", "Add --backbone NAME."
        )
    return _train(
        json,
        lambda show: api.distill(run, backbone, name=name, runs_dir=runs_dir, on_event=show, **given),
    )


def lr_find(data: str, preset: str | None, trust: bool, json: bool, **settings: Any) -> None:
    """Find a learning rate: up to 100 steps at rising rates on a network that is thrown away; no run is made."""
    from tl_app import terminal

    def work() -> Any:
        import_torch()
        given = taken(settings, trust)
        with terminal.TrainDisplay() as display:
            return api.lr_find(data, on_event=display.show, preset=preset, **given)

    printed(json, work, terminal.show_rates)


_commands: tuple[tuple[Callable[..., object], signatures.Signature], ...] = (
    (train, train_signature(())),
    (pretrain, train_signature(("recipe", "freeze", "preset"))),
    (distill, train_signature(("recipe", "freeze", "preset", "teacher"), ("run", Run))),
    (lr_find, train_signature(("name", "runs_dir"))),
)
for _command, _signature in _commands:
    _command.__signature__ = _signature  # type: ignore[attr-defined]
    _command.__annotations__ = {name: each.annotation for name, each in _signature.parameters.items()}
    app.command(_command.__name__.replace("_", "-"))(_command)


@app.command()
def resume(run: Run, runs_dir: RunsDir = None, json: Json = False) -> object:
    """Go on with a run that was stopped or interrupted, from its last checkpoint."""
    return _train(json, lambda show: api.resume(run, runs_dir=runs_dir, on_event=show), (run, runs_dir))


@app.command()
def finish(run: Run, runs_dir: RunsDir = None, json: Json = False) -> object:
    """Make a run that was stopped complete as it is, with its best model so far."""
    return _train(json, lambda show: api.finish(run, runs_dir=runs_dir, on_event=show), (run, runs_dir))


@app.command()
def extend(
    run: Run,
    epochs: Annotated[
        int | None, typer.Option(help="How many more.", min=1, max=1000, show_default="5")
    ] = None,
    unfreeze: Annotated[
        int,
        typer.Option(
            metavar="[STAGES]",
            help="How many more stages are trained, from the head; 1 when no number is given.",
        ),
    ] = 0,
    lr: Annotated[
        float | None,
        typer.Option(help="Peak learning rate of the head, the backbone's along.", show_default="automatic"),
    ] = None,
    lr_backbone: Annotated[
        float | None, typer.Option(help="Peak learning rate of unfrozen stages.", show_default="automatic")
    ] = None,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> object:
    """Go on with a complete run: more epochs, or one more stage unfrozen."""
    asked = {"epochs": epochs, "unfreeze": unfreeze, "lr": lr, "lr_backbone": lr_backbone}
    return _train(
        json,
        lambda show: api.extend(run, **asked, runs_dir=runs_dir, on_event=show),  # type: ignore[arg-type]
        (run, runs_dir),
    )


def _train(
    as_json: bool,
    work: Callable[[Callable[[Any], None]], Any],
    run: tuple[str, Path | None] | None = None,
) -> object:
    """Shows a training; ``run`` names, with the folder of runs, the one that goes on."""
    from tl_app import terminal

    stopped = False

    def watched() -> Any:
        nonlocal stopped
        if run is None:
            loading.in_background()  # while photos are scanned
        else:
            import_torch()
        with terminal.TrainDisplay(api.snapshot(*run) if run else None) as display:
            result = work(display.show)
        stopped = result.state == "stopped"
        return result

    printed(as_json, watched, terminal.show_result)
    return _STOPPED if stopped else None


@app.command()
def blend(
    run: Run,
    alpha: Annotated[
        float | None,
        typer.Option(
            help="Share of the tuned model, 0 to 1, to make a new run of; default: a table of a few."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the new run; default: made up.")] = None,
    device: Device = "auto",
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    """Blend a run's tuned model with its source and the head that was trained alone before (WiSE-FT)."""
    from tl_app import terminal

    def work() -> Any:
        import_torch()
        with terminal.TrainDisplay() as display:
            return api.blend(
                run, alpha, name=name, on_progress=display.blending, device=device, runs_dir=runs_dir
            )

    printed(json, work, terminal.show_blend)


@app.command()
def probe(
    data: Data,
    backbone: Annotated[str, typer.Option(help=help_of("backbone"))] = TrainConfig.backbone,
    weights: Annotated[str, typer.Option(help=help_of("weights"))] = TrainConfig.weights,
    image_size: Annotated[
        int | None, typer.Option(help=help_of("image_size"), show_default="automatic")
    ] = None,
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help=help_of("precision"))] = TrainConfig.precision,
    seed: Annotated[int, typer.Option(help=help_of("seed"))] = TrainConfig.seed,
    json: Json = False,
) -> None:
    """Say in seconds how far a backbone gets without any training."""
    from tl_app import terminal

    asked = {"backbone": backbone, "weights": weights, "image_size": image_size}
    asked |= {"device": device, "precision": precision, "seed": seed}

    def work() -> Any:
        import_torch()
        with terminal.TrainDisplay() as display:
            return api.probe(data, on_event=display.show, **asked)

    printed(json, work, terminal.show_probe)


@app.command()
def predict(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="A run's name or path, backbone:NAME[:WEIGHTS], or an export's path."
        ),
    ],
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Photos, or folders of photos.")],
    top: Annotated[int, typer.Option(help="Classes to name per photo.", min=1)] = 5,
    tta: Annotated[
        bool, typer.Option("--tta", help="Average over views of each photo; about six times as slow.")
    ] = False,
    device: Device = "auto",
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    """Say what is on photos."""
    from tl_app import terminal

    def work() -> dict[str, Any]:
        import_torch()
        found = predicting.predict(run, images, top=top, tta=tta, device=device, runs_dir=runs_dir)
        return {"run": run, "predictions": [rows.prediction(each) for each in found]}

    printed(json, work, terminal.show_predictions)


for _later in (*cli_insights.COMMANDS, *cli_exports.COMMANDS, *cli_demo.COMMANDS):
    app.command()(_later)
for _name, _listing in cli_lists.COMMANDS.items():
    app.command(_name)(_listing)
app.add_typer(cli_cache.app, name="cache")
