"""The Train tab: settings on one side, the run with its live curves on the other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from tl_app import plots, words
from tl_app.data.index import DatasetIndex
from tl_app.errors import UsageError
from tl_app.snapshot import Snapshot
from tl_app.ui import form, markup, more, preset_bar, rate_card, settings, status
from tl_app.ui.blocks import figure, html
from tl_app.ui.more import More
from tl_app.ui.rate_card import RateCard
from tl_app.ui.settings import Settings
from tl_app.ui.toasts import toasts
from tl_app.ui.workspace import Mark, Workspace

Seen = tuple[Mark | None, bool]  # what a page shows, and whether it was drawn after the last change

_NO_RUN = "No run yet. Choose photos, then press Start: the defaults train well."
_NO_CURVES = "The curves appear here after the first steps, and move while the network learns."

TITLES = {
    "tl-start": "Trains with these settings, in the background: the page may be closed meanwhile.",
    "tl-stop": "Ends within the current batch and keeps the best model. It can be resumed later.",
    "tl-resume": "Goes on from the last checkpoint of the run shown here.",
    "tl-finish": "Makes the run complete with its best model so far; one under way ends within the current batch.",
    "tl-see-results": "Opens the Results tab: this run's figures, mistakes and confused classes.",
    "tl-try-it": "Opens the Try it tab with this run's best model.",
    **more.titles("train"),
}


@dataclass(frozen=True)
class TrainTab:
    """The components that other tabs, or the page as a whole, are wired to."""

    settings: Settings
    seen: gr.State
    try_it: gr.Button
    results: gr.Button
    rates: RateCard
    live: list[Any]  # outputs of `tick`, `redraw`, `start` and `resume`
    acts: _Acts


@dataclass(frozen=True)
class _Parts:
    settings: Settings
    seen: gr.State
    start: gr.Button
    stop: gr.Button
    resume: gr.Button
    why: gr.HTML
    card: gr.HTML
    curves: gr.HTML
    finish: gr.Button
    more: More
    notices: gr.HTML
    try_it: gr.Button
    results: gr.Button
    rates: RateCard

    @property
    def live(self) -> list[Any]:
        run = [self.card, self.curves, self.notices, self.try_it, self.finish, *self.more.shown]
        return [self.seen, self.start, self.stop, self.resume, self.why, *run, self.results]


def build(work: Workspace, source: gr.State, quick_start: gr.Button, quick_why: gr.HTML) -> TrainTab:
    """Lays the tab out and binds its events.

    Args:
        work: The app's memory.
        source: Names the photos chosen on the Data tab.
        quick_start: The Data tab's own Start, which is enabled and disabled with the one here.
        quick_why: Says why.
    """
    parts = _lay_out(work, source)
    acts = _Acts(work)
    live = [*parts.live, quick_start, quick_why]
    chosen, fields = [source, parts.settings.run_name], parts.settings.form
    parts.start.click(acts.start, chosen, live, inputs_kwargs=fields, show_progress_on=[parts.card])
    parts.stop.click(acts.stop, source, live, queue=False, show_progress="hidden")
    parts.resume.click(acts.resume, source, live, show_progress_on=[parts.card])
    parts.finish.click(acts.finish, source, live, queue=False, show_progress="hidden")
    asked, shown = [source, parts.more.epochs], [parts.card]
    parts.more.go_on.click(acts.go_on, asked, live, show_progress_on=shown)
    parts.more.unfreeze.click(acts.unfreeze, asked, live, show_progress_on=shown)
    return TrainTab(parts.settings, parts.seen, parts.try_it, parts.results, parts.rates, live, acts)


def _lay_out(work: Workspace, source: gr.State) -> _Parts:
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=330, elem_id="tl-settings"):
            bar = preset_bar.build()
            chosen = settings.build(work, source)
            preset_bar.bind(bar, work, source, chosen)
            rates = rate_card.build()
            rate_card.bind(rates, work, source, chosen)
        with gr.Column(scale=3, min_width=330, elem_id="tl-live"):
            with gr.Row(elem_id="tl-controls"):
                off: dict[str, Any] = {"interactive": False, "min_width": 90}
                start = gr.Button("Start", variant="primary", elem_id="tl-start", **off)
                stop = gr.Button("Stop", variant="stop", elem_id="tl-stop", **off)
                resume = gr.Button("Resume", elem_id="tl-resume", **off)
            why = html(elem_id="tl-why")
            card = html(markup.hint(_NO_RUN), elem_id="tl-run-card", min_height=64)
            finish = gr.Button("Finish now with the best", visible=False, elem_id="tl-finish")
            further = more.build("train")
            curves = figure(label="Loss and accuracy over the epochs", hint=_NO_CURVES, elem_id="tl-curves")
            with gr.Row(elem_classes=["tl-buttons"]):
                results = gr.Button(
                    "See the results →", visible=False, variant="primary", elem_id="tl-see-results"
                )
                try_it = gr.Button("Try it on photos →", visible=False, elem_id="tl-try-it")
            notices = html(elem_id="tl-notices")
    return _Parts(
        settings=chosen,
        seen=gr.State(None),
        start=start,
        stop=stop,
        resume=resume,
        why=why,
        card=card,
        curves=curves,
        finish=finish,
        more=further,
        notices=notices,
        try_it=try_it,
        results=results,
        rates=rates,
    )


@dataclass(frozen=True)
class _Acts:
    """The event handlers of the run's side."""

    work: Workspace

    @toasts
    def start(self, source: str, run_name: str | None, **values: Any) -> tuple[Any, ...]:
        if self.work.dataset(source) is None:
            raise UsageError("No photos are chosen.", remedy="Choose them on the Data tab, then start.")
        self.work.start(form.read(values | {"data": source}), (run_name or "").strip() or None)
        return self.redraw(source)

    def stop(self, source: str) -> tuple[Any, ...]:
        job = self.work.worker.job
        if job is not None:
            job.stop()
        return self.redraw(source)

    @toasts
    def resume(self, source: str) -> tuple[Any, ...]:
        shown = self.work.snapshot()
        if shown is None:
            raise UsageError("There is no run to go on with.", remedy="Choose one on the Runs tab.")
        return self.resume_run(shown.run_path, source)

    def resume_run(self, run: str, source: str) -> tuple[Any, ...]:
        """Goes on with any run.

        Raises:
            UserError: It cannot be resumed.
        """
        self.work.resume(Path(run))
        return self.redraw(source)

    @toasts
    def finish(self, source: str) -> tuple[Any, ...]:
        shown = self.work.snapshot()
        if shown is None:
            raise UsageError("No run is being trained.", remedy="Start one, or choose one on the Runs tab.")
        self.work.finish(Path(shown.run_path))
        return self.redraw(source)

    @toasts
    def go_on(self, source: str, epochs: float | None) -> tuple[Any, ...]:
        return self._more(source, epochs, 0)

    @toasts
    def unfreeze(self, source: str, epochs: float | None) -> tuple[Any, ...]:
        return self._more(source, epochs, 1)

    def _more(self, source: str, epochs: float | None, unfreeze: int) -> tuple[Any, ...]:
        shown = self.work.snapshot()
        if shown is None:
            raise UsageError("There is no run to go on with.", remedy="Choose one on the Runs tab.")
        return self.extend_run(shown.run_path, source, epochs, unfreeze)

    def extend_run(self, run: str, source: str, epochs: float | None, unfreeze: int) -> tuple[Any, ...]:
        """Goes on with any complete run.

        Raises:
            UserError: It cannot be extended.
        """
        self.work.extend(Path(run), more.checked(epochs), unfreeze)
        return self.redraw(source)

    def tick(self, seen: Seen | None, source: str) -> tuple[Any, ...] | None:
        """Once a second: None, and nothing moves on the page, unless the run moved.

        After the last change the run is drawn once more: the answer to a click may reach the page after that
        of a later tick, and what it brought is then out of date.
        """
        if seen is None or seen[0] != self.work.mark():
            return self.redraw(source)
        return None if seen[1] else self.redraw(source, settled=True)

    def redraw(self, source: str, settled: bool = False) -> tuple[Any, ...]:
        """Everything of the run that is shown, for a page that was just opened as well."""
        mark, snapshot = self.work.mark(), self.work.snapshot()
        index, running = self.work.dataset(source), self.work.running()
        startable, why = gr.update(interactive=index is not None and not running), start_line(index, running)
        return (
            (mark, settled),
            startable,
            gr.update(interactive=bool(running) and snapshot is not None and snapshot.state != "stopping"),
            gr.update(interactive=not running and snapshot is not None and _resumable(snapshot)),
            why,
            *_shown(snapshot, bool(running)),
            startable,
            why,
        )

    def best_run(self) -> str:
        """The name of the run shown, when it has a model to try."""
        shown = self.work.snapshot()
        return shown.run if shown is not None and shown.best_epoch else ""


