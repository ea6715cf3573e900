"""The Try it tab: drop photos in, see what a run or a pretrained network says of each."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from tl_app import loading
from tl_app.cards import drop_zone
from tl_app.errors import UsageError
from tl_app.ui import finished, markup, open_model, picker, theme, why
from tl_app.ui.blocks import html
from tl_app.ui.open_model import OpenModel
from tl_app.ui.toasts import toasts
from tl_app.ui.try_cards import cards, cost
from tl_app.ui.workspace import Workspace

if TYPE_CHECKING:
    from tl_app.export.answering import OnnxPredictor
    from tl_app.predictor import Predictor

RUN, BACKBONE, EXPORT = "run", "backbone", "export"
_CARDS_KEPT = 60
_EMPTY = "No photos yet. Drop some above: each gets a card with the most likely classes."

_NOTHING_OPEN = "No model is open. Drop one into “Open a model”."
_ONE_VIEW = '<div class="tl-why">It looks at each photo once: there is no average over views.</div>'


TITLES = {"tl-clear": "Removes all cards. Nothing else is deleted.", **open_model.TITLES}


@dataclass(frozen=True)
class TryTab:
    """The components that other tabs, or the page as a whole, are wired to."""

    model: list[Any]  # outputs of `models`, `refresh` and `use_run`
    asked: list[Any]  # inputs of `again`
    shown: list[Any]  # outputs of `again`
    kind: gr.Radio
    name: gr.Dropdown
    opened: OpenModel
    acts: _Acts


@dataclass(frozen=True)
class _Parts:
    kind: gr.Radio
    name: gr.Dropdown
    top: gr.Slider
    average: gr.Checkbox
    used: gr.HTML
    drop: gr.HTML
    clear: gr.Button
    cards: gr.HTML
    seen: gr.State
    made_by: gr.State
    why: gr.HTML
    opened: OpenModel


def build(work: Workspace) -> TryTab:
    """Lays the tab out and binds its events."""
    parts = _lay_out()
    acts = _Acts(work)
    model, asked = [parts.kind, parts.name], [parts.kind, parts.name, parts.top, parts.average, parts.seen]
    shown = [parts.seen, parts.cards, parts.clear, parts.used, parts.made_by]
    opened = parts.opened
    about = [opened.about, opened.use, opened.key]
    progress = {"show_progress_on": [parts.used]}
    quick = {"queue": False, "show_progress": "hidden"}
    for chosen in (
        parts.kind.input(acts.models, parts.kind, [*model, parts.used], **quick),
        parts.name.input(acts.model_chosen, model, parts.used, **quick),
    ):
        chosen.then(acts.again, asked, shown, **progress)
        chosen.then(acts.about_opened, model, about, **quick)
    parts.top.release(acts.again, asked, shown, **progress)
    parts.average.input(acts.again, asked, shown, **progress)
    parts.drop.upload(acts.predict, asked, shown, **progress)
    read = opened.drop.upload(acts.open, None, [*model, parts.used, *about], show_progress_on=[opened.about])
    read.success(acts.again, asked, shown, **progress)
    parts.clear.click(acts.clear, None, [parts.seen, parts.cards, parts.clear], **quick)
    explained = parts.why.select(
        acts.why, [parts.seen, parts.made_by], parts.why, trigger_mode="multiple", show_progress="hidden"
    )
    explained.failure(why.failed, None, parts.why, **quick)
    return TryTab([*model, parts.used], asked, shown, parts.kind, parts.name, opened, acts)


def _lay_out() -> _Parts:
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=320):
            kind = gr.Radio(
                [
                    ("A run of mine", RUN),
                    ("A pretrained network as it is", BACKBONE),
                    ("An opened model", EXPORT),
                ],
                value=RUN,
                label="What to use",
                info="Your own classes, the 1000 of ImageNet without any training, or a model that was exported.",
                elem_id="tl-try-kind",
            )
            name = gr.Dropdown(
                [],
                value=None,
                label="Model",
                info="Runs with a finished epoch, newest first; or networks, those on disk first; or opened models.",
                elem_id="tl-try-model",
            )
            top = gr.Slider(
                1,
                10,
                value=3,
                step=1,
                label="Classes shown",
                info="How many of the most likely classes each photo's card names.",
                elem_id="tl-try-top",
            )
            average = gr.Checkbox(
                False,
                label="Average over several views",
                info="Middle, mirror image and corners of each photo: often a little better, about 6 times as slow.",
                elem_id="tl-try-average",
            )
        with gr.Column(scale=3, min_width=320):
            drop = _drop_zone()
            used = html(elem_id="tl-try-used", min_height=40)
            opened = open_model.lay_out()
    cards = html(markup.hint(_EMPTY), elem_id="tl-try-cards")
    clear = gr.Button("Clear the cards", visible=False, size="sm", elem_id="tl-clear")
    return _Parts(
        kind=kind,
        name=name,
        top=top,
        average=average,
        used=used,
        drop=drop,
        clear=clear,
        cards=cards,
        seen=gr.State([]),
        made_by=gr.State(None),
        why=why.place("tl-try-cards"),
        opened=opened,
    )


def _drop_zone() -> gr.HTML:
    info = "or paste with Ctrl+V. JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF and HEIC are read; nothing leaves this machine."
    return gr.HTML(
        label="Photos to try",
        html_template=drop_zone(theme.asset("drop.html"), "Drop one or many photos here", info, many=True),
        js_on_load=theme.script("drop", "stored"),
        apply_default_css=False,
        elem_id="tl-drop",
    )


@dataclass(frozen=True)
class _Acts:
    """The tab's event handlers."""

    work: Workspace

    def models(self, kind: str) -> tuple[Any, ...]:
        """The models of one kind, the first of them chosen."""
        found = _choices(self.work, kind)
        first = found[0][1] if found else None
        return kind, gr.update(choices=found, value=first), self.model_chosen(kind, first)

    def refresh(self, kind: str, name: str | None) -> tuple[Any, ...]:
        """The list anew, with the choice kept where it still is there; for whoever opens the tab."""
        if kind != RUN and name:
            return gr.skip(), gr.skip(), gr.skip()
        found = finished.choices(finished.usable_runs(self.work))
        kept = name if any(value == name for _, value in found) else (found[0][1] if found else None)
        return RUN, gr.update(choices=found, value=kept), self.model_chosen(RUN, kept)

    def use_run(self, run: str) -> tuple[Any, ...]:
        """Another tab asked for this run."""
        found = finished.choices(finished.usable_runs(self.work))
        return RUN, gr.update(choices=found, value=run or None), self.model_chosen(RUN, run)

    def model_chosen(self, kind: str, name: str | None) -> str:
        if not name and kind == EXPORT:
            return f'<div class="tl-why">{_NOTHING_OPEN}</div>'
        if not name:
            sentence = "No run has a finished epoch yet. Train one, or use a pretrained network as it is."
            return f'<div class="tl-why">{markup.text(sentence)}</div>'
        if kind == BACKBONE:
            return _using(f"{name} as it is, with the labels of ImageNet")
        try:
            if kind == EXPORT:
                return _using(f"the opened {self.work.opened.get(name).predictor.source}")
            return _using(f"run {finished.run_text(self.work.open_run(name))}")
        except UsageError as error:
            return markup.message(str(error), "error")

    @toasts
    def open(self, event: gr.EventData) -> tuple[Any, ...]:
        """A dropped model becomes the one in use."""
        key, found = open_model.opened(self.work, event._data)
        chosen = gr.update(choices=_choices(self.work, EXPORT), value=key)
        return EXPORT, chosen, self.model_chosen(EXPORT, key), *open_model.shown(key, found)

    def about_opened(self, kind: str, name: str | None) -> tuple[Any, ...]:
        """Another of the opened models was chosen."""
        if kind != EXPORT or not name:
            return gr.skip(), gr.skip(), gr.skip()
        return open_model.shown(name, self.work.opened.get(name))

    @toasts
    def predict(
        self,
        kind: str,
        name: str | None,
        top: int,
        average: bool,
        seen: list[str],
        event: gr.EventData,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[Any, ...]:
        new = uploaded(event._data)
        return self._show(kind, name, top, average, [*new, *seen][:_CARDS_KEPT], progress)

    @toasts
    def again(
        self,
        kind: str,
        name: str | None,
        top: int,
        average: bool,
        seen: list[str],
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[Any, ...]:
        """Another model or another number of classes, for the photos that are there already.

        Weights are not downloaded for that: a choice in a list must not cost hundreds of megabytes.
        """
        if not seen or not name or (kind == BACKBONE and not picker.is_ready(name)):
            return tuple(gr.skip() for _ in range(5))
        return self._show(kind, name, top, average, seen, progress)

    def clear(self) -> tuple[Any, ...]:
        return [], markup.hint(_EMPTY), gr.update(visible=False)

    @toasts
    def why(self, seen: list[str], made_by: tuple[str, str] | None, event: gr.EventData) -> dict[str, Any]:
        """What spoke for a class on one of the photos, with the model that its card is from."""
        question = why.asked(event._data)
        if made_by is None or question.photo not in seen:
            raise UsageError("This photo is not here any more.", remedy="Drop it again.")
        predictor = _whole(self.work.model(*made_by))
        if predictor is None:
            raise UsageError(
                "An ONNX file cannot say why.", remedy="Open the run itself, or its safetensors export."
            )
        return why.answer(predictor, question)

    def _show(
        self, kind: str, name: str | None, top: int, average: bool, photos: list[str], progress: gr.Progress
    ) -> tuple[Any, ...]:
        if not name and kind == EXPORT:
            raise UsageError("No model is open.", remedy="Drop one into “Open a model”.")
        if not name:
            raise UsageError(
                "There is no model to use yet.", remedy="Train one, or use a pretrained network as it is."
            )
        progress((0, None), desc="Loading the model", unit="")
        predictor = self.work.model(kind, name, lambda done, total: _say(progress, done, total))
        progress((0, None), desc="Looking at the photos", unit="")
        files, used = [Path(photo) for photo in photos], self.model_chosen(kind, name)
        whole = _whole(predictor)
        found = predictor.predict(files, int(top), average=average and whole is not None)
        if average:
            used += _ONE_VIEW if whole is None else cost(whole.views, *whole.view_costs())
        shown = cards(found, predictor.source, explained=whole is not None)
        return photos, shown, gr.update(visible=True), used, (kind, name)


def _whole(predictor: Predictor | OnnxPredictor) -> Predictor | None:
    """A predictor that can explain and average; None for an ONNX file, which can do neither."""
    loading.wait()
    from tl_app.predictor import Predictor

    return predictor if isinstance(predictor, Predictor) else None


def _say(progress: gr.Progress, done: int, total: int) -> None:
    progress((done, total or None), desc="Downloading the weights", unit="bytes")


def uploaded(data: Any) -> list[str]:
    """The stored files that the drop zone names; anything outside gradio's own upload folder is refused.

    Raises:
        UsageError: What came is no list of uploads.
    """
    folder = Path(os.environ["GRADIO_TEMP_DIR"]).resolve()
    entries = data.get("photos", []) if isinstance(data, dict) else []
    paths = [Path(str(entry.get("path", ""))).resolve() for entry in entries if isinstance(entry, dict)]
    if not paths or not all(path.is_relative_to(folder) for path in paths):
        raise UsageError("The photos did not arrive.", remedy="Drop them again.")
    return [str(path) for path in paths]


def _using(text: str) -> str:
    return f'<div class="tl-why tl-ready">Using {markup.text(text)}.</div>'


def _choices(work: Workspace, kind: str) -> list[tuple[str, str]]:
    """(text, name) of the models of a kind."""
    if kind == EXPORT:
        return [(key, key) for key in work.opened.keys()]
    return picker.as_they_are() if kind == BACKBONE else finished.choices(finished.usable_runs(work))
