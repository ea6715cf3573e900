"""The cards of the Try it tab: a photo, its classes as bars, and what speaks against the answer.

Knows predictions, not what made them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tl_app import markup, words
from tl_app.cards import answer, button
from tl_app.errors import PhotoError
from tl_app.ui import thumbnails, why

if TYPE_CHECKING:
    from tl_app.predictor import Prediction

_SIDE = 320
_NO_PICTURE = '<div class="tl-no-picture" aria-hidden="true">?</div>'


def cost(views: int, one: float, all_: float) -> str:
    """What averaging costs, for people.

    Args:
        views: How many.
        one: Seconds for a photo as it is.
        all_: Seconds for all views of it.
    """
    slower = f"about {all_ / one:.0f}× slower: {words.milliseconds(one)} → {words.milliseconds(all_)} a photo"
    return f'<div class="tl-why tl-ready">Averaged over {views} views, {markup.text(slower)}.</div>'


def cards(predictions: Sequence[Prediction], source: str, *, explained: bool = True) -> str:
    """A card per photo: the picture, and its classes as bars or the reason why there are none.

    Args:
        predictions: One per photo.
        source: What made them, for people.
        explained: Whether it can say why.
    """
    made_by = f'<p class="tl-fine">Classified by {markup.text(source)}.</p>'
    return f'{made_by}<div class="tl-cards">{"".join(_card(one, explained) for one in predictions)}</div>'


def _card(one: Prediction, explained: bool) -> str:
    name = markup.text(Path(one.path).name)
    if one.error:
        picture, body, marks = _NO_PICTURE, markup.message(one.error, "error"), ""
    else:
        ask = button(one.label, "Why?", "tl-why-ask") if explained else ""
        picture = _picture(one.path, name) + ask
        body, marks = answer(one, explained=explained), why.card(one.path) if explained else ""
    text = f'<div><h4 title="{name}">{name}</h4>{body}</div>'
    return f'<article class="tl-card" {marks}><figure>{picture}</figure>{text}</article>'


def _picture(path: str, name: str) -> str:
    try:
        return f'<img src="{thumbnails.data_uri(Path(path), _SIDE)}" alt="{name}">'
    except PhotoError:  # deleted since it was classified
        return _NO_PICTURE
