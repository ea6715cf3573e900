"""Runs side by side on the Runs tab: choose two or more, and see figures, settings that differ, curves, and a verdict.

Knows nothing of how runs are measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from tl_app import loading
from tl_app.analysis.certainty import LEVEL
from tl_app.analysis.comparison import ComparedRun, Comparison, compare_runs, in_words
from tl_app.analysis.pairs import Pair
from tl_app.ui import markup
from tl_app.ui.blocks import figure, html
from tl_app.ui.toasts import toasts
from tl_app.ui.workspace import Workspace

_FINE = (
    "Accuracy is that of the best epoch, with its 95 % interval. Whether one run is better than another is asked of "
    "each photo that both validate with and neither was trained on (McNemar's test, mid-p). The answer's time is "
    "measured on this machine's CPU just now, without decoding."
)

TITLES = {
    "tl-compare-go": "Measures the chosen runs on the CPU and on their validation photos; nothing is changed.",
}


@dataclass(frozen=True)
class ComparePanel:
    """The panel's components."""

    choice: gr.Dropdown
    go: gr.Button
    verdict: gr.HTML
    table: gr.HTML
    curves: gr.HTML
    differences: gr.HTML

    @property
    def shown(self) -> list[Any]:
        """Outputs of ``compare``."""
        return [self.verdict, self.table, self.curves, self.differences]


def lay_out() -> ComparePanel:
    """Puts the panel where it stands in the page; :func:`bind` brings it to life."""
    with gr.Accordion("Compare runs", open=False, elem_id="tl-compare"):
        choice = gr.Dropdown(
            [],
            value=[],
            multiselect=True,
            max_choices=8,
            label="Runs to compare",
            info="Two to eight; the first one stands first.",
            elem_id="tl-compare-choice",
        )
        go = gr.Button("Compare", variant="primary", elem_id="tl-compare-go")
        verdict = html(elem_id="tl-compare-verdict")
        table = html(elem_id="tl-compare-table")
        curves = figure(
            label="Loss and accuracy of the compared runs",
            hint="Choose two or more runs, then compare: their curves appear here.",
            elem_id="tl-compare-curves",
        )
        differences = html(elem_id="tl-compare-settings")
    return ComparePanel(choice, go, verdict, table, curves, differences)


def bind(parts: ComparePanel, work: Workspace) -> None:
    """Binds the panel's events."""
    acts = Acts(work)
    parts.go.click(acts.compare, parts.choice, parts.shown, show_progress_on=[parts.verdict])


@dataclass(frozen=True)
class Acts:
    """The panel's event handlers."""

    work: Workspace

    @toasts
    def compare(
        self,
        names: Sequence[str] | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[Any, ...]:
        """Measures the chosen runs and shows them side by side."""
        loading.wait()

        def report(done: int, total: int) -> None:
            progress((done, total), desc="Measuring runs", unit="runs")

        infos = [self.work.open_run(name) for name in names or ()]
        found = compare_runs(infos, report)
        return verdict(found.pairs), table_of(found.runs), found.curves, differences_of(found)


def choices(names: Sequence[str], chosen: Sequence[str] | None) -> Any:
    """The runs that there are now; those chosen before stay chosen where they still are there."""
    return gr.update(choices=list(names), value=[name for name in chosen or () if name in names])


def verdict(pairs: Sequence[Pair]) -> str:
    """A sentence for each two runs; those that differ stand out."""
    lines = (
        markup.message(pair.sentence, "info" if pair.adjusted is not None else "warning")
        if pair.adjusted is None or pair.adjusted < 1 - LEVEL
        else f'<div class="tl-message tl-close">{markup.text(pair.sentence)}</div>'
        for pair in pairs
    )
    return "".join(lines)


def table_of(compared: Sequence[ComparedRun]) -> str:
    """A row per run; on a phone each becomes a card."""
    headers = ["Run", *(label for label, _ in in_words(compared[0]))]
    head = "".join(f'<th scope="col">{markup.text(label)}</th>' for label in headers)
    return (
        '<div class="tl-table tl-runs tl-wide"><table><caption>Side by side</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(map(_row, compared))}</tbody></table></div>"
        f'<p class="tl-fine">{markup.text(_FINE)}</p>'
    )


def _row(run: ComparedRun) -> str:
    cells = (
        f'<td data-label="{markup.text(label)}">{markup.text(value)}</td>' for label, value in in_words(run)
    )
    return f'<tr class="tl-row"><td>{markup.text(run.name)}</td>{"".join(cells)}</tr>'


def differences_of(found: Comparison) -> str:
    """The settings that are not the same, a column per run."""
    if not found.differences:
        return markup.message("The settings are the same in all of them.", "info")
    headers = ("Setting", *(run.name for run in found.runs))
    rows = [(each.label, *each.values) for each in found.differences]
    return markup.table(headers, rows, caption="Settings that differ")
