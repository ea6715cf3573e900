"""``tl-app cache``: see, clear or limit what is kept on disk to be fast."""

from __future__ import annotations

from typing import Annotated

import typer

from tl_app import upkeep
from tl_app.options import Json, printed

app = typer.Typer(help="See, clear or limit what is kept on disk to be fast.", no_args_is_help=True)


@app.command("info")
def info(json: Json = False) -> None:
    """Show what is kept, how much room it takes, and how much it may take."""
    from tl_app import terminal

    printed(json, upkeep.cache_info, terminal.show_cache)


@app.command("clear")
def clear(
    kind: Annotated[
        str, typer.Argument(help="decoded, boundary, zips, thumbnails, scans, speeds or all.")
    ] = "all",
    json: Json = False,
) -> None:
    """Remove what can be made again; runs and photos stay, and so does what is in use."""
    from tl_app import terminal

    printed(json, lambda: upkeep.clear_cache(None if kind == "all" else kind), terminal.show_cleared)


@app.command("limit")
def limit(
    size: Annotated[str, typer.Argument(help="Such as 20GB; 0 keeps nothing.", show_default=False)],
    json: Json = False,
) -> None:
    """Set how much room may be taken; the least recently used goes when there is more."""
    from tl_app import terminal

    printed(json, lambda: upkeep.limit_cache(size), terminal.show_cache)
