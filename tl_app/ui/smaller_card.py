"""A smaller copy of a run, on the Export tab: fills the form of the Train tab, where it is started like any training.

Knows nothing of how answers are imitated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from tl_app import loading
from tl_app.config import TrainConfig
from tl_app.distilling import settings_from
from tl_app.errors import UsageError
from tl_app.ui import markup, picker, settings
from tl_app.ui.blocks import html
from tl_app.ui.workspace import Workspace

_EXPLAINED = (
    "Too large or too slow? Another backbone can learn from this run's answers and the labels of its photos "
    "(distillation). That is a training of its own, with this run as its teacher."
)

TITLES = {"tl-smaller-go": "Fills the form on the Train tab. Nothing is trained yet."}


@dataclass(frozen=True)
class SmallerCard:
    """The components; the page wires ``fill`` to the form."""

    backbone: gr.Dropdown
    fill: gr.Button


def lay_out() -> SmallerCard:
    """Puts the card where it stands in the page."""
    with gr.Accordion("Make a smaller copy", open=False, elem_id="tl-smaller") as card:
        html(f'<p class="tl-fine">{markup.text(_EXPLAINED)}</p>', elem_id="tl-smaller-what")
        with gr.Row(equal_height=False):
            backbone = gr.Dropdown(
                [],
                value=None,
                label="Backbone of the copy",
                info="Type to search; those on disk need no network.",
                scale=3,
                min_width=260,
                elem_id="tl-smaller-backbone",
            )
            fill = gr.Button("Fill the Train form →", scale=1, min_width=200, elem_id="tl-smaller-go")
    card.expand(_listed, backbone, backbone, show_progress="hidden")
    return SmallerCard(backbone, fill)


def _listed(chosen: str | None) -> Any:
    loading.wait()
    return gr.update(choices=picker.backbones(), value=chosen)


def fill(work: Workspace, run: str | None, backbone: str | None) -> tuple[Any, ...]:
    """The form for a copy of a run: outputs of ``Settings.all``.

    Raises:
        UserError: Nothing is chosen, or the run is gone or has no model.
    """
    if not run or not backbone:
        raise UsageError("There is no run, or no backbone for its copy.", remedy="Choose both first.")
    loading.wait()
    info = work.open_with_photos(run)
    config = work.checked(TrainConfig.from_dict(settings_from(info) | {"backbone": backbone}))
    if work.dataset(config.data) is None:
        gr.Info(f"The copy learns from {markup.text(config.data)}: choose these photos on the Data tab.")
    return settings.filled(config, len(info.classes), work.runs_dir, keep=("data", "device"))
