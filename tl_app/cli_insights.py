"""Commands for what comes after training: thin readers of :mod:`tl_app.insights`."""

from __future__ import annotations

from collections.abc import Callable
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


def diagnose(run: Run, runs_dir: RunsDir = None, json: Json = False) -> None:
    """Say in plain words what is wrong with a run, and what to try next."""
    from tl_app import terminal_verdicts

    printed(json, lambda: insights.diagnose(run, runs_dir=runs_dir), terminal_verdicts.show_diagnosis)


def compare(
    run: Annotated[
        list[str], typer.Argument(metavar="RUN RUN...", help="Two to eight runs, by name or path.")
    ],
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    """Put runs side by side, and say whether one is really better than another."""
    from tl_app import terminal, terminal_verdicts

    def work() -> Any:
        import_torch()
        with terminal.TrainDisplay() as display:
            return insights.compare(*run, runs_dir=runs_dir, on_progress=display.comparing)

    printed(json, work, terminal_verdicts.show_comparison)


COMMANDS: tuple[Callable[..., None], ...] = (evaluate, diagnose, compare)
