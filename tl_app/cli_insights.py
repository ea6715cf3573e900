"""Commands for what comes after training: thin readers of :mod:`tl_app.insights`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from tl_app import insights
from tl_app.errors import UsageError
from tl_app.events import Progress
from tl_app.fields import whole_numbers
from tl_app.options import Device, Json, Run, RunsDir, help_of, import_torch, printed


def evaluate(
    run: Run,
    data: Annotated[str | None, typer.Argument(metavar="[DATA]", help="Other labelled photos.")] = None,
    split: Annotated[str | None, typer.Option(help="train, val, test or all; default: val.")] = None,
    folds: Annotated[
        int | None, typer.Option(metavar="K", help="Cross-validate instead: train K times on other splits.")
    ] = None,
    report: Annotated[
        bool,
        typer.Option(
            "--report",
            help="Also write report.html into the run folder; of other photos, report-FOLDER.html.",
        ),
    ] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where the report goes instead.")] = None,
    device: Device = "auto",
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    """Measure a run on its validation photos, or on other labelled photos."""
    from tl_app import terminal, terminal_insights

    if folds is not None and (data is not None or split is not None or device != "auto" or report or out):
        raise UsageError(
            "--folds was given with other photos, a split, a device or a report.", "It goes with a run alone."
        )

    def work() -> Any:
        import_torch()
        with terminal.TrainDisplay() as display:
            if folds is not None:
                return insights.cross_validate(run, folds, runs_dir=runs_dir, on_event=display.show)

            def heard(done: int, total: int) -> None:
                display.show(Progress("asking the model", done, total, "photos"))

            asked: dict[str, Any] = {"split": split, "device": device, "runs_dir": runs_dir}
            return insights.evaluate(run, data, **asked, on_progress=heard, report=out or report)

    printed(json, work, terminal_insights.show_evaluation if folds is None else terminal_insights.show_folds)


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


def worth(
    data: Annotated[
        str, typer.Argument(metavar="DATA|RUN", help="Photos, or a run whose photos and settings are used.")
    ],
    shares: Annotated[
        str,
        typer.Option(metavar="PERCENT...", help="Of the training photos of each class, such as 25 50 100."),
    ] = "25 50 100",
    epochs: Annotated[int, typer.Option(help="Of every training, the same for all.", min=1, max=1000)] = 10,
    backbone: Annotated[str | None, typer.Option(help=help_of("backbone"), show_default="auto")] = None,
    weights: Annotated[str | None, typer.Option(help=help_of("weights"), show_default="default")] = None,
    image_size: Annotated[
        int | None, typer.Option(help=help_of("image_size"), show_default="automatic")
    ] = None,
    seed: Annotated[int | None, typer.Option(help=help_of("seed"), show_default="0")] = None,
    device: Annotated[str | None, typer.Option(help=help_of("device"), show_default="auto")] = None,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    """Say whether transfer was worth it: four recipes with growing parts of the photos, and a chart in words."""
    from tl_app import terminal, terminal_verdicts

    named = {
        "backbone": backbone,
        "weights": weights,
        "image_size": image_size,
        "seed": seed,
        "device": device,
    }
    settings: dict[str, Any] = {name: value for name, value in named.items() if value is not None}

    def work() -> Any:
        import_torch()
        with terminal.TrainDisplay() as display:
            return insights.worth(
                data,
                shares=whole_numbers(shares),
                epochs=epochs,
                on_event=display.show,
                runs_dir=runs_dir,
                **settings,
            )

    printed(json, work, terminal_verdicts.show_worth)


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


COMMANDS: tuple[Callable[..., None], ...] = (evaluate, diagnose, compare, explain, worth)
