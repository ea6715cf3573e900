"""The demo's page: one photo, or a batch of them, and what one model says. It has no way to anything else.

Knows a loaded predictor; nothing of runs and training, of the app's own page, or of who may come in.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from tl_app import cards, look
from tl_app.data.decode import thumbnail
from tl_app.demo.answering import MAX_BYTES, Answering
from tl_app.errors import PhotoError, UsageError
from tl_app.markup import text

MOST_PHOTOS = 20  # in the table
MOST_EXAMPLES = 12
QUEUE = 32
# Of these that run side by side most wait for their batch: 32 more can queue, and the 65th visitor is asked to wait.
SIDE_BY_SIDE = 32
_EXAMPLE_SIDE = 168  # pixels; shown at half of it


@dataclass(frozen=True)
class About:
    """What visitors are told of the model.

    Attributes:
        title: The demo's name.
        classes: What it tells apart.
        quality: How good it is, in a sentence; empty when that is not known.
    """

    title: str
    classes: tuple[str, ...]
    quality: str = ""


def build_demo(answering: Answering, about: About, examples: Sequence[bytes] = ()) -> gr.Blocks:
    """The page, not yet served.

    Args:
        answering: Answers the page's questions with the one model.
        about: What it says of that model.
        examples: The contents of photos that visitors may try, the same that ``answering`` has.

    Raises:
        UsageError: An example cannot be read, or there are too many.
    """
    shown = example_pictures(examples)
    limits = {"megabytes": MAX_BYTES // 1_000_000, "most": MOST_PHOTOS}
    with gr.Blocks(title=about.title, analytics_enabled=False) as demo:
        gr.HTML(_header(about), apply_default_css=False, js_on_load=None, elem_id="tl-header")
        with gr.Tabs(elem_id="tl-tabs"):
            with gr.Tab("One photo", id="one"):
                one = _place(
                    "demo-one.html", "Take a photo, or drop one here", many=False, **limits, examples=shown
                )
            with gr.Tab("Many photos", id="many"):
                title = f"Choose up to {MOST_PHOTOS} photos"
                many = _place("demo-many.html", title, many=True, **limits)
        gr.HTML(_promise(), apply_default_css=False, js_on_load=None)

    async def ask(event: gr.EventData) -> dict[str, Any]:
        return await answering.ask(event._data)

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    with demo:
        for place in (one, many):
            asked = place.select(
                ask,
                None,
                place,
                trigger_mode="multiple",
                concurrency_limit=SIDE_BY_SIDE,
                concurrency_id="ask",
                **quiet,
            )
            asked.failure(None, None, place, js=look.script("failed"), **quiet)
    # With an open API anyone could ask beside the queue.
    demo.queue(max_size=QUEUE, default_concurrency_limit=SIDE_BY_SIDE, api_open=False)
    return demo


def example_pictures(examples: Sequence[bytes]) -> list[str]:
    """Small pictures of example photos as data URIs.

    Raises:
        UsageError: One cannot be read, or there are too many.
    """
    if len(examples) > MOST_EXAMPLES:
        raise UsageError(f"There are {len(examples)} example photos.", f"At most {MOST_EXAMPLES} are shown.")
    return [_picture(number, content) for number, content in enumerate(examples, 1)]


def _picture(number: int, content: bytes) -> str:
    out = io.BytesIO()
    try:
        thumbnail(content, _EXAMPLE_SIDE).save(out, "JPEG", quality=82)
    except PhotoError as error:
        raise UsageError(
            f"Example photo {number} cannot be used: {error}", remedy="Choose another."
        ) from error
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"


def _place(template: str, title: str, *, many: bool, **props: Any) -> gr.HTML:
    info = (
        f"or paste with Ctrl+V. Up to {MAX_BYTES // 1_000_000} MB; JPEG, PNG, WebP, HEIC and others are read."
    )
    zone = cards.drop_zone(look.asset("drop.html"), title, info, many=many)
    return gr.HTML(
        label=title,
        html_template=look.asset(template).strip().replace("ZONE", zone),
        js_on_load=look.script("explained", "drop", "demo"),
        apply_default_css=False,
        elem_id="tl-many" if many else "tl-one",
        **props,
    )


def _header(about: About) -> str:
    named = ", ".join(about.classes[:12])
    rest = f" and {len(about.classes) - 12} more" if len(about.classes) > 12 else ""
    return (
        f'<header class="tl-header">{look.asset("logo.svg")}<div><h1>{text(about.title)}</h1>'
        f"<p>Tells apart: {text(named + rest)}.</p></div></header>"
        + (f'<p class="tl-demo-fine">{text(about.quality)}</p>' if about.quality else "")
    )


def _promise() -> str:
    sentence = (
        "Your photo goes to the computer of whoever gave you this link, is looked at by a model, and deleted there "
        "right after the answer. Nothing of it is kept. A model can be wrong, also when it is sure."
    )
    return f'<p class="tl-demo-fine">{text(sentence)}</p>'
