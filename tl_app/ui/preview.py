"""A button that shows photos of the user's own as training would see them, with the settings as they stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from tl_app import loading
from tl_app.references import located
from tl_app.ui import form, markup, thumbnails
from tl_app.ui.blocks import html
from tl_app.ui.form import Form
from tl_app.ui.toasts import toasts
from tl_app.ui.workspace import Workspace

if TYPE_CHECKING:
    from tl_app.preview import Picture, Strip

_SIDE = 144
_NO_PHOTOS = "No photos are chosen yet. Choose them on the Data tab, then press Preview."
_TO_COME = "Press Preview to see photos of yours as training sees them with these settings."

TITLES = {"tl-preview-ask": "Shows some of your photos as training would see them with these settings."}


@dataclass(frozen=True)
class Preview:
    """The components of the preview."""

    ask: gr.Button
    shown: gr.HTML


def lay_out() -> Preview:
    """The button with the place for the pictures."""
    ask = gr.Button("Preview", size="sm", elem_id="tl-preview-ask")
    return Preview(ask, html(markup.hint(_TO_COME), elem_id="tl-preview", min_height=64))


def bind(parts: Preview, work: Workspace, source: gr.State, fields: Form) -> None:
    """Lets the button show photos chosen on the Data tab with the settings of the form."""

    @toasts
    def show(source: str, **values: Any) -> str:
        return shown(work, source, values)

    parts.ask.click(show, source, parts.shown, inputs_kwargs=fields, show_progress_on=[parts.shown])


def shown(work: Workspace, source: str, values: dict[str, Any]) -> str:
    """The pictures as markup, or what is missing.

    Args:
        work: The app's memory.
        source: Names the photos.
        values: The form's.

    Raises:
        UserError: Settings are not allowed, or a photo cannot be read.
    """
    index = work.dataset(source)
    if index is None:
        return markup.hint(_NO_PHOTOS)
    loading.wait()
    from tl_app.preview import preview

    config = located(work.checked(form.read(values | {"data": source})), work.runs_dir)
    return grid(preview(config, index))


def grid(strips: Sequence[Strip]) -> str:
    """A row of pictures per strip, each with its caption."""
    rows = "".join(
        f'<section aria-label="{markup.text(strip.title)}"><h4>{markup.text(strip.title)}</h4>'
        f'<div class="tl-views">{"".join(_picture(strip.title, each) for each in strip.pictures)}</div></section>'
        for strip in strips
    )
    return f'<div class="tl-preview">{rows}</div>'


def _picture(title: str, picture: Picture) -> str:
    caption = markup.text(picture.caption)
    uri = thumbnails.of_pixels(picture.pixels.permute(1, 2, 0).numpy(), _SIDE)
    return f'<figure><img src="{uri}" alt="{markup.text(title)}, {caption}"><figcaption>{caption}</figcaption></figure>'
