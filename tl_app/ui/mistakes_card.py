"""The mistakes of a run, in an order of one's choice, as thumbnails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import gradio as gr

from tl_app import words
from tl_app.analysis.mistakes import Order, ordered
from tl_app.ui import markup, photo_grid
from tl_app.ui.examiner import Shown
from tl_app.ui.toasts import toasts
from tl_app.ui.workspace import Workspace

if TYPE_CHECKING:
    from tl_app.analysis.examined import Examined

_ORDERS = [
    ("Worst first", "worst"),
    ("Most confident mistakes first", "sure"),
    ("Least sure first", "unsure"),
]
_SAID = {
    "worst": "{} wrong, those whose true class seemed least likely first",
    "sure": "{} wrong, those said most surely first: wrong labels are often among them",
    "unsure": "{}, right or wrong, those said least surely first",
}
_ALL = ("All classes", "")  # no folder is called ""


@dataclass(frozen=True)
class MistakesCard:
    """The components; :func:`bind` wires them."""

    order: gr.Radio
    label: gr.Dropdown
    photos: gr.HTML

    @property
    def shown(self) -> list[Any]:
        """Outputs of :func:`draw`."""
        return [self.label, self.photos]


def build() -> MistakesCard:
    """Lays the card out."""
    with gr.Row(equal_height=False):
        order = gr.Radio(
            _ORDERS,
            value="worst",
            label="Order",
            info="Which photos to look at first.",
            scale=3,
            min_width=300,
            elem_id="tl-mistakes-order",
        )
        label = gr.Dropdown(
            [_ALL],
            value="",
            label="True class",
            info="Only photos of this class.",
            scale=2,
            min_width=220,
            elem_id="tl-mistakes-class",
        )
    photos = photo_grid.pickable("", label="Mistakes", elem_id="tl-mistakes-photos")
    return MistakesCard(order, label, photos)


def bind(parts: MistakesCard, work: Workspace, shown: gr.State) -> None:
    """Wires the card; arguments as for the confusion card."""
    acts = Acts(work)
    asked: list[Any] = [shown, parts.order, parts.label]
    turns: dict[str, Any] = {"show_progress": "hidden", "concurrency_id": "mistakes", "concurrency_limit": 1}
    chosen = [parts.order.input, parts.label.input]
    gr.on(chosen, acts.redraw, asked, parts.photos, trigger_mode="always_last", **turns)
    parts.photos.select(acts.turn, asked, parts.photos, trigger_mode="multiple", **turns)


def draw(examined: Examined, order: str) -> tuple[Any, ...]:
    """The card of a run that was just chosen; outputs are ``shown``."""
    choices = [_ALL, *((name, name) for name in _classes(examined))]
    return gr.update(choices=choices, value=""), photos(examined, order, "", 0)


@dataclass(frozen=True)
class Acts:
    """The card's event handlers."""

    work: Workspace

    @toasts
    def redraw(self, shown: Shown, order: str, label: str | None) -> str:
        """Another order, or another class."""
        return photos(self.work.examiner.found(shown), order, label or "", 0)

    @toasts
    def turn(self, shown: Shown, order: str, label: str | None, event: gr.EventData) -> Any:
        """Another page was picked."""
        kind, numbers = photo_grid.picked(event)
        if kind != "photos":
            return gr.skip()
        return photos(self.work.examiner.found(shown), order, label or "", numbers[0])


def photos(examined: Examined, order: str, label: str, page: int) -> str:
    """A page of them, of one class or, for "", of all."""
    classes = examined.answers.classes
    number = classes.index(label) if label in classes else None
    numbers = ordered(examined.judged, cast(Order, order), number)
    if not len(numbers):
        of = "" if number is None else f" of class {label}"
        if number is not None and not (examined.judged.labels == number).any():
            return markup.hint(f"None of these photos is{of}.")
        return markup.hint(f"No photo{of} is wrong. Look at those said least surely instead.")
    caption = _SAID[order].format(words.plural(len(numbers), "photo"))
    return photo_grid.grid(examined, numbers, page, f"{caption}.")


def _classes(examined: Examined) -> list[str]:
    """Those with mistakes first, the most mistakes first."""
    wrong = examined.metrics.confusion.sum(1) - examined.metrics.confusion.diagonal()
    return [examined.answers.classes[int(n)] for n in (-wrong).argsort(kind="stable")]
