"""The first answer, a card on the Data tab: how many photos would be right before any training, in plain words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from tl_app import words
from tl_app.errors import UserError
from tl_app.ui import form, markup, status
from tl_app.ui.blocks import html
from tl_app.ui.prober import Standing
from tl_app.ui.workspace import Workspace

if TYPE_CHECKING:
    from tl_app.probing import ProbeResult

# What the probe needs to know of the training form.
FIELDS = ("backbone", "weights", "image_size", "device", "precision")

_NOT_ASKED = "No first answer yet for these photos."
_MEANWHILE = (
    '<p class="tl-fine">How many of your photos would be right before any training? The backbone looks at each photo '
    "once, and a simple classifier learns from what it sees. Training need not wait for this.</p>"
)
_HARDEST = 3

TITLES = {
    "tl-ask": "Looks at the photos with the backbone chosen on the Train tab, without training it.",
    "tl-ask-stop": "Ends the first answer; training does not need it.",
}

Seen = tuple[tuple[int, int], str]  # what a page shows: the prober's mark and the photos


@dataclass(frozen=True)
class FirstAnswer:
    """The components that the page as a whole is wired to."""

    seen: gr.State
    ask: gr.Button
    stop: gr.Button
    shown: list[Any]  # outputs of every act
    acts: Acts


def build(work: Workspace) -> FirstAnswer:
    """Lays the card out, hidden until photos are chosen."""
    with gr.Column(visible=False, elem_id="tl-answer") as panel:
        card = html(elem_id="tl-answer-card")
        with gr.Row(elem_classes=["tl-buttons"]):
            ask = gr.Button("Ask again", size="sm", elem_id="tl-ask", min_width=150)
            stop = gr.Button("Stop", size="sm", visible=False, elem_id="tl-ask-stop", min_width=150)
    seen = gr.State(None)
    return FirstAnswer(seen, ask, stop, [seen, panel, card, ask, stop], Acts(work))


@dataclass(frozen=True)
class Acts:
    """The card's event handlers."""

    work: Workspace

    def photos_chosen(self, source: str, **values: Any) -> tuple[Any, ...]:
        """Asks by itself; weights that are not on disk are not fetched for that."""
        return self._ask(source, values, fetch=False)

    def ask(self, source: str, **values: Any) -> tuple[Any, ...]:
        """Someone wants to know: weights are fetched if need be."""
        return self._ask(source, values, fetch=True)

    def stop(self, source: str) -> tuple[Any, ...]:
        """Ends the answer under way."""
        self.work.prober.stop()
        return self.draw(source)

    def restore(self, source: str, **values: Any) -> tuple[Any, ...]:
        """For a page that was just opened: asks when nobody has asked about these photos."""
        prober = self.work.prober
        if source and prober.standing(source) is None and not prober.is_under_way:
            return self.photos_chosen(source, **values)
        return self.draw(source)

    def tick(self, seen: Seen | None, source: str) -> tuple[Any, ...] | None:
        """Once a second: None unless something moved."""
        return None if seen == self._mark(source) else self.draw(source)

    def draw(self, source: str) -> tuple[Any, ...]:
        """Everything that is shown."""
        mark, standing = self._mark(source), self.work.prober.standing(source)
        under_way = standing is not None and standing.is_under_way
        missing = standing is not None and standing.state == "missing"
        label = "Fetch them and ask" if missing else "Ask" if standing is None else "Ask again"
        return (
            mark,
            gr.update(visible=self.work.dataset(source) is not None),
            card_of(standing),
            gr.update(value=label, visible=not under_way),
            gr.update(visible=under_way),
        )

    def _ask(self, source: str, values: dict[str, Any], fetch: bool) -> tuple[Any, ...]:
        index = self.work.dataset(source)
        if index is None:
            return self.draw(source)
        try:
            config = self.work.checked(form.read(values | {"data": source}))
        except UserError as error:
            return (*self.draw(source)[:2], markup.message(str(error), "error"), gr.skip(), gr.skip())
        self.work.prober.ask(config, index, fetch=fetch)
        return self.draw(source)

    def _mark(self, source: str) -> Seen:
        return self.work.prober.mark(), source


def card_of(standing: Standing | None) -> str:
    """Where a probe stands, or what it found."""
    if standing is None:
        return markup.hint(_NOT_ASKED)
    if standing.result is not None:
        return _found(standing.result)
    message = ""
    if standing.message:
        kind = "warning" if standing.state == "failed" else "info"
        message = markup.message(standing.message, kind)
    rest = _progress(standing) + _MEANWHILE if standing.is_under_way else ""
    return f'<div class="tl-card"><h3>First answer</h3>{message}{rest}</div>'


def _progress(standing: Standing) -> str:
    if standing.state == "waiting" or not standing.unit:
        return markup.progress(0, 0, f"{status.network(standing.backbone)} is about to look at your photos …")
    eta = standing.eta_seconds or 0.0
    left = f", {words.duration(eta)} left" if eta >= 1 else ""
    line = status.activity_line(standing.activity, standing.done, standing.total, standing.unit)
    return markup.progress(standing.done, standing.total, f"{line}{left}")


def _found(result: ProbeResult) -> str:
    spread = max(1, round(100 * result.spread))
    pairs = [
        ("Validation photos right", words.percent(result.val_accuracy) if result.val_images else ""),
        ("Always naming the largest class", words.percent(result.largest_share, 0)),
        ("Hardest classes", _hardest(result)),
        ("Took", words.duration(result.seconds) if result.seconds >= 1 else "under 1 s"),
    ]
    return (
        f'<div class="tl-card"><h3>First answer</h3><p class="tl-answer"><b>{about(result.accuracy)}</b> (±{spread}) '
        f"of new photos right, before any training.</p>{markup.facts(pairs)}"
        f'<p class="tl-fine">{markup.text(_explained(result))}</p></div>'
    )


def about(accuracy: float) -> str:
    """An accuracy as rough as it is known."""
    return "More than 99 %" if accuracy > 0.995 else f"About {100 * accuracy:.0f} %"


def _hardest(result: ProbeResult) -> str:
    """The classes that are told apart worst, when there are more than two and some are clearly worse."""
    rows = sorted((row["accuracy"], name) for name, row in result.per_class.items() if row["images"])
    worse = [(right, name) for right, name in rows if right < result.accuracy - 0.02]
    if len(rows) < 3:
        return ""
    return ", ".join(f"{name} {100 * right:.0f} %" for right, name in worse[:_HARDEST])


def _explained(result: ProbeResult) -> str:
    used = words.plural(result.probed_images, "training photo")
    if result.probed_images < result.train_images:
        used = f"{result.probed_images:,} of {words.plural(result.train_images, 'training photo')}"
    gain = (result.accuracy - result.largest_share) / max(1e-9, 1 - result.largest_share)
    if gain >= 0.8:
        advice = "Your classes are easy to tell apart: training the head alone is likely to do."
    elif gain >= 0.3:
        advice = "Training goes on from here."
    else:
        advice = (
            "Your classes are hard to tell apart this way: train more than the head, or try another backbone."
        )
    return (
        f"{status.network(result.backbone)} looked at {used} without being trained on them. A simple classifier was "
        f"then asked about photos that it had not been shown, {result.folds} times over. {advice}"
    )
