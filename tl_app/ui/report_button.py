"""A button that makes the report of the run and split that are shown, and one that downloads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from tl_app import words
from tl_app.errors import UsageError
from tl_app.ui import downloads, photo_card
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

    made: gr.State
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
    return ReportButton(gr.State(None), make, download)


def bind(parts: ReportButton, work: Workspace, shown: gr.State, drawn: list[Any]) -> None:
    """Binds the events; what was made goes when another run is drawn."""
    acts = Acts(work)
    quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden", "trigger_mode": "always_last"}
    parts.make.click(acts.make, shown, [parts.made, parts.download], show_progress_on=[parts.make])
    for event in drawn:
        event.then(still_of, [shown, parts.made], parts.download, **quiet)


def still_of(shown: Shown | None, made: Shown | None) -> Any:
    """The download is there while the run is shown that it is of."""
    return gr.update(visible=made is not None and made == shown)


@dataclass(frozen=True)
class Acts:
    """The event handlers."""

    work: Workspace

    @toasts
    def make(self, shown: Shown | None) -> tuple[Any, ...]:
        """Makes the report.

        Raises:
            UsageError: No run is shown, or it has another model by now.
        """
        if shown is None:
            raise UsageError("No results are shown.", remedy="Choose a run first.")
        from tl_app.reporting import report_of

        run, split, _ = shown
        html = report_of(self.work.examiner.found(shown), photo_card.predictor_of(self.work, shown))
        file = downloads.made("reports", f"{run}-{split}-report.html", html)
        label = f"Download the report of {run} ({words.size(len(html.encode()))})"
        return shown, gr.update(value=file, label=label, visible=True)
