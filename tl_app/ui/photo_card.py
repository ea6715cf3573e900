"""One photo in large: what was said of it, which places spoke for that, and the training photos most like it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np
from PIL import Image

from tl_app import loading, runs, words
from tl_app.analysis.mistakes import log_probabilities
from tl_app.analysis.neighbours import nearest
from tl_app.errors import PhotoError, UsageError
from tl_app.ui import markup, photo_grid, theme, thumbnails
from tl_app.ui.blocks import html
from tl_app.ui.examiner import Shown
from tl_app.ui.toasts import toasts
from tl_app.ui.workspace import Workspace

if TYPE_CHECKING:
    from tl_app.analysis.examined import Examined
    from tl_app.predictor import Predictor

_LARGE = 640
_MAP = 360
_TOP = 5
_NEAREST = 6
_WAIT_SECONDS = 1.0

Photo = tuple[
    Shown, int
]  # of which run, and its place among the answers: another run's is none of this card's

TITLES = {
    "tl-photo-near": "Computes the features of all training photos once, in the background, and keeps them.",
    "tl-photo-close": "Hides this photo.",
}


@dataclass(frozen=True)
class PhotoCard:
    """The components; :func:`bind` wires them."""

    photo: gr.State
    panel: gr.Column
    card: gr.HTML
    close: gr.Button
    label: gr.Dropdown
    why: gr.HTML
    near: gr.HTML
    ask: gr.Button
    clock: gr.Timer

    @property
    def shown(self) -> list[Any]:
        """Outputs of `open` and :func:`closed`."""
        return [self.photo, self.panel, self.card, self.label, self.why, *self.neighbours]

    @property
    def neighbours(self) -> list[Any]:
        """Outputs of what looks for like photos."""
        return [self.near, self.ask, self.clock]


def build() -> PhotoCard:
    """Lays the card out, hidden."""
    with gr.Column(visible=False, elem_id="tl-photo-panel") as panel:
        card = gr.HTML(
            "",
            label="The photo",
            js_on_load=theme.script("reveal"),
            apply_default_css=False,
            elem_id="tl-photo-card",
        )
        label = gr.Dropdown(
            [],
            value=None,
            label="What spoke for",
            info="The places of the photo that spoke for this class; for the true class as well, when it is another.",
            elem_id="tl-photo-class",
        )
        why = html(elem_id="tl-photo-why", min_height=40)
        near = html(elem_id="tl-photo-nearest")
        with gr.Row(elem_classes=["tl-buttons"]):
            ask = gr.Button("Find the training photos most like it", size="sm", elem_id="tl-photo-near")
            close = gr.Button("Close this photo", size="sm", elem_id="tl-photo-close", min_width=120)
    return PhotoCard(gr.State(None), panel, card, close, label, why, near, ask, gr.Timer(0.5, active=False))


def bind(parts: PhotoCard, work: Workspace, shown: gr.State, sources: list[gr.HTML]) -> None:
    """Wires the card.

    Args:
        parts: From :func:`build`.
        work: The app's memory.
        shown: Which run is shown.
        sources: Where photos are picked.
    """
    acts = Acts(work)
    asked: list[Any] = [shown, parts.photo]
    explained = [*asked, parts.label, parts.why]
    quiet: dict[str, Any] = {"show_progress": "hidden"}
    # One after the other, so that an answer about one photo never comes after the next photo was opened.
    turns: dict[str, Any] = {**quiet, "concurrency_id": "photo", "concurrency_limit": 1}
    # Asked again, of whatever is open by then, when something was picked while it was at work.
    drawing: dict[str, Any] = {
        "show_progress_on": [parts.why],
        "trigger_mode": "always_last",
        "concurrency_id": "explain",
        "concurrency_limit": 1,
    }
    picks = [source.select for source in sources]
    opened = gr.on(picks, acts.open, shown, parts.shown, trigger_mode="multiple", **turns)
    opened.then(acts.check, asked, parts.shown, trigger_mode="always_last", queue=False, **quiet)
    opened.then(acts.explain, explained, parts.why, **drawing)
    parts.label.input(acts.explain, explained, parts.why, **drawing)
    parts.ask.click(acts.ask, asked, parts.neighbours, **turns)
    parts.clock.tick(acts.tick, asked, parts.neighbours, **turns)
    parts.close.click(closed, None, parts.shown, queue=False, **quiet)


def closed() -> tuple[Any, ...]:
    """No photo is open; outputs are ``shown``."""
    return None, gr.update(visible=False), "", gr.skip(), "", "", gr.skip(), gr.Timer(active=False)


@dataclass(frozen=True)
class Acts:
    """The card's event handlers."""

    work: Workspace

    @toasts
    def open(self, shown: Shown | None, event: gr.EventData) -> tuple[Any, ...]:
        """A photo was picked; anything else that can be picked is none of ours.

        Raises:
            UsageError: It was picked on a map of another run, or there is no such photo.
        """
        kind, numbers = photo_grid.picked(event)
        if kind != "photo" or shown is None:
            return tuple([gr.skip()] * 8)
        if tuple(event._data.get("about") or shown) != shown:
            raise UsageError(
                "That point is on the map of a run that is not shown any more.",
                remedy="Pick one when the map is drawn anew.",
            )
        examined = self.work.examiner.found(shown)
        number, photos = numbers[0], len(examined.answers.paths)
        if not 0 <= number < photos:
            raise UsageError(
                f"There is no photo {number}: they go from 0 to {photos - 1}.", remedy="Pick another one."
            )
        near = self._near((shown, number), begin=self._is_kept(examined))
        classes = examined.answers.classes
        label = gr.update(choices=list(classes), value=classes[int(examined.judged.said[number])])
        return (shown, number), gr.update(visible=True), card(examined, number), label, "", *near

    def check(self, shown: Shown | None, photo: Photo | None) -> tuple[Any, ...]:
        """Closes a photo that came when another run was shown already."""
        return tuple([gr.skip()] * 8) if photo is None or photo[0] == shown else closed()

    @toasts
    def explain(self, shown: Shown | None, photo: Photo | None, label: str | None, before: str) -> Any:
        """Draws what spoke for a class; for all picks that are no photo, it is there already."""
        if photo is None or photo[0] != shown or not label or _drawn_for(photo, label) in (before or ""):
            return gr.skip()
        examined = self.work.examiner.found(shown)
        return maps(predictor_of(self.work, shown), examined, photo, label)

    @toasts
    def ask(self, shown: Shown | None, photo: Photo | None) -> tuple[Any, ...]:
        """Computes what is needed to compare with the training photos."""
        return self._near_open(shown, photo, begin=True)

    def tick(self, shown: Shown | None, photo: Photo | None) -> tuple[Any, ...]:
        """While that goes on."""
        return self._near_open(shown, photo, begin=False)

    def _near_open(self, shown: Shown | None, photo: Photo | None, *, begin: bool) -> tuple[Any, ...]:
        if photo is None or photo[0] != shown:
            return gr.skip(), gr.skip(), gr.Timer(active=False)
        return self._near(photo, begin=begin)

    def _near(self, photo: Photo, *, begin: bool) -> tuple[Any, ...]:
        """What is known of like photos; outputs are ``neighbours``."""
        shown, number = photo
        run, _, model = shown
        examiner = self.work.examiner
        standing = examiner.ask(run, "train", _WAIT_SECONDS) if begin else examiner.standing(run, "train")
        if standing is None:
            return "", gr.update(visible=True), gr.Timer(active=False)
        if standing.state == "running":
            bar = markup.progress(standing.done, standing.total, _progress(standing.done, standing.total))
            return bar, gr.update(visible=False), gr.Timer(active=True)
        if standing.result is None or standing.result.model != model:
            said = standing.message or "The run has a better model by now: press Look again."
            return markup.message(said), gr.update(visible=True), gr.Timer(active=False)
        found = neighbours(examiner.found(shown), number, standing.result)
        return found, gr.update(visible=False), gr.Timer(active=False)

    def _is_kept(self, examined: Examined) -> bool:
        """Whether comparing costs nothing: this model's answers to the training photos were computed before."""
        path, name = examined.info.path, examined.info.name
        standing = self.work.examiner.standing(name, "train")
        if standing is not None and standing.result is not None:
            return standing.result.model == examined.model
        kept = path / runs.ANALYSIS / "train.safetensors"
        if not kept.is_file():
            return False
        # Which model a file is of costs seconds to tell of many photos; one that is older than the model's is not.
        models = [file.stat().st_mtime_ns for file in (path / "checkpoints").glob("best-*.safetensors")]
        return kept.stat().st_mtime_ns >= max(models, default=0)


