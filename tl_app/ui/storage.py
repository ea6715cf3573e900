"""The Storage panel: what the app keeps on disk to be fast, what it may take, and a way to clear it.

Knows nothing of what is in an entry; runs and photos are never touched here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
import psutil

from tl_app import caches, words
from tl_app.caches import CacheInfo
from tl_app.errors import ResourceError
from tl_app.ui import markup
from tl_app.ui.blocks import html
from tl_app.ui.toasts import toasts

_KINDS = {
    "boundary": "Activations of frozen stages",
    "decoded": "Decoded photos",
    "scans": "What is known of photo folders",
    "speeds": "Speeds measured here",
    "thumbnails": "Thumbnails",
    "zips": "Unpacked zips",
}
_HEADERS = ("Kept", "Size", "Last used")
_EMPTY = "Nothing is kept yet. The first training keeps its decoded photos here, so that the next one starts faster."
_EXPLAINED = (
    "All of it can be made again: clearing costs time, never photos or runs. At the limit, what was not used for "
    "longest goes first. In a terminal, tl-app cache limit 20GB sets the limit."
)

TITLES = {
    "tl-clear-cache": "Asks once more before anything is cleared.",
    "tl-really-clear-cache": "Deletes everything in the table, except what a training is using now.",
    "tl-keep-cache": "Keeps everything.",
}


@dataclass(frozen=True)
class Storage:
    """The components that the page as a whole is wired to."""

    shown: list[Any]  # outputs of `show`


def build() -> Storage:
    """Lays the panel out, closed, and binds its events."""
    with gr.Accordion("Storage", open=False, elem_id="tl-storage") as panel:
        card = html(elem_id="tl-storage-card", min_height=120)
        small: dict[str, Any] = {"size": "sm", "min_width": 140}
        with gr.Row(elem_classes=["tl-buttons"]):
            clear = gr.Button("Clear the cache", elem_id="tl-clear-cache", interactive=False, **small)
        with gr.Row(visible=False, elem_classes=["tl-buttons"], elem_id="tl-confirm-clear") as confirm:
            really = gr.Button("Really clear?", variant="stop", elem_id="tl-really-clear-cache", **small)
            keep = gr.Button("Cancel", elem_id="tl-keep-cache", **small)
    shown = [card, clear, confirm]
    quick = {"show_progress": "hidden"}
    panel.expand(show, None, shown, queue=False, **quick)
    clear.click(ask, None, [clear, confirm, really], **quick)
    keep.click(show, None, shown, **quick)
    really.click(clear_all, None, shown, show_progress_on=[card])
    return Storage(shown)


def show() -> tuple[Any, ...]:
    """What is kept as of now, with nothing asked."""
    info = caches.info()
    return card_of(info), gr.update(interactive=bool(info.kinds)), gr.update(visible=False)


def ask() -> tuple[Any, ...]:
    """The first step of clearing: nothing happens yet."""
    question = gr.update(value=f"Really clear {words.size(caches.info().total_bytes)}?")
    return gr.update(interactive=False), gr.update(visible=True), question


@toasts
def clear_all() -> tuple[Any, ...]:
    """The second step.

    Raises:
        ResourceError: The cache cannot be written.
    """
    try:
        freed_bytes = caches.clear()
    except OSError as error:
        raise ResourceError(f"The cache could not be cleared: {error.strerror or error}.") from error
    used = len(caches.in_use())
    kept = f" {words.plural(used, 'entry', 'entries')} in use stayed." if used else ""
    gr.Info(f"{words.size(freed_bytes)} are free again.{kept}")
    return show()


def card_of(info: CacheInfo) -> str:
    """Sizes and limit, a line per kind, and where it is."""
    pairs = [
        ("Kept on disk", words.size(info.total_bytes)),
        ("Limit", words.size(info.budget_bytes)),
        ("Memory of this app", words.size(psutil.Process().memory_info().rss)),
    ]
    rows = [
        (_KINDS.get(kind.kind, kind.kind), words.size(kind.bytes), words.moment(kind.last_used))
        for kind in info.kinds
    ]
    table = markup.table(_HEADERS, rows, caption=f"In {info.where}") if rows else markup.hint(_EMPTY)
    explained = f'<p class="tl-fine">{_EXPLAINED}</p>'
    return f"{markup.facts(pairs)}{explained}{table}"
