"""Commands for models that leave the app: `push`. Knows no other command."""

from __future__ import annotations

import getpass
from typing import Annotated, Any

import typer

from tl_app import rows, sharing
from tl_app.options import Json, Run, RunsDir, printed


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
        sent = sharing.push(
            run, to_model=to_model, to_space=to_space, private=private, token=token, runs_dir=runs_dir
        )
        return {"run": run, **rows.as_json(sent)}

    def show(sent: dict[str, Any]) -> None:
        print(f"Sent {len(sent['files'])} files: {sent['url']}")
        if sent["note"]:
            print(sent["note"])

    printed(json, work, show)


COMMANDS = (push,)
