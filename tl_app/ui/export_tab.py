"""The Export tab: a run taken out of the app, each file checked against the run, downloaded or sent to the Hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from tl_app import loading, words
from tl_app.errors import UsageError
from tl_app.ui import downloads, finished, hub_card, markup, smaller_card
from tl_app.ui.aside import Standing
from tl_app.ui.blocks import html
from tl_app.ui.exporter import Wanted
from tl_app.ui.hub_card import HubCard
from tl_app.ui.smaller_card import SmallerCard
from tl_app.ui.toasts import toasts
from tl_app.ui.workspace import Workspace

if TYPE_CHECKING:
    from tl_app.export.kept import ExportResult

_EMPTY = "No run has a finished epoch yet. Train one on the Train tab: it can be taken out of the app here."
_NONE_YET = (
    "Nothing was exported of this run yet. Every file is loaded back and asked all validation photos before it counts "
    "as done: it must answer as the run does."
)
_MADE = (
    "Times are the median and the 95th percentile of a call on this machine's CPU, preprocessing included, "
    "for photos of at most 640 px."
)
_STALE = "of an earlier model of this run; export it again"
_USUAL = ("onnx",)

TITLES = {
    "tl-export-go": "Makes the files that are ticked, and checks each on the run's validation photos.",
    "tl-export-stop": "Ends within the format under way; what is done stays.",
    "tl-export-download": "Saves the chosen file; a folder comes as a zip.",
    **hub_card.TITLES,
    **smaller_card.TITLES,
}


@dataclass(frozen=True)
class ExportTab:
    """The components that other tabs, or the page as a whole, are wired to."""

    run: gr.Dropdown  # output of `point_at`
    smaller: SmallerCard
    acts: Acts


@dataclass(frozen=True)
class _Parts:
    run: gr.Dropdown
    status: gr.HTML
    panel: gr.Column
    formats: gr.CheckboxGroup
    go: gr.Button
    stop: gr.Button
    seen: gr.State
    clock: gr.Timer
    table: gr.HTML
    files: gr.Row
    file: gr.Dropdown
    download: gr.DownloadButton
    hub: HubCard
    smaller: SmallerCard

    @property
    def shown(self) -> list[Any]:
        """Outputs of every act."""
        parts = [self.seen, self.clock, self.status, self.panel, self.go, self.stop, self.table]
        return [*parts, self.files, self.file, self.download]


def build(work: Workspace, opened: list[Any]) -> ExportTab:
    """Lays the tab out and binds its events.

    Args:
        work: The app's memory.
        opened: Events that open the tab.
    """
    parts = _lay_out()
    acts = Acts(work)
    quiet: dict[str, Any] = {"show_progress": "hidden"}
    gr.on(opened, acts.refresh, [parts.run, parts.formats], [parts.run, parts.formats, *parts.shown], **quiet)
    parts.run.change(acts.draw, parts.run, parts.shown, **quiet)
    parts.go.click(acts.go, [parts.run, parts.formats], parts.shown, **quiet)
    parts.stop.click(acts.stop, parts.run, parts.shown, queue=False, **quiet)
    parts.clock.tick(acts.tick, [parts.seen, parts.run], parts.shown, queue=False, **quiet)
    parts.file.input(acts.ready, [parts.run, parts.file], parts.download, show_progress_on=[parts.download])
    hub_card.bind(parts.hub, work, parts.run)
    return ExportTab(parts.run, parts.smaller, acts)


def _lay_out() -> _Parts:
    run = gr.Dropdown(
        [],
        value=None,
        label="Run",
        info="Runs with at least one finished epoch, newest first.",
        elem_id="tl-export-run",
    )
    with gr.Column(visible=False, elem_id="tl-export") as panel:
        formats = gr.CheckboxGroup(
            [],
            label="Export to",
            info="Each becomes a file or a folder in the run's own folder of exports.",
            elem_id="tl-export-formats",
        )
        with gr.Row(elem_classes=["tl-buttons"]):
            go = gr.Button("Export and check", variant="primary", elem_id="tl-export-go", min_width=170)
            stop = gr.Button("Stop", visible=False, elem_id="tl-export-stop", min_width=90)
    status = html(markup.hint(_EMPTY), elem_id="tl-export-status")
    table = html(elem_id="tl-export-table")
    with gr.Row(visible=False, equal_height=False, elem_id="tl-export-files") as files:
        file = gr.Dropdown(
            [],
            value=None,
            label="Download",
            info="Choose what to take along.",
            scale=3,
            min_width=240,
            elem_id="tl-export-file",
        )
        download = gr.DownloadButton(
            "Download", interactive=False, scale=1, min_width=200, elem_id="tl-export-download"
        )
    return _Parts(
        run=run,
        status=status,
        panel=panel,
        formats=formats,
        go=go,
        stop=stop,
        seen=gr.State(-1),
        clock=gr.Timer(1.0, active=False),
        table=table,
        files=files,
        file=file,
        download=download,
        hub=hub_card.lay_out(),
        smaller=smaller_card.lay_out(),
    )


@dataclass(frozen=True)
class Acts:
    """The tab's event handlers."""

    work: Workspace

    @toasts
    def point_at(self, run: str) -> Any:
        """Another tab asks for this run."""
        return finished.pointed_at(self.work, run, "It can be exported")

    @toasts
    def refresh(self, run: str | None, wanted: Sequence[str]) -> tuple[Any, ...]:
        """Runs and formats as they are now; the run that is being exported, or was chosen, stays."""
        loading.wait()
        from tl_app.export.formats import FORMATS

        found = finished.usable_runs(self.work)
        names = [info.name for info in found]
        name = run if run in names else (names[0] if names else None)
        formats = gr.update(
            choices=[(f"{each.label}: {each.purpose}", each.name) for each in FORMATS],
            value=list(wanted or _USUAL),
        )
        return finished.offered(finished.choices(found), run, name), formats, *self.draw(name)

    @toasts
    def go(self, run: str | None, formats: Sequence[str]) -> tuple[Any, ...]:
        """Begins."""
        if not run:
            raise UsageError("No run is chosen.", remedy="Choose one, or train one first.")
        if not formats:
            raise UsageError("Nothing is ticked.", remedy="Tick at least one format.")
        self.work.exporter.start(Wanted(self.work.open_with_photos(run), list(formats)))
        return self.draw(run)

    def stop(self, run: str | None) -> tuple[Any, ...]:
        """Ends it."""
        self.work.exporter.stop()
        return self.draw(run)

    def tick(self, seen: int, run: str | None) -> Any:
        """Once a second while an export is under way."""
        return gr.skip() if seen == self.work.exporter.version else self.draw(run)

    @toasts
    def draw(self, run: str | None) -> tuple[Any, ...]:
        """Everything that is shown of a run."""
        exporter = self.work.exporter
        version, standing, under_way = exporter.version, exporter.standing, exporter.is_under_way
        rows = self._rows(run)
        made = [row for row in rows if not row.error]
        ready = (row for row in made if downloads.is_quick(Path(row.file)))
        first = None if under_way else next(ready, None)
        choices = [(f"{row.label} ({words.size(row.size_bytes)})", row.format) for row in made]
        return (
            version,
            gr.Timer(active=under_way),
            _status(run, exporter.plan, standing, rows),
            gr.update(visible=bool(run)),
            gr.update(interactive=not under_way),
            gr.update(visible=under_way),
            table_of(rows),
            gr.update(visible=bool(made)),
            gr.update(choices=choices, value=first.format if first is not None else None),
            _download(run, first, bool(made) and not under_way),
        )

    @toasts
    def ready(self, run: str | None, name: str | None) -> Any:
        """The file that was chosen, as something to download."""
        row = next((row for row in self._rows(run) if row.format == name and not row.error), None)
        if row is None:
            raise UsageError("That export is gone.", remedy="Make it again.")
        return _download(run, row)

    def _rows(self, run: str | None) -> list[ExportResult]:
        if not run:
            return []
        loading.wait()
        from tl_app.export.kept import read_exports

        return read_exports(self.work.open_run(run))


