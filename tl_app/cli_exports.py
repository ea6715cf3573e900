"""Commands that take a run out of the app: thin readers of :mod:`tl_app.exports`."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from tl_app import exports, rows
from tl_app.errors import ExportError
from tl_app.options import Json, Run, RunsDir, import_torch, printed


def export(
    run: Run,
    to: Annotated[
        list[str],
        typer.Option(
            "--to",
            metavar="FORMAT",
            help="onnx, onnx-fp16, onnx-int8, torch, safetensors, bundle, page or all; may be given several times.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for copies; the run keeps its own in exports/.")
    ] = None,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Export also where the validation photos are gone.")
    ] = False,
    device: Annotated[str, typer.Option(help="Where the run itself is asked.")] = "cpu",
    runs_dir: RunsDir = None,
    json: Json = False,
) -> int:
    """Export a run's model, each file checked against the run on its own validation photos."""
    from tl_app import terminal, terminal_exports

    refused = False

    def work() -> Any:
        import_torch()
        asked: dict[str, Any] = {"out": out, "unchecked": unchecked, "device": device, "runs_dir": runs_dir}
        nonlocal refused
        with terminal.TrainDisplay() as display:
            found = exports.export_run(run, to, **asked, strict=False, on_event=display.show)
        refused = any(row.error for row in found)
        return {"run": run, "exports": rows.as_json(found)}

    printed(json, work, terminal_exports.show_exports)
    return ExportError.exit_code if refused else 0


def push(
    run: Run,
    to_model: Annotated[
        str | None,
        typer.Option(metavar="USER/NAME", help="Send the safetensors and ONNX exports as a model."),
    ] = None,
    to_space: Annotated[
        str | None, typer.Option(metavar="USER/NAME", help="Send the bundle as a Space, which runs it.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="For you alone.")] = False,
    ask_token: Annotated[
        bool, typer.Option("--ask-token", help="Ask for a token and forget it; else that of `hf auth login`.")
    ] = False,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    """Send a run's exports to the Hugging Face Hub."""
    # Not an option of its own: a shell's history and the list of processes would keep it.
    token = getpass.getpass("Token (it is not shown, and not kept): ") if ask_token else None

    def work() -> dict[str, Any]:
        sent = exports.push(
            run, to_model=to_model, to_space=to_space, private=private, token=token, runs_dir=runs_dir
        )
        return {"run": run, **rows.as_json(sent)}

    def show(sent: dict[str, Any]) -> None:
        print(f"Sent {len(sent['files'])} files: {sent['url']}")
        if sent["note"]:
            print(sent["note"])

    printed(json, work, show)


COMMANDS: tuple[Callable[..., int | None], ...] = (export, push)
