"""The command that starts the page, for this machine or for others."""

from __future__ import annotations

import contextlib
import json as jsonlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tl_app.memory import without_collector
from tl_app.options import Json, RunsDir


def ui(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 7860,
    runs_dir: RunsDir = None,
    browser: Annotated[bool, typer.Option(help="Open the page when the machine has a browser.")] = True,
    auth: Annotated[
        list[str] | None,
        typer.Option(metavar="USER:PASSWORD", help="A login; needed with --host. Better: $TL_APP_AUTH."),
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A further name for the page, such as a proxy's.")
    ] = None,
    data_root: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR", help="A folder photos may come from; with --host, uploads alone if none."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Start the app and open its page."""
    with without_collector():
        from tl_app.ui.app import launch

    own: dict[str, Any] = {"runs_dir": runs_dir, "open_browser": browser, "data_roots": data_root or ()}
    with contextlib.redirect_stdout(sys.stderr) if json else contextlib.nullcontext():
        launch(host=host, port=port, auth=auth or (), allowed_hosts=allow_host or (), **own)
    if json:
        print(jsonlib.dumps({"host": host, "port": port}))
