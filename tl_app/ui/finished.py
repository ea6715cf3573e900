"""Runs that have a model, as a list to choose from. Knows no tab."""

from __future__ import annotations

from typing import Any

import gradio as gr

from tl_app import runs, words
from tl_app.errors import UsageError
from tl_app.runs import RunInfo
from tl_app.ui.workspace import Workspace


def usable_runs(work: Workspace) -> list[RunInfo]:
    """Runs with a model, newest first; one that is being trained comes last, since it may still change."""
    found = [info for info in runs.list_runs(work.runs_dir) if info.best_epoch]
    found.sort(key=lambda info: info.is_running)
    return found


def choices(found: list[RunInfo]) -> list[tuple[str, str]]:
    """What a list of them shows, and their names."""
    return [(run_text(info), info.name) for info in found]


def run_text(info: RunInfo) -> str:
    """A run in a line."""
    state = " · being trained" if info.is_running else ""
    return f"{info.name} · {words.percent(info.val_accuracy)} · {len(info.classes)} classes{state}"


def offered(listed: list[tuple[str, str]], chosen: str | None, kept: str | None) -> Any:
    """Choices as they are now; the value only when it is another, else it would undo what was chosen meanwhile."""
    return gr.update(choices=listed) if kept == chosen else gr.update(choices=listed, value=kept)


def pointed_at(work: Workspace, run: str, after: str) -> Any:
    """A list with the run chosen that another tab asks for.

    Args:
        work: The app's memory.
        run: Its name; empty when none is open.
        after: What will be there after its first epoch.

    Raises:
        UsageError: It has no model yet.
    """
    found = usable_runs(work)
    if run not in [info.name for info in found]:
        raise UsageError(
            f"Run '{run}' has no finished epoch yet." if run else "No run is open.",
            remedy=f"{after} there after the first epoch.",
        )
    return gr.update(choices=choices(found), value=run)
