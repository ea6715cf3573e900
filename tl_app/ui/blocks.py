"""Two kinds of ``gr.HTML`` the tabs are made of: a place for markup, and a Plotly figure updated in place.

``gr.Plot`` rebuilds its SVG on every update; here the browser's own ``Plotly.react`` does the update, without
flicker and without losing the zoom, with plotly's drawing code served by the app. What is drawn comes from
``tl_app.plots``, and the markup from ``tl_app.ui.markup``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from tl_app.ui import markup, theme


def figure(
    *,
    label: str,
    hint: str,
    elem_id: str,
    value: dict[str, Any] | None = None,
    scripts: Sequence[str] = ("figure",),
    **extra: Any,
) -> gr.HTML:
    """A place for one figure.

    Args:
        label: What the figure shows, for screen readers.
        hint: Shown while there is no figure.
        elem_id: The element's name in the page.
        value: A figure as plain dictionaries, or ``None``.
        scripts: Names of those it runs, one after the other.
        extra: More of gradio's own arguments.
    """
    template = (
        f'<div class="tl-plot-hint tl-hint">{markup.text(hint)}</div>'
        f'<div class="tl-plot" role="img" aria-label="{markup.text(label)}" hidden></div>'
    )
    return gr.HTML(
        value=value,
        label=label,
        html_template=template,
        js_on_load="\n".join(theme.script(name) for name in scripts),
        head=theme.PLOTLY_HEAD,
        apply_default_css=False,
        elem_id=elem_id,
        elem_classes=["tl-figure"],
        **extra,
    )


def html(value: str = "", *, elem_id: str, **extra: Any) -> gr.HTML:
    """A place for markup, without gradio's style for prose."""
    return gr.HTML(value, elem_id=elem_id, apply_default_css=False, js_on_load=None, **extra)
