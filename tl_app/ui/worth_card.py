"""Was transfer worth it, on the Runs tab: its button, how far it is, the chart, and what the chart says.

Knows nothing of how the study is carried out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from tl_app import words
from tl_app.analysis.verdict import RECIPES, Trained
from tl_app.errors import UsageError
from tl_app.ui import form, markup
from tl_app.ui.aside import Standing
from tl_app.ui.blocks import figure, html
from tl_app.ui.form import Form
from tl_app.ui.toasts import toasts
from tl_app.ui.workspace import Workspace
from tl_app.worthwhile import EPOCHS, KEPT, SHARES, WorthResult

_EXPLAINED = (
    "Trains from scratch, the head only, the last quarter and everything, with a part of your photos and with all of "
    "them, and draws accuracy against photos. It takes the photos, the backbone and the image size of the Train tab, "
    "goes on in the background, and makes way for any training that you start."
)
_SAME = (
    "All trainings have the same number of epochs: the same looks at each photo, which gives the same result on any "
    "machine, as the same time would not. Intervals know how few validation photos there are, not other seeds."
)
_OFFERED = (10, 25, 50, 75, 100)

TITLES = {
    "tl-worth-go": "Trains what is not trained yet; what an earlier study of these photos found is used again.",
    "tl-worth-stop": "Ends within a batch. What is trained is kept, and the next study goes on from there.",
}


@dataclass(frozen=True)
class WorthCard:
    """The card's components; :func:`bind` wires them to the form."""

    seen: gr.State
    clock: gr.Timer
    shares: gr.CheckboxGroup
    epochs: gr.Number
    go: gr.Button
    stop: gr.Button
    card: gr.HTML
    chart: gr.HTML
    table: gr.HTML

    @property
    def shown(self) -> list[Any]:
        """Outputs of every act."""
        return [self.seen, self.clock, self.go, self.stop, self.card, self.chart, self.table]


def lay_out() -> WorthCard:
    """Puts the card where it stands in the page."""
    with gr.Accordion("Was transfer worth it?", open=False, elem_id="tl-worth"):
        html(f'<p class="tl-fine">{markup.text(_EXPLAINED)}</p>', elem_id="tl-worth-what")
        with gr.Row(elem_classes=["tl-grid"]):
            shares = gr.CheckboxGroup(
                [(f"{share} %", share) for share in _OFFERED],
                value=list(SHARES),
                label="Parts of the training photos",
                info="Each is within the next larger one; the validation photos stay the same.",
                elem_id="tl-worth-shares",
            )
            epochs = gr.Number(
                EPOCHS,
                label="Epochs of each training",
                info="The same for all of them; more take longer.",
                precision=0,
                minimum=1,
                maximum=1000,
                elem_id="tl-worth-epochs",
            )
        with gr.Row(elem_classes=["tl-buttons"]):
            go = gr.Button("Find out", variant="primary", elem_id="tl-worth-go", min_width=150)
            stop = gr.Button("Stop", visible=False, elem_id="tl-worth-stop", min_width=90)
        card = html(elem_id="tl-worth-card")
        chart = figure(
            label="Accuracy against training photos, a line per recipe",
            hint="The chart appears here, and grows with every training.",
            elem_id="tl-worth-chart",
        )
        table = html(elem_id="tl-worth-table")
    return WorthCard(gr.State(-1), gr.Timer(1.0, active=False), shares, epochs, go, stop, card, chart, table)


def bind(parts: WorthCard, work: Workspace, source: gr.State, fields: Form) -> Acts:
    """Wires the card to the form of the Train tab.

    Args:
        parts: From :func:`lay_out`.
        work: The app's memory.
        source: Names the photos chosen on the Data tab.
        fields: The form.
    """
    acts = Acts(work)
    quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
    asked = [source, parts.shares, parts.epochs]
    taken = {name: fields[name] for name in KEPT if name != "data"}
    parts.go.click(acts.go, asked, parts.shown, inputs_kwargs=taken, show_progress="hidden")
    parts.stop.click(acts.stop, None, parts.shown, **quiet)
    parts.clock.tick(acts.tick, parts.seen, parts.shown, **quiet)
    return acts


