"""What there is to say about the opened run, on the Runs tab: a sentence each, with a button where a setting may help.

Knows nothing of how findings come about.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from tl_app import loading
from tl_app.analysis.diagnosis import Diagnosis, diagnose_run, settings_of, with_remedy
from tl_app.analysis.symptoms import Finding
from tl_app.errors import UsageError, UserError
from tl_app.references import located
from tl_app.runs import RunInfo
from tl_app.snapshot import Snapshot
from tl_app.ui import markup, settings, theme
from tl_app.ui.workspace import Workspace

_KINDS = {"problem": "error", "warning": "warning", "note": "info"}
_TITLE = "Fills the form on the Train tab with this run's settings and this change. Nothing is trained yet."


def lay_out() -> gr.HTML:
    """Puts the card where it stands in the page; its ``select`` event is a click on a remedy."""
    return gr.HTML(
        "",
        label="What to know about this run",
        js_on_load=theme.script("remedies"),
        apply_default_css=False,
        elem_id="tl-diagnosis",
    )


def card(info: RunInfo, snapshot: Snapshot) -> str:
    """The findings, worst first; while a run is being trained there is nothing to say yet."""
    if info.is_running or not snapshot.epoch_rows:
        return ""
    try:
        found = diagnose_run(info, snapshot)
    except UserError as error:  # a manifest that is gone; the run can still be opened
        return markup.message(str(error), "warning")
    head = f'<div class="tl-run-head"><h4>Diagnosis</h4><span>{markup.text(found.summary)}</span></div>'
    return f'<div class="tl-card tl-diagnosis">{head}{"".join(map(_row, found.findings))}</div>'


def _row(finding: Finding) -> str:
    button = ""
    if finding.remedy is not None:
        button = (
            f'<button type="button" class="tl-button" data-name="{markup.text(finding.code)}" '
            f'title="{markup.text(_TITLE)}">{markup.text(finding.remedy.label)} →</button>'
        )
    text = f"<p>{markup.text(finding.text)}</p>"
    return f'<div class="tl-message tl-{_KINDS[finding.severity]}">{text}{button}</div>'


def fill(work: Workspace, name: str, code: str, source: str) -> tuple[Any, ...]:
    """The form with a run's settings and the remedy of one of its findings: outputs of ``Settings.all``.

    Photos and device stay as they are in the form: the photos are chosen on the Data tab.

    Raises:
        UserError: The run or the finding is gone, or the settings do not fit the machine.
    """
    loading.wait()
    info = work.open_run(name)
    found = diagnose_run(info)
    config = located(with_remedy(settings_of(info), _remedy(found, code)), work.runs_dir)
    index = work.dataset(source) or work.last_dataset()
    classes = len(index.classes) if index is not None else len(info.classes)
    if source != info.config.data:
        gr.Info(
            f"These settings come from {markup.text(info.config.data)}. "
            "To train on those photos, choose them on the Data tab."
        )
    return settings.filled(config, classes, work.runs_dir, keep=("data", "device"))


def _remedy(found: Diagnosis, code: str) -> Any:
    remedy = next((each.remedy for each in found.findings if each.code == code), None)
    if remedy is None:
        raise UsageError(
            f"Nothing is suggested for '{code}' in run '{found.name}' any more.",
            remedy="Open the run again to see how it stands.",
        )
    return remedy