def predictor_of(work: Workspace, shown: Shown) -> Predictor:
    """The model whose figures are shown.

    Raises:
        UserError: The run is gone, or has another model by now.
    """
    loading.wait()
    from tl_app.predictor import model_of

    found = work.predictor("run", shown[0])
    if model_of(work.open_run(shown[0])) != shown[2]:
        raise UsageError(f"Run '{shown[0]}' has a better model by now.", remedy="Press Look again.")
    return found


def card(examined: Examined, number: int) -> str:
    """The photo with its most likely classes, the true one among them."""
    answers = examined.answers
    logs = log_probabilities(answers.logits[number : number + 1], examined.calibration.temperature)[0]
    top = [int(place) for place in np.argsort(-logs, kind="stable")[:_TOP]]
    true = int(examined.judged.labels[number])
    bars = "".join(_bar(answers.classes[n], float(np.exp(logs[n])), n == true) for n in top)
    rest = "" if true in top else _bar(answers.classes[true], float(np.exp(logs[true])), True)
    doubt = _doubt(float(examined.judged.confidence[number]), examined.calibration.threshold)
    uri = thumbnails.of_files(answers.root, [(answers.paths[number], answers.contents[number])], _LARGE)[0]
    name = markup.text(answers.paths[number])
    picture = f'<img src="{uri}" alt="{name}">' if uri else photo_grid.no_picture()
    loss = f"Loss {float(examined.judged.loss[number]):.2f} · {name}"
    return (
        f'<div class="tl-card tl-one"><figure>{picture}</figure><div><h3>'
        f"{markup.text(photo_grid.in_words(examined, number))}</h3>{bars}{rest}{doubt}"
        f'<p class="tl-fine tl-path">{loss}</p></div></div>'
    )


