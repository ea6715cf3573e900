"""The Runs tab: every run with its result; open one to see, use, resume, repeat or delete it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from tl_app import history, plots, presets, reproduce, runs, words
from tl_app.config import TrainConfig
from tl_app.errors import UsageError
from tl_app.runs import RunInfo
from tl_app.snapshot import snapshot_of
from tl_app.ui import (
    blend_panel,
    compare_panel,
    diagnosis_card,
    downloads,
    form,
    markup,
    more,
    status,
    theme,
)
from tl_app.ui.blend_panel import BlendPanel
from tl_app.ui.blocks import figure, html
from tl_app.ui.compare_panel import ComparePanel
from tl_app.ui.more import More
from tl_app.ui.toasts import toasts
from tl_app.ui.workspace import Workspace

_EMPTY = "No runs yet. Each training becomes a run with its settings, curves and model, listed here."
_HEADERS = ("Name", "State", "Accuracy", "Photos", "Backbone", "Recipe", "When")

TITLES = {
    "tl-use-run": "Opens the Try it tab with this run's best model.",
    "tl-run-results": "Opens the Results tab: this run's figures, mistakes and confused classes.",
    "tl-run-export": "Opens the Export tab: this run as files for other programs, each checked.",
    "tl-resume-run": "Goes on from the last checkpoint, on the Train tab.",
    **more.titles("run"),
    "tl-csv": "Saves every step and epoch of this run as a table.",
    "tl-run-preset": "Saves this run's settings as a YAML file, to train with them on other photos.",
    "tl-run-script": "Saves a Python script that trains this run again.",
    "tl-delete": "Asks once more before anything is deleted.",
    "tl-really-delete": "Deletes the run's folder with its models. This cannot be undone.",
    "tl-cancel-delete": "Keeps the run.",
    **blend_panel.TITLES,
    **compare_panel.TITLES,
}


@dataclass(frozen=True)
class RunsTab:
    """The components that other tabs, or the page as a whole, are wired to."""

    open_name: gr.State
    use: gr.Button
    results: gr.Button
    export: gr.Button
    resume: gr.Button
    more: More
    diagnosis: gr.HTML
    known: list[Any]  # inputs of `refresh`
    listed: list[Any]  # its outputs
    acts: _Acts


@dataclass(frozen=True)
class _Parts:
    open_name: gr.State
    table: gr.HTML
    choice: gr.Dropdown
    panel: gr.Column
    use: gr.Button
    results: gr.Button
    export: gr.Button
    resume: gr.Button
    csv: gr.DownloadButton
    preset: gr.DownloadButton
    script: gr.DownloadButton
    delete: gr.Button
    confirm: gr.Row
    really: gr.Button
    cancel: gr.Button
    card: gr.HTML
    diagnosis: gr.HTML
    curves: gr.HTML
    more: More
    notices: gr.HTML
    blend: BlendPanel
    compare: ComparePanel
    command: gr.Textbox
    python: gr.Textbox
    settings: gr.HTML

    @property
    def known(self) -> list[Any]:
        return [self.open_name, self.compare.choice]

    @property
    def listed(self) -> list[Any]:
        return [self.table, self.choice, self.compare.choice]

    @property
    def opened(self) -> list[Any]:
        files = [self.csv, self.preset, self.script]
        buttons = [self.use, self.resume, *files, self.delete, self.confirm]
        shown = [
            self.card,
            self.diagnosis,
            self.curves,
            self.notices,
            self.results,
            self.command,
            self.python,
            self.settings,
        ]
        return [self.open_name, self.panel, *buttons, *self.more.shown, *shown]


def build(work: Workspace) -> RunsTab:
    """Lays the tab out and binds its events."""
    parts = _lay_out()
    acts = _Acts(work)
    quick = {"show_progress": "hidden"}
    opened = parts.opened
    chosen = parts.table.select(acts.row_chosen, None, [parts.choice, *opened], **quick)
    picked = parts.choice.input(acts.open, parts.choice, opened, **quick)
    parts.delete.click(acts.ask, parts.open_name, [parts.delete, parts.confirm, parts.really], **quick)
    parts.cancel.click(acts.keep, None, [parts.delete, parts.confirm], **quick)
    parts.really.click(acts.delete, parts.known, [*parts.listed, *opened], **quick)
    kept = blend_panel.bind(parts.blend, work, parts.open_name, [chosen, picked])
    kept.success(acts.refresh, parts.known, parts.listed, **quick)
    compare_panel.bind(parts.compare, work)
    return RunsTab(
        open_name=parts.open_name,
        use=parts.use,
        results=parts.results,
        export=parts.export,
        resume=parts.resume,
        more=parts.more,
        diagnosis=parts.diagnosis,
        known=parts.known,
        listed=parts.listed,
        acts=acts,
    )


def _lay_out() -> _Parts:
    parts: dict[str, Any] = {"open_name": gr.State("")}
    parts["choice"] = gr.Dropdown(
        [],
        value=None,
        label="Open a run",
        info="Type to search, or click a row of the table.",
        elem_id="tl-run-choice",
    )
    parts["table"] = gr.HTML(
        markup.hint(_EMPTY),
        label="Runs",
        js_on_load=theme.script("rows"),
        apply_default_css=False,
        elem_id="tl-runs-table",
    )
    with gr.Column(visible=False, elem_id="tl-run-panel") as parts["panel"]:
        parts |= _buttons()
        parts["card"] = html(elem_id="tl-opened-card")
        parts["more"] = more.build("run")
        parts["diagnosis"] = diagnosis_card.lay_out()
        parts["curves"] = figure(
            label="Loss and accuracy of the opened run",
            hint="This run has no steps yet.",
            elem_id="tl-opened-curves",
        )
        parts["notices"] = html(elem_id="tl-opened-notices")
        parts["blend"] = blend_panel.lay_out()
        with gr.Row(equal_height=False):
            with gr.Column(min_width=320):
                parts |= _repetition()
            with gr.Column(min_width=320):
                parts["settings"] = html(elem_id="tl-opened-settings")
    return _Parts(compare=compare_panel.lay_out(), **parts)


def _buttons() -> dict[str, Any]:
    """What can be done with the opened run."""
    parts: dict[str, Any] = {}
    with gr.Row(elem_id="tl-run-buttons"):
        parts["use"] = gr.Button("Use on Try it", variant="primary", elem_id="tl-use-run", min_width=130)
        parts["results"] = gr.Button("See the results", elem_id="tl-run-results", min_width=140)
        parts["export"] = gr.Button("Export", elem_id="tl-run-export", min_width=110)
        parts["resume"] = gr.Button("Resume", elem_id="tl-resume-run", min_width=110)
        parts["csv"] = gr.DownloadButton("Download curves (CSV)", elem_id="tl-csv", min_width=190)
        parts["preset"] = gr.DownloadButton("Preset (YAML)", elem_id="tl-run-preset", min_width=130)
        parts["script"] = gr.DownloadButton("Script (Python)", elem_id="tl-run-script", min_width=130)
        parts["delete"] = gr.Button("Delete", elem_id="tl-delete", min_width=100)
    with gr.Row(visible=False, elem_id="tl-confirm") as parts["confirm"]:
        parts["really"] = gr.Button("Really delete?", variant="stop", elem_id="tl-really-delete")
        parts["cancel"] = gr.Button("Cancel", elem_id="tl-cancel-delete")
    return parts


def _repetition() -> dict[str, Any]:
    """How to train the opened run again."""
    shown: dict[str, Any] = {"interactive": False, "buttons": ["copy"]}
    return {
        "command": gr.Textbox(
            label="Command that repeats this run",
            info="For a terminal; the same seed on the same machine gives the same result.",
            lines=2,
            max_lines=8,
            elem_id="tl-command",
            **shown,
        ),
        "python": gr.Textbox(
            label="The same in Python",
            info="A whole script, which prints the result; also for a notebook.",
            lines=3,
            max_lines=14,
            elem_id="tl-python",
            **shown,
        ),
    }


@dataclass(frozen=True)
class _Acts:
    """The tab's event handlers."""

    work: Workspace

    def refresh(self, opened: str, compared: list[str] | None = None) -> tuple[Any, ...]:
        """The list as it is now."""
        found = runs.list_runs(self.work.runs_dir)
        names = [info.name for info in found]
        choice = gr.update(choices=names, value=opened if opened in names else None)
        return table_of(found, opened), choice, compare_panel.choices(names, compared)

    @toasts
    def row_chosen(self, event: gr.EventData) -> tuple[Any, ...]:
        name = str((event._data or {}).get("name", ""))
        return (name, *self._opened(name))

    @toasts
    def open(self, name: str | None) -> tuple[Any, ...]:
        return self._opened(name or "")

    def ask(self, name: str) -> tuple[Any, ...]:
        """The first step of deleting: nothing happens yet."""
        question = gr.update(value=f"Really delete {name}?")
        return gr.update(interactive=False), gr.update(visible=True), question

    def keep(self) -> tuple[Any, ...]:
        return gr.update(interactive=True), gr.update(visible=False)

    @toasts
    def delete(self, name: str, compared: list[str] | None = None) -> tuple[Any, ...]:
        info = self.work.open_run(name)
        runs.delete_run(info)
        self.work.forget(info.path)
        gr.Info(f"Run {markup.text(name)} is deleted.")
        return (*self.refresh("", compared), *_closed())

    def _opened(self, name: str) -> tuple[Any, ...]:
        if not name:
            return _closed()
        info = self.work.open_run(name)
        snapshot, script = snapshot_of(info), reproduce.script_of(info)
        return (
            info.name,
            gr.update(visible=True),
            gr.update(interactive=bool(info.best_epoch)),
            gr.update(interactive=info.resumable and not self.work.running()),
            gr.update(value=_file(info, ".csv", history.history_csv(info.path))),
            gr.update(value=_file(info, ".yaml", presets.to_yaml(presets.of_config(info.asked, info.name)))),
            gr.update(value=_file(info, ".py", script)),
            gr.update(interactive=not info.is_running),
            gr.update(visible=False),
            *more.shown(
                complete=info.state == "completed",
                busy=bool(self.work.running()),
                depth=snapshot.frozen_stages,
            ),
            status.card(snapshot),
            diagnosis_card.card(info, snapshot),
            plots.curves(snapshot) if snapshot.step_points or snapshot.epoch_rows else None,
            markup.notices(snapshot.notices),
            gr.update(interactive=bool(info.best_epoch)),
            reproduce.command_of(info),
            script,
            settings_table(info),
        )


