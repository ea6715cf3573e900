"""Photos of an examined run as thumbnails one can pick: what they are, what was said, and how surely; in pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from tl_app import words
from tl_app.ui import markup, theme, thumbnails

if TYPE_CHECKING:
    from tl_app.analysis.examined import Examined

PAGE = 24
SIDE = 160


def pickable(value: str, *, label: str, elem_id: str, **extra: Any) -> gr.HTML:
    """A place for markup whose parts with ``data-pick`` can be picked; :func:`picked` reads what was."""
    return gr.HTML(
        value,
        label=label,
        js_on_load=theme.script("picks"),
        apply_default_css=False,
        elem_id=elem_id,
        **extra,
    )


def picked(event: gr.EventData) -> tuple[str, list[int]]:
    """What was picked: its kind, and its numbers; an empty kind for what is none."""
    kind, _, rest = str((event._data or {}).get("pick", "")).partition(":")
    try:
        return kind, [int(number) for number in rest.split(",")]
    except ValueError:
        return "", []


def grid(examined: Examined, numbers: np.ndarray, page: int, caption: str) -> str:
    """A page of photos.

    Args:
        examined: The run.
        numbers: The photos' places among its answers, all pages.
        page: Counted from 0.
        caption: What they are.
    """
    start = max(0, min(page, (len(numbers) - 1) // PAGE)) * PAGE
    shown = [int(number) for number in numbers[start : start + PAGE]]
    answers = examined.answers
    files = [(answers.paths[number], answers.contents[number]) for number in shown]
    pictures = thumbnails.of_files(answers.root, files, SIDE)
    tiles = "".join(tile(examined, n, picture) for n, picture in zip(shown, pictures, strict=True))
    head = f'<p class="tl-fine">{markup.text(caption)}</p>'
    return f'{head}<div class="tl-photos" data-keys>{tiles}</div>{pager(start, PAGE, len(numbers), "photos")}'


def tile(examined: Examined, number: int, picture: str) -> str:
    """One photo that can be picked."""
    answers, judged = examined.answers, examined.judged
    true, said = (answers.classes[int(which[number])] for which in (judged.labels, judged.said))
    sure = words.percent(float(judged.confidence[number]), 0)
    wrong = true != said
    words_ = f"<b>{markup.text(true)}</b> → {markup.text(said)}" if wrong else f"<b>{markup.text(true)}</b> ✓"
    image = f'<img src="{picture}" alt="" loading="lazy">' if picture else no_picture()
    return (
        f'<button type="button" class="tl-photo{" tl-wrong" if wrong else ""}" data-pick="photo:{number}" '
        f'title="{markup.text(answers.paths[number])}" aria-label="{markup.text(in_words(examined, number))}">'
        f"{image}<span>{words_}</span><small>{sure} sure</small></button>"
    )


def in_words(examined: Examined, number: int) -> str:
    """What a photo is, what was said, and how surely."""
    classes, judged = examined.answers.classes, examined.judged
    true, said = (classes[int(which[number])] for which in (judged.labels, judged.said))
    sure = words.percent(float(judged.confidence[number]), 0)
    return f"{true}, {sure} sure" if true == said else f"{true}, taken for {said}, {sure} sure"


def no_picture() -> str:
    """Stands for a photo that is gone."""
    return '<i class="tl-gone">photo is gone</i>'


def pager(start: int, size: int, total: int, kind: str) -> str:
    """Buttons to the page before and after, and where one is; nothing when there is one page.

    Args:
        start: The first place shown.
        size: Places a page.
        total: Places in all.
        kind: Picked is ``kind:page``.
    """
    if total <= size:
        return ""
    page = start // size
    back = _turn("←", "Page before", f"{kind}:{page - 1}", start > 0)
    on = _turn("→", "Next page", f"{kind}:{page + 1}", start + size < total)
    place = f"{start + 1:,}–{min(start + size, total):,} of {total:,}"
    return f'<div class="tl-pager">{back}<span>{place}</span>{on}</div>'


def _turn(sign: str, label: str, pick: str, usable: bool) -> str:
    off = "" if usable else " disabled"
    return f'<button type="button" class="tl-button" data-pick="{pick}" aria-label="{label}"{off}>{sign}</button>'
