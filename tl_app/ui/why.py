"""Cards that answer "why?": a click shows what on a photo spoke for a class, in the place of the photo.

Any tab may have such cards: marked with :func:`card`, inside an element that a :func:`place` listens to. Knows nothing
of where photos come from; whoever binds the event says which of them may be asked about.
"""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from tl_app import loading
from tl_app.cards import button
from tl_app.errors import UsageError
from tl_app.ui import markup, theme

if TYPE_CHECKING:
    from tl_app.predictor import Predictor

__all__ = ["Question", "answer", "asked", "button", "card", "failed", "place"]


@dataclass(frozen=True)
class Question:
    """What a click asked.

    Attributes:
        photo: As the card is marked.
        label: The class.
        turn: The click's number, which its answer carries back.
    """

    photo: str
    label: str
    turn: int


def failed() -> dict[str, float]:
    """An answer that never came; the error has been shown. Each is another, since the page hears only of changes."""
    return {"failed": time.time()}


def place(target: str) -> gr.HTML:
    """Listens to the cards of an element; triggers ``select`` with a question, and shows the answer it is given.

    Args:
        target: The element's id.
    """
    return gr.HTML(
        label="Why?",
        html_template="<span hidden></span>",
        js_on_load=theme.script("explained", "why"),
        apply_default_css=False,
        elem_classes=["tl-why-place"],
        target=target,
    )


def card(photo: str) -> str:
    """The attribute that makes an element a card of this photo; there is a figure in it."""
    return f'data-photo="{markup.text(photo)}"'


def asked(data: Any) -> Question:
    """The question that an event carries.

    Raises:
        UsageError: It carries none.
    """
    try:
        return Question(str(data["photo"]), str(data["label"]), int(data["turn"]))
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError("The question did not arrive.", remedy="Click again.") from error


def answer(predictor: Predictor, question: Question) -> dict[str, Any]:
    """What the place shows for a question about a file, which the caller has found to be one that may be read.

    Raises:
        UserError: The photo has gone, or there is no such class.
    """
    loading.wait()
    from tl_app.analysis.explaining import explain_photo

    found = explain_photo(predictor, question.photo, question.label)
    picture = f"data:image/png;base64,{base64.b64encode(found.overlay).decode()}"
    return {"turn": question.turn, "label": found.label, "picture": picture, "legend": found.legend}