def _download(run: str | None, row: ExportResult | None, some: bool = True) -> Any:
    """The button with a file behind it; copied, since gradio serves nothing from the user's folders."""
    if row is None:
        label = "Choose what to download" if some else "Download"
        return gr.update(label=label, value=None, interactive=False)
    source = Path(row.file)
    file = Path(downloads.copied("exports", f"{run}-{source.name}", source))
    label = f"Download {file.name} ({words.size(file.stat().st_size)})"
    return gr.update(value=str(file), label=label, interactive=True)


def _status(
    run: str | None, plan: Wanted | None, standing: Standing[Any] | None, rows: Sequence[ExportResult]
) -> str:
    """How far an export of this run is, what became of it, that another run's is under way, or what to do."""
    under_way = standing is not None and standing.state == "running"
    own = plan is not None and plan.info.name == run
    if standing is not None and own and under_way:
        counted = f": {standing.done:,} of {standing.total:,} {standing.unit}" if standing.total else ""
        activity = standing.activity[:1].upper() + standing.activity[1:]
        return markup.progress(standing.done, standing.total, activity + counted)
    said = ""
    if plan is not None and under_way:
        said = markup.message(f"Run '{plan.info.name}' is being exported. Stop it, or wait.")
    elif standing is not None and own and standing.message not in ("", *(row.error for row in rows)):
        said = markup.message(standing.message, "error" if standing.state == "failed" else "info")
    if not run:
        return said + markup.hint(_EMPTY)
    return said if rows or said else markup.hint(_NONE_YET)


