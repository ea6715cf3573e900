"""What a page says of a photo: its classes as bars, what speaks against the answer, and where photos are dropped.

Shared by the Try it tab and the demo, so that both use the same words. Knows nothing of components.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tl_app import words
from tl_app.data.decode import EXTENSIONS
from tl_app.markup import text

if TYPE_CHECKING:
    from tl_app.predictor import Prediction

NOT_SURE = "Not sure: answers like this one are wrong more often."
UNFAMILIAR = "Unlike the training photos: it may show none of the classes."


def answer(one: Prediction, *, explained: bool = True) -> str:
    """The most likely classes as bars, and what speaks against them; for a photo that could be read.

    Args:
        one: The prediction.
        explained: Whether what made it can say why.
    """
    said = doubt(one)
    bars = "".join(bar(label, share, explained=explained) for label, share in one.top)
    return bars + (f'<p class="tl-fine">{text(said)}</p>' if said else "")


def doubt(one: Prediction) -> str:
    """What speaks against a prediction, in a sentence; empty when nothing does."""
    if one.unfamiliar:
        return UNFAMILIAR
    return NOT_SURE if one.sure is False else ""


def bar(label: str, share: float, *, explained: bool = True) -> str:
    """A class with its probability, 0 to 1, as a bar that asks why where that can be answered."""
    content = (
        f"<span>{text(label)}</span><b>{words.percent(share)}</b>"
        f'<span class="tl-bar"><i style="width:{share * 100:.1f}%"></i></span>'
    )
    return button(label, content, "tl-class") if explained else f'<div class="tl-class">{content}</div>'


def button(label: str, content: str, css: str) -> str:
    """A button inside a card that asks what spoke for a class.

    Args:
        label: The class.
        content: What it shows, as markup.
        css: Its class in the style sheet.
    """
    name = text(label)
    return (
        f'<button type="button" class="{css}" data-label="{name}" aria-pressed="false" '
        f'title="Shows what on the photo spoke for “{name}”, and the photo again.">{content}</button>'
    )


def drop_zone(template: str, title: str, info: str, *, many: bool) -> str:
    """The template of a place for photos, filled in.

    Args:
        template: Of ``drop.html``.
        title: What may be dropped.
        info: What else is to be known.
        many: Whether several files may be chosen at once.
    """
    accepted = ",".join(["image/*", *sorted(EXTENSIONS)])
    filled = template.strip().replace("ACCEPT", accepted).replace("TITLE", text(title))
    filled = filled.replace("CHOOSE", "Choose photos" if many else "Choose a photo")
    return filled.replace("INFO", text(info)).replace("MULTIPLE", "multiple" if many else "")
