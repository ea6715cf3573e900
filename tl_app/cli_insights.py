"""Commands for what comes after training: thin readers of :mod:`tl_app.insights`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from tl_app import insights
from tl_app.options import Device, Json, Run, RunsDir, import_torch, printed


def evaluate(
    run: Run,
    data: Annotated[str | None, typer.Argument(metavar="[DATA]", help="Other labelled photos.")] = None,
    split: Annotated[str | None, typer.Option(help="train, val, test or all; default: val.")] = None,
    device: Device = "auto",
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    """Measure a run on its validation photos, or on other labelled photos."""
    from tl_app import terminal

    def work() -> Any:
        import_torch()
        return insights.evaluate(run, data, split=split, device=device, runs_dir=runs_dir)

    printed(json, work, terminal.show_evaluation)


def explain(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run's name or path, or backbone:NAME[:WEIGHTS].")
    ],
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Photos, or folders of photos.")],
    label: Annotated[str | None, typer.Option(help="A class; default: each photo's most likely one.")] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the pictures.")] = Path("why"),
    device: Device = "auto",
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    """Draw what on photos spoke for their class; no file is ever overwritten."""
    from tl_app import terminal

    def work() -> Any:
        import_torch()
        found = insights.explain_files(run, images, out, label, device=device, runs_dir=runs_dir)
        return {"run": run, "explanations": found}

    printed(json, work, terminal.show_explanations)


COMMANDS: tuple[Callable[..., None], ...] = (evaluate, explain)