def table_of(rows: Sequence[ExportResult]) -> str:
    """A row per export with a tick or a cross; on a phone each becomes a card."""
    if not rows:
        return ""
    labels = ("Checked", "Size", "Same answer", "Largest difference", "Accuracy", "1 photo", "32 photos")
    head = "".join(f'<th scope="col">{label}</th>' for label in ("Format", *labels))
    body = "".join(_row(row, labels) for row in rows)
    notes = [f"{row.label}: {row.note}" for row in rows if row.note]
    refused = "".join(markup.message(f"✗ {row.label}: {row.error}", "error") for row in rows if row.error)
    return (
        f'<div class="tl-table tl-runs tl-wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
        f'{refused}<p class="tl-fine">{markup.text(" ".join([_MADE, *notes]))}</p>'
    )


def _row(row: ExportResult, labels: Sequence[str]) -> str:
    asked = row.photos > 0 and not row.error
    values = (
        _verdict(row),
        words.size(row.size_bytes) if row.size_bytes else "–",
        f"{row.same:,} of {row.photos:,} photos" if asked else "–",
        f"{row.max_difference:.1e}" if asked and row.max_difference is not None else "–",
        f"{words.percent(row.accuracy)} (run: {words.percent(row.run_accuracy)})" if asked else "–",
        *(_latency(row.latency.get(batch)) for batch in ("1", "32")),
    )
    cells = "".join(
        f'<td data-label="{label}">{markup.text(value)}</td>'
        for label, value in zip(labels, values, strict=True)
    )
    return f'<tr class="tl-row"><td>{markup.text(row.label)}</td>{cells}</tr>'


def _verdict(row: ExportResult) -> str:
    if row.error:
        return "✗ refused"
    if row.stale:
        return f"✗ {_STALE}"
    if row.passed is None:
        return "not checked"
    return "✓ answers as the run does" if row.same == row.photos else "✓ accuracy within a point"


def _latency(seconds: dict[str, float] | None) -> str:
    if seconds is None:
        return "–"
    return f"{words.milliseconds(seconds['p50'])} / {words.milliseconds(seconds['p95'])}"