def _doubt(confidence: float, threshold: float | None) -> str:
    """Why the answer would be "not sure"; nothing when it would not."""
    if threshold is None:
        said = 'No confidence of this run is high enough to rely on: every answer would be "not sure".'
    elif confidence < threshold:
        said = 'Below the suggested threshold: this would be "not sure".'
    else:
        return ""
    return f'<p class="tl-fine">{said}</p>'


def maps(predictor: Predictor, examined: Examined, photo: Photo, label: str) -> str:
    """The photo with what spoke for a class, and beside it for the true one."""
    from tl_app.analysis.explaining import explain_photo

    answers, number = examined.answers, photo[1]
    true = answers.classes[int(examined.judged.labels[number])]
    tiles = []
    for each in dict.fromkeys((label, true)):
        try:
            found = explain_photo(predictor, answers.root / answers.paths[number], each)
        except PhotoError as error:
            return markup.message(str(error))
        with Image.open(io.BytesIO(found.overlay)) as picture:
            uri = thumbnails.of_pixels(np.asarray(picture.convert("RGB")), _MAP)
        words_ = markup.text(found.legend)
        tiles.append(f'<figure><img src="{uri}" alt="{words_}"><figcaption>{words_}</figcaption></figure>')
    return f'<div class="tl-maps" {_drawn_for(photo, label)}>{"".join(tiles)}</div>'


def _drawn_for(photo: Photo, label: str) -> str:
    shown, number = photo
    return f'data-of="{markup.text(" ".join((*shown, str(number), label)))}"'


def neighbours(examined: Examined, number: int, trained_on: Examined) -> str:
    """The training photos whose features point most nearly the same way."""
    itself = examined.answers.split == trained_on.answers.split
    found = nearest(trained_on.answers.features, examined.answers.features[number], _NEAREST + itself)
    pairs = [
        (int(place), float(likeness))
        for place, likeness in zip(*found, strict=True)
        if not (itself and int(place) == number)
    ][:_NEAREST]
    answers = trained_on.answers
    files = [(answers.paths[place], answers.contents[place]) for place, _ in pairs]
    pictures = thumbnails.of_files(answers.root, files, photo_grid.SIDE)
    tiles = "".join(
        _like(answers.classes[int(answers.labels[place])], likeness, answers.paths[place], uri)
        for (place, likeness), uri in zip(pairs, pictures, strict=True)
    )
    return (
        '<h4 class="tl-part">Training photos most like it, to the network</h4>'
        '<p class="tl-fine">Of another class? Then they say where the mistake comes from, or that a label is wrong.</p>'
        f'<div class="tl-photos tl-few">{tiles}</div>'
    )


def _like(label: str, likeness: float, path: str, uri: str) -> str:
    name = markup.text(path)
    picture = f'<img src="{uri}" alt="{name}">' if uri else photo_grid.no_picture()
    return (
        f'<figure class="tl-photo" title="{name}">{picture}<span><b>{markup.text(label)}</b></span>'
        f"<small>likeness {likeness:.2f}</small></figure>"
    )


def _bar(label: str, share: float, true: bool) -> str:
    mark = " ✓ true class" if true else ""
    return (
        f'<div class="tl-class{" tl-truth" if true else ""}"><span>{markup.text(label)}{mark}</span>'
        f'<b>{words.percent(share)}</b><div class="tl-bar"><i style="width:{share * 100:.1f}%"></i></div></div>'
    )


def _progress(done: int, total: int) -> str:
    return (
        f"Looking at the training photos: {done:,} of {total:,}"
        if total
        else "Looking at the training photos"
    )
