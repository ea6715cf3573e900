"""The network drawn as a strip of stages, frozen ones tinted, under the freezing-depth slider.

The figures for every depth are worked out here once per backbone; the browser only picks one as one slides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from tl_app import loading, words
from tl_app.errors import UserError
from tl_app.ui import form, theme

if TYPE_CHECKING:
    from tl_app.transfer.heads import Head

HEAD_FIELDS = (
    "head",
    "hidden",
    "pooling",
    "image_size",
    "fuse_stages",
    "fuse_backbone",
)  # what the head's size and the stages before it depend on

_TEMPLATE = (
    '<div class="tl-strip">'
    '<div class="tl-stages" role="group" aria-label="Stages of the network, input to head"></div>'
    '<p class="tl-strip-text" aria-live="polite">The networks to choose from are being loaded …</p></div>'
)


def strip(slider_id: str, depth: int) -> gr.HTML:
    """The strip that follows the slider with that element id; says that it waits until it is given a value.

    Args:
        slider_id: The slider's.
        depth: Where the slider stands.
    """
    return gr.HTML(
        label="Stages of the network",
        html_template=_TEMPLATE,
        js_on_load=theme.script("strip"),
        apply_default_css=False,
        elem_id="tl-strip",
        slider=slider_id,
        start=depth,
    )


def value_of(backbone: str, depth: int | None, classes: int, head: Sequence[Any] = ()) -> dict[str, Any]:
    """What the strip shows.

    Args:
        backbone: Its name.
        depth: The freezing depth chosen; None for the one that the strip stands at.
        classes: Of the target task, for the size of the new head.
        head: What the form's :data:`HEAD_FIELDS` hold; nothing for a linear head.
    """
    loading.wait()
    from tl_app.backbones.catalogue import get_backbone
    from tl_app.backbones.staged import stage_parameters
    from tl_app.transfer.heads import ending_for, parameters

    asked, image_size = _head_of(backbone, head)
    *stages, _ = stage_parameters(backbone, ending_for(asked, backbone))
    size = parameters(backbone, asked, classes, image_size)
    return {
        "backbone": get_backbone(backbone).label,
        "stages": [_part(name, count) for name, count in stages],
        "head": _part("head", size),
        "depth": depth,
        "summaries": summaries([count for _, count in stages], size),
    }


def stage_count(backbone: str, head: Sequence[Any] = ()) -> int:
    """How many stages can be frozen in front of a head."""
    loading.wait()
    from tl_app.backbones.staged import stage_parameters
    from tl_app.transfer.heads import ending_for

    return len(stage_parameters(backbone, ending_for(_head_of(backbone, head)[0], backbone))) - 1


def _head_of(backbone: str, values: Sequence[Any]) -> tuple[Head, int | None]:
    """The head and the image size; a linear head for settings that do not go together, which Start will say of them."""
    loading.wait()
    from tl_app.backbones.catalogue import get_backbone
    from tl_app.transfer.heads import LINEAR, ending_for, head_of

    try:
        config = form.read(dict(zip(HEAD_FIELDS, values, strict=False)))
        asked = head_of(config)
        ending_for(asked, backbone)
        size = config.image_size or get_backbone(backbone).image_size
        for name in filter(None, (backbone, config.fuse_backbone)):
            get_backbone(name).check_image_size(size)
    except UserError:
        return LINEAR, None
    return asked, config.image_size


def summaries(stages: list[int], head: int) -> list[str]:
    """One sentence for each freezing depth, 0 to all stages.

    Args:
        stages: Parameters per stage.
        head: Parameters of the head.
    """
    total = sum(stages) + head
    sentences = []
    for depth in range(len(stages) + 1):
        trained = total - sum(stages[:depth])
        amount = f"{words.count(trained)} of {words.count(total)} parameters ({words.share(trained, total)})"
        if depth == 0:
            sentences.append(f"Everything is trained: {amount}.")
        elif depth == len(stages):
            all_of_them = f"All {depth} stages are" if depth > 1 else "The one stage is"
            sentences.append(f"Only the head is trained: {amount}. {all_of_them} frozen.")
        else:
            sentences.append(f"{amount} are trained; {depth} of {len(stages)} stages are frozen.")
    return sentences


def _part(name: str, parameters: int) -> dict[str, Any]:
    # Widths grow with the parameters, but slowly: late stages often have a hundred times those of the stem.
    return {
        "name": name,
        "parameters": words.count(parameters),
        "weight": round(max(1, parameters) ** 0.2, 2),
    }