@dataclass(frozen=True)
class Acts:
    """The card's event handlers."""

    work: Workspace

    @toasts
    def go(self, source: str, shares: Sequence[int], epochs: float | None, **values: Any) -> tuple[Any, ...]:
        """Starts a study with the form's photos and settings."""
        if self.work.dataset(source) is None:
            raise UsageError("No photos are chosen.", remedy="Choose them on the Data tab first.")
        if epochs is None or epochs != int(epochs) or not 1 <= epochs <= 1000:
            raise UsageError(
                "Epochs of each training is empty or no whole number.", "Allowed: from 1 to 1000."
            )
        config = form.read(values | {"data": source})
        self.work.weigh(config, [int(share) for share in shares], int(epochs))
        return self.draw()

    def stop(self) -> tuple[Any, ...]:
        """Ends it."""
        self.work.weigher.stop()
        return self.draw()

    def tick(self, seen: int) -> Any:
        """Once a second while a study is under way: nothing moves on the page unless it did."""
        return gr.skip() if seen == self.work.weigher.version else self.draw()

    def draw(self) -> tuple[Any, ...]:
        """Everything that is shown, for a page that was just opened as well."""
        weigher = self.work.weigher
        version, standing, under_way = weigher.version, weigher.standing, weigher.is_under_way
        result = standing.result if standing is not None else None
        left = result is not None and not under_way and not result.is_complete
        return (
            version,
            gr.Timer(active=under_way),
            gr.update(interactive=not under_way, value="Go on" if left else "Find out"),
            gr.update(visible=under_way),
            card_of(standing),
            result.figure if result is not None and result.trainings else None,
            table_of(result) if result is not None and result.trainings else "",
        )


def card_of(standing: Standing[WorthResult] | None) -> str:
    """How far it is, and what the chart says so far."""
    if standing is None:
        return ""
    parts = []
    if standing.state == "running":
        counted = f": epoch {standing.done:,} of {standing.total:,} in all" if standing.total else ""
        activity = standing.activity[:1].upper() + standing.activity[1:]
        parts.append(markup.progress(standing.done, standing.total, activity + counted))
    elif standing.message:
        parts.append(markup.message(standing.message, "error" if standing.state == "failed" else "info"))
    for sentence in standing.result.sentences if standing.result is not None else ():
        parts.append(markup.message(sentence, "info"))
    return "".join(parts)


def table_of(result: WorthResult) -> str:
    """Every training with its time and its parameters; on a phone each becomes a card."""
    labels = ("Photos", "Accuracy", "95 %", "Time", "Trained")
    head = "".join(f'<th scope="col">{label}</th>' for label in ("Recipe", *labels))
    body = "".join(_row(each, labels) for each in result.trainings)
    caption = (
        f"{result.backbone}, {result.image_size} px, {words.plural(result.epochs, 'epoch')} each, "
        f"{words.plural(result.val_images, 'validation photo')}"
    )
    return (
        f'<div class="tl-table tl-runs tl-wide"><table><caption>{markup.text(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        f'<p class="tl-fine">{markup.text(_SAME)}</p>'
    )


def _row(each: Trained, labels: Sequence[str]) -> str:
    values = (
        f"{each.photos:,} ({each.share} %)",
        words.percent(each.accuracy),
        f"{100 * each.low:.0f}–{100 * each.high:.0f} %",
        words.duration(each.seconds),
        f"{words.count(each.trained_parameters)} of {words.count(each.total_parameters)}",
    )
    cells = "".join(
        f'<td data-label="{label}">{markup.text(value)}</td>'
        for label, value in zip(labels, values, strict=True)
    )
    return f'<tr class="tl-row"><td>{RECIPES[each.recipe]}</td>{cells}</tr>'
