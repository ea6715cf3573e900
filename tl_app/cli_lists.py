"""Commands that show what there is: backbones, photos, runs, presets and the script of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from tl_app import api, rows, upkeep
from tl_app.options import Data, Json, Run, RunsDir, printed


def backbones(
    search: Annotated[str, typer.Argument(help="Part of a name, family or group.")] = "", json: Json = False
) -> None:
    """List the backbones and their weights."""
    from tl_app import terminal

    printed(
        json,
        lambda: {"backbones": [rows.backbone(spec) for spec in api.list_backbones(search)]},
        terminal.show_backbones,
    )


def inspect(
    data: Data,
    val_fraction: Annotated[
        float, typer.Option(help="Share kept for validation when there is no val split.")
    ] = 0.2,
    seed: Annotated[int, typer.Option(help="Of that split.")] = 0,
    json: Json = False,
) -> None:
    """Scan photos: classes, counts, and every file that will not be used."""
    from tl_app import terminal

    def work() -> dict[str, Any]:
        index = api.inspect(data, val_fraction=val_fraction, seed=seed)
        return {
            "data": index.source,
            "classes": list(index.classes),
            "counts": index.counts(),
            "train_images": len(index.used("train")),
            "val_images": len(index.used("val")),
            "test_images": len(index.used("test")),
            "made_split": index.made_split,
            "left_out": [{"path": photo.path, "reason": photo.issue} for photo in index.left_out],
        }

    printed(json, work, terminal.show_index)


def list_runs(runs_dir: RunsDir = None, json: Json = False) -> None:
    """List the runs, newest first."""
    from tl_app import terminal

    def work() -> dict[str, Any]:
        return {"runs": [rows.run(info) for info in api.list_runs(runs_dir)]}

    printed(json, work, terminal.show_runs)


def list_presets(json: Json = False) -> None:
    """List the presets that ship, with their settings."""
    from tl_app import terminal

    printed(json, lambda: {"presets": rows.as_json(upkeep.list_presets())}, terminal.show_presets)


def save_preset(
    run: Run,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A YAML file to make.", show_default=False)],
    name: Annotated[str, typer.Option(help="Of the preset; default: made of backbone and recipe.")] = "",
    description: Annotated[str, typer.Option(help="One line.")] = "",
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    """Save a run's settings as a preset for other photos."""
    from tl_app import terminal

    def work() -> dict[str, Any]:
        saved = upkeep.save_preset(run, file, name=name, description=description, runs_dir=runs_dir)
        return {"file": str(file), **rows.as_json(saved)}

    printed(json, work, terminal.show_saved_preset)


def script(run: Run, runs_dir: RunsDir = None, json: Json = False) -> None:
    """Print a Python script that trains a run again; its first lines are the command that does the same."""

    def work() -> dict[str, Any]:
        row = rows.run(api.open_run(run, runs_dir))
        return {name: row[name] for name in ("name", "command", "script")}

    printed(json, work, lambda values: print(values["script"], end=""))


COMMANDS: dict[str, Callable[..., None]] = {
    "backbones": backbones,
    "inspect": inspect,
    "runs": list_runs,
    "presets": list_presets,
    "save-preset": save_preset,
    "script": script,
}