def start_line(index: DatasetIndex | None, running: str) -> str:
    """The line beside Start: why it is disabled, or what it will train on."""
    if running:
        why = f"Run {running} is being trained, and one runs at a time. Stop it, or wait, to start another."
    elif index is None:
        why = "Start is waiting for photos: choose a folder on the Data tab."
    else:
        photos = words.plural(len(index.used("train")), "training photo")
        ready = f"Ready: {photos} in {len(index.classes)} classes."
        return f'<div class="tl-why tl-ready">{markup.text(ready)}</div>'
    return f'<div class="tl-why">{markup.text(why)}</div>'


def _shown(snapshot: Snapshot | None, busy: bool) -> tuple[Any, ...]:
    if snapshot is None:
        hidden, further = gr.update(visible=False), more.shown(complete=False, busy=busy, depth=0)
        return markup.hint(_NO_RUN), None, "", hidden, hidden, *further, hidden
    drawn = plots.curves(snapshot) if snapshot.step_points or snapshot.epoch_rows else None
    usable = gr.update(visible=bool(snapshot.best_epoch))
    # It stands out when there is reason to use it.
    variant = "primary" if snapshot.suggestion else "secondary"
    finish = gr.update(visible=snapshot.can_finish, variant=variant)
    further = more.shown(
        complete=snapshot.state == "completed" and (Path(snapshot.run_path) / "config.json").is_file(),
        busy=busy,
        depth=snapshot.frozen_stages,
    )
    notices = markup.notices(snapshot.notices)
    return status.card(snapshot), drawn, notices, usable, finish, *further, usable


def _resumable(snapshot: Snapshot) -> bool:
    return snapshot.is_waiting and (Path(snapshot.run_path) / "config.json").is_file()