def _closed() -> tuple[Any, ...]:
    return ("", gr.update(visible=False), *[gr.skip()] * 18)


def table_of(found: list[RunInfo], opened: str = "") -> str:
    """All runs, newest first, as a table whose rows can be chosen; on a phone each row becomes a card."""
    if not found:
        return markup.hint(_EMPTY)
    head = "".join(f'<th scope="col">{name}</th>' for name in _HEADERS)
    body = "".join(_row(info, info.name == opened) for info in found)
    return (
        '<div class="tl-table tl-runs"><table><caption>Runs, newest first</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(info: RunInfo, is_open: bool) -> str:
    config = info.config
    cells = [
        markup.text(info.name),
        markup.badge(info.state),
        markup.text(words.percent(info.val_accuracy)),
        markup.text(Path(config.data).name),
        markup.text(config.backbone),
        markup.text(_recipe(config)),
        markup.text(words.moment(info.created)),
    ]
    pairs = zip(_HEADERS, cells, strict=True)
    inner = "".join(f'<td data-label="{header}">{cell}</td>' for header, cell in pairs)
    name = markup.text(info.name)
    return (
        f'<tr data-name="{name}" tabindex="0" role="row" aria-selected="{str(is_open).lower()}">{inner}</tr>'
    )


def settings_table(info: RunInfo) -> str:
    """Every setting, with what the automatic ones became."""
    return markup.table(("Setting", "Value"), reproduce.settings_of(info), caption="Settings")


def _recipe(config: TrainConfig) -> str:
    words_of = dict((value, text) for text, value in form.choices("recipe"))
    depth = f", depth {config.freeze}" if config.recipe == "partial" and config.freeze is not None else ""
    return words_of.get(config.recipe, config.recipe) + depth


def _file(info: RunInfo, ending: str, text: str) -> str:
    """What the run is as a file to download."""
    return downloads.made("runs", info.name + ending, text)


def checked(name: str) -> str:
    """The name of the opened run.

    Raises:
        UsageError: None is open.
    """
    if not name:
        raise UsageError("No run is open.", remedy="Click a row of the table first.")
    return name
