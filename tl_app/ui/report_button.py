"""A button that makes the report of the run and split that are shown, and one that downloads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from tl_app import words
from tl_app.errors import UsageError
from tl_app.ui import downloads
from tl_app.ui.examiner import Shown
from tl_app.ui.toasts import toasts
from tl_app.ui.workspace import Workspace

TITLES = {
    "tl-make-report": "One HTML file with all of this, to keep, print or send; it needs no network.",
    "tl-report": "Saves the file that was just made.",
}


@dataclass(frozen=True)
class ReportButton:
    """The components."""

    make: gr.Button
    download: gr.DownloadButton


def build() -> ReportButton:
    """Lays the buttons out."""
    with gr.Row():
        make = gr.Button("Make a report (HTML)", size="sm", scale=0, min_width=200, elem_id="tl-make-report")
        download = gr.DownloadButton(
            "Download",
            visible=False,
            variant="primary",
            size="sm",
            scale=0,
            min_width=220,
            elem_id="tl-report",
        )
    return ReportButton(make, download)


def bind(parts: ReportButton, work: Workspace, shown: gr.State, drawn: list[Any]) -> None:
    """Binds the events; what was made goes when another run is drawn."""
    acts = Acts(work)
    parts.make.click(acts.make, shown, parts.download, show_progress_on=[parts.make])
    for event in drawn:
        event.then(
            lambda: gr.update(visible=False), None, parts.download, queue=False, show_progress="hidden"
        )


@dataclass(frozen=True)
class Acts:
    """The event handlers."""

    work: Workspace

    @toasts
    def make(self, shown: Shown | None) -> Any:
        """Makes the report.

        Raises:
            UsageError: No run is shown.
        """
        if shown is None:
            raise UsageError("No results are shown.", remedy="Choose a run first.")
        from tl_app.reporting import report_of

        run, split, _ = shown
        html = report_of(self.work.examiner.found(shown), self.work.predictor("run", run))
        file = downloads.made("reports", f"{run}-{split}-report.html", html)
        label = f"Download the report ({words.size(len(html.encode()))})"
        return gr.update(value=file, label=label, visible=True)
