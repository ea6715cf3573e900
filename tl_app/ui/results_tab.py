"""The Results tab: how good a run is and what it gets wrong, down to the single photo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from tl_app.data.index import DatasetIndex
from tl_app.errors import UserError
from tl_app.runs import RunInfo
from tl_app.ui import (
    confusion_card,
    figures_card,
    finished,
    map_card,
    markup,
    mistakes_card,
    photo_card,
    report_button,
)
from tl_app.ui.blocks import html
from tl_app.ui.confusion_card import ConfusionCard
from tl_app.ui.examiner import Shown, Standing
from tl_app.ui.figures_card import FiguresCard
from tl_app.ui.map_card import MapCard
from tl_app.ui.mistakes_card import MistakesCard
from tl_app.ui.photo_card import PhotoCard
from tl_app.ui.report_button import ReportButton
from tl_app.ui.toasts import toasts
from tl_app.ui.workspace import Workspace

_EMPTY = (
    "No run has a finished epoch yet. Train one on the Train tab: what it gets right and wrong appears here."
)
_SPLITS = {"val": "Validation", "test": "Test", "train": "Training"}
_WAIT_SECONDS = 2.0  # what is kept is there sooner, and then nothing flickers

TITLES = {
    "tl-results-again": "Reads the list of runs anew, and looks at the run's best model as it is now.",
    **photo_card.TITLES,
    **report_button.TITLES,
}

Asked = tuple[str, str] | None  # a run and a split that are waited for


@dataclass(frozen=True)
class ResultsTab:
    """The components that other tabs, or the page as a whole, are wired to."""

    run: gr.Dropdown  # output of `point_at`
    acts: Acts


@dataclass(frozen=True)
class _Parts:
    run: gr.Dropdown
    split: gr.Radio
    again: gr.Button
    asked: gr.State
    shown: gr.State
    clock: gr.Timer
    status: gr.HTML
    panel: gr.Column
    figures: FiguresCard
    confusion: ConfusionCard
    mistakes: MistakesCard
    map: MapCard
    photo: PhotoCard
    report: ReportButton

    @property
    def drawn(self) -> list[Any]:
        """Outputs of everything that may draw the whole tab."""
        chosen = [self.asked, self.shown, self.clock, self.status, self.panel]
        cards = [*self.figures.shown, *self.confusion.shown, *self.mistakes.shown, *self.map.shown]
        return [*chosen, *cards, *self.photo.shown]


def build(work: Workspace, opened: list[Any]) -> ResultsTab:
    """Lays the tab out and binds its events.

    Args:
        work: The app's memory.
        opened: Events that open the tab.
    """
    parts = _lay_out(work)
    acts = Acts(work)
    asked: list[Any] = [parts.run, parts.split, parts.shown, parts.confusion.shares, parts.mistakes.order]
    listed = [parts.run, parts.split, *parts.drawn]
    quiet: dict[str, Any] = {"show_progress": "hidden"}
    waited: list[Any] = [parts.asked, parts.confusion.shares, parts.mistakes.order]
    # One for all: a choice made while another is on its way is asked for after it, and not lost.
    choosing = [parts.run.input, parts.split.input, parts.again.click, *opened]
    drawn = [
        gr.on(choosing, acts.refresh, asked, listed, trigger_mode="always_last", **quiet),
        parts.clock.tick(acts.tick, waited, parts.drawn, queue=False, **quiet),
    ]
    confusion_card.bind(parts.confusion, work, parts.shown)
    mistakes_card.bind(parts.mistakes, work, parts.shown)
    map_card.bind(parts.map, work, parts.shown, drawn)
    picked = [parts.confusion.photos, parts.mistakes.photos, parts.map.figure]
    photo_card.bind(parts.photo, work, parts.shown, picked)
    report_button.bind(parts.report, work, parts.shown, drawn)
    return ResultsTab(parts.run, acts)


def _lay_out(work: Workspace) -> _Parts:
    with gr.Row(equal_height=False, elem_id="tl-results-choice"):
        run = gr.Dropdown(
            [],
            value=None,
            label="Run",
            info="Runs with at least one finished epoch, newest first.",
            scale=3,
            min_width=280,
            elem_id="tl-results-run",
        )
        split = gr.Radio(
            [(_SPLITS["val"], "val")],
            value="val",
            label="Photos",
            info="Each split by itself: a run knows the photos it was trained on.",
            scale=2,
            min_width=280,
            elem_id="tl-results-split",
        )
        again = gr.Button("Look again", size="sm", scale=0, min_width=120, elem_id="tl-results-again")
    status = html(markup.hint(_EMPTY), elem_id="tl-results-status")
    with gr.Column(visible=False, elem_id="tl-results") as panel:
        with gr.Tabs(elem_id="tl-results-parts"):
            with gr.Tab("Figures"):
                figures = figures_card.build()
            with gr.Tab("Confusions"):
                confusion = confusion_card.build()
            with gr.Tab("Mistakes"):
                mistakes = mistakes_card.build()
            with gr.Tab("Map"):
                mapped = map_card.build()
        photo = photo_card.build()
        report = report_button.build()
    return _Parts(
        run=run,
        split=split,
        again=again,
        asked=gr.State(None),
        shown=gr.State(None),
        clock=gr.Timer(0.5, active=False),
        status=status,
        panel=panel,
        figures=figures,
        confusion=confusion,
        mistakes=mistakes,
        map=mapped,
        photo=photo,
        report=report,
    )


@dataclass(frozen=True)
class Acts:
    """The tab's event handlers."""

    work: Workspace

    @toasts
    def refresh(
        self, run: str | None, split: str, shown: Shown | None, shares: bool, order: str
    ) -> tuple[Any, ...]:
        """The list as it is now, with the choice kept where it still is there; for whoever chooses or opens the tab."""
        return self._list(run, split, shown, shares, order)

    @toasts
    def point_at(self, run: str) -> Any:
        """Another tab asks for this run: it is chosen, and drawn when the tab opens.

        Raises:
            UsageError: It has no model yet.
        """
        return finished.pointed_at(self.work, run, "Its results are")

    def tick(self, asked: Asked, shares: bool, order: str) -> tuple[Any, ...]:
        """Twice a second while a run is examined."""
        if asked is None:
            return (gr.skip(), gr.skip(), gr.Timer(active=False), *_skips(_CARDS + 2))
        standing = self.work.examiner.standing(*asked)
        return _drawn_as(standing or Standing("failed", "Press Look again."), asked, shares, order)

    def _list(
        self, run: str | None, split: str, shown: Shown | None, shares: bool, order: str
    ) -> tuple[Any, ...]:
        found = finished.usable_runs(self.work)
        names = [info.name for info in found]
        name = run if run in names else (names[0] if names else "")
        listed = finished.offered(finished.choices(found), run, name or None)
        if not name:
            hidden = gr.update(visible=False)
            empty = (None, None, gr.Timer(active=False), markup.hint(_EMPTY), hidden, *_no_cards())
            return listed, gr.skip(), *empty
        splits = splits_of(found[names.index(name)])
        before, split = split, split if split in splits else splits[0]
        offered = finished.offered([(_SPLITS[each], each) for each in splits], before, split)
        return listed, offered, *self._drawn(name, split, shown, shares, order)

    def _drawn(self, run: str, split: str, shown: Shown | None, shares: bool, order: str) -> tuple[Any, ...]:
        asked = (run, split)
        standing = self.work.examiner.ask(run, split, _WAIT_SECONDS)
        if standing.result is not None and shown == (run, split, standing.result.model):
            return (
                None,
                gr.skip(),
                gr.Timer(active=False),
                _line(standing),
                *_skips(_CARDS + 1),
            )  # it is there
        return _drawn_as(standing, asked, shares, order)


_PHOTO = 8  # outputs of the photo card
_CARDS = 6 + 4 + 2 + 4 + _PHOTO  # outputs of the five cards


def _drawn_as(standing: Standing, asked: tuple[str, str], shares: bool, order: str) -> tuple[Any, ...]:
    """The whole tab as it stands; outputs are ``drawn``."""
    examined = standing.result
    if standing.state == "running":
        hidden = gr.update(visible=False)
        return asked, None, gr.Timer(active=True), _line(standing), hidden, *_no_cards()
    if examined is None:
        hidden = gr.update(visible=False)
        return None, None, gr.Timer(active=False), _line(standing), hidden, *_no_cards()
    return (
        None,
        (*asked, examined.model),
        gr.Timer(active=False),
        _line(standing),
        gr.update(visible=True),
        *figures_card.draw(examined),
        *confusion_card.draw(examined, shares),
        *mistakes_card.draw(examined, order),
        *map_card.cleared(),
        *photo_card.closed(),
    )


def _line(standing: Standing) -> str:
    """What stands between the choice and the results."""
    if standing.state == "running":
        counted = f": {standing.done:,} of {standing.total:,} photos" if standing.total else ""
        return markup.progress(standing.done, standing.total, f"The run looks at its photos{counted}")
    if standing.result is None:
        return markup.message(standing.message, "warning")
    info = standing.result.info
    if info.is_running:
        return markup.message(
            f"This run is being trained. Here is its best model so far, of epoch {info.best_epoch}; "
            "Look again shows a better one.",
            "info",
        )
    return ""


def splits_of(info: RunInfo) -> list[str]:
    """The splits a run has photos in, the one to look at first in front."""
    try:
        used = {photo.split for photo in DatasetIndex.read_manifest(info.path / "manifest.csv").photos}
    except UserError:  # asking for its answers says what is wrong with it
        used = {"val"}
    return [split for split in _SPLITS if split in used]


def _no_cards() -> list[Any]:
    """No run is shown: the cards are hidden as they are, and the photo, which asks about its run, is closed."""
    return [*_skips(_CARDS - _PHOTO), *photo_card.closed()]


def _skips(number: int) -> list[Any]:
    return [gr.skip()] * number
