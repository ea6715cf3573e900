"""The slider between a run's probe and its tuned model, on the Runs tab: accuracy along the way, and one kept.

Shown for runs that trained their head alone first. Knows nothing of how blends are made.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from tl_app import loading, runs, words
from tl_app.ui import markup
from tl_app.ui.blocks import html
from tl_app.ui.toasts import toasts
from tl_app.ui.workspace import Workspace

if TYPE_CHECKING:
    from tl_app.blending import BlendPoint, Measured

_START = 0.5
_STEP = 0.05
_WHAT = (
    "Models between the source with the head of the first phase and the tuned one, weight by weight (WiSE-FT). "
    "One in the middle can do better than either, most of all on photos unlike yours."
)

TITLES = {
    "tl-blend-measure": "Tries five blends on the validation photos; seconds on a small folder. Nothing is changed.",
    "tl-blend-keep": "Makes a new finished run of this blend. The run that is open stays as it is.",
}


@dataclass(frozen=True)
class BlendPanel:
    """The panel's components."""

    panel: gr.Column
    measure: gr.Button
    row: gr.Row
    slider: gr.Slider
    keep: gr.Button
    here: gr.HTML
    table: gr.HTML

    @property
    def shown(self) -> list[Any]:
        """Outputs of ``opened``, ``measure`` and ``released``."""
        return [self.panel, self.measure, self.row, self.slider, self.here, self.table]


def lay_out() -> BlendPanel:
    """Puts the panel where it stands in the page; :func:`bind` brings it to life."""
    with gr.Column(visible=False, elem_id="tl-blend") as panel:
        html(f"<p><strong>Blend with the source</strong></p>{markup.hint(_WHAT)}", elem_id="tl-blend-what")
        measure = gr.Button("Measure blends", elem_id="tl-blend-measure")
        with gr.Row(visible=False, equal_height=False, elem_id="tl-blend-row") as row:
            with gr.Column(min_width=300):
                slider = gr.Slider(
                    0,
                    1,
                    value=_START,
                    step=_STEP,
                    label="Share of the tuned model, α",
                    info="0 is the source with the first head, 1 the tuned model. Let go to measure.",
                    elem_id="tl-blend-alpha",
                )
                here = html(elem_id="tl-blend-here", min_height=40)
                keep = gr.Button("Keep as a new run", variant="primary", elem_id="tl-blend-keep")
            with gr.Column(min_width=300):
                table = html(elem_id="tl-blend-table")
    return BlendPanel(panel, measure, row, slider, keep, here, table)


def bind(parts: BlendPanel, work: Workspace, open_name: gr.State, opening: Sequence[Any]) -> Any:
    """Binds the panel's events to its components and to those that open a run; returns that which makes a run."""
    acts = Acts(work)
    quick: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
    busy: dict[str, Any] = {"show_progress_on": [parts.here]}
    for opened in opening:
        opened.success(acts.opened, open_name, parts.shown, **quick)
    parts.measure.click(acts.measure, open_name, parts.shown, show_progress_on=[parts.measure])
    parts.slider.input(acts.moved, [open_name, parts.slider], parts.here, **quick)
    parts.slider.release(acts.released, [open_name, parts.slider], parts.shown, **busy)
    return parts.keep.click(acts.keep, [open_name, parts.slider], parts.here, **busy)


@dataclass(frozen=True)
class Acts:
    """The panel's event handlers."""

    work: Workspace

    @toasts
    def opened(self, name: str) -> tuple[Any, ...]:
        """Shows what was measured before, or the button that measures."""
        if not name or not self.work.open_run(name).has_probe:
            return gr.update(visible=False), *[gr.skip()] * 5
        return self._shown(self._known(name))

    @toasts
    def measure(
        self,
        name: str,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[Any, ...]:
        """The few blends that all others are estimated from."""
        loading.wait()
        from tl_app.blending import ALPHAS

        def report(done: int, total: int) -> None:
            progress((done, total), desc="Measuring blends", unit="blends")

        return self._shown(self._measured(name, ALPHAS, report))

    def moved(self, name: str, alpha: float) -> str:
        """While the slider is dragged: measured points as they are, others estimated from those beside them."""
        known = self._known(name)
        return "" if known is None else here(known, alpha)

    @toasts
    def released(self, name: str, alpha: float) -> tuple[Any, ...]:
        """Measures the blend that the slider was left at."""
        from tl_app.blending import ALPHAS

        some = () if self._known(name) else ALPHAS  # the run was trained further, or its file is gone
        return self._shown(self._measured(name, [*some, alpha]), alpha)

    @toasts
    def keep(self, name: str, alpha: float) -> str:
        """A new finished run of the blend that the slider stands at."""
        from tl_app.keeping import keep_blend

        found = keep_blend(self.work.open_run(name), alpha, self.work.runs_dir)
        assert found.kept is not None
        gr.Info(f"Run {markup.text(found.kept.name)} is made.")
        sentence = f"Kept as run {found.kept.name}; it is first in the list above."
        return f'<div class="tl-why tl-ready">{markup.text(sentence)}</div>'

    def _measured(
        self, name: str, alphas: Sequence[float], report: Callable[[int, int], None] = lambda *_: None
    ) -> Measured | None:
        """Measures, and says so when all that was known before had to be measured again."""
        from tl_app import blending

        before = self._known(name)
        found = blending.blend_run(self.work.open_run(name), alphas, report=report)
        known = self._known(name)
        if before is not None and known is not None and before.photos != known.photos:
            gone = f"; {found.left_out} more cannot be read any more" if found.left_out else ""
            gr.Warning(
                "The validation photos are not those that the blends were measured on, so all were measured again, "
                f"on {words.plural(found.images, 'photo')}{gone}."
            )
        return known

    def _known(self, name: str) -> Measured | None:
        """What was measured of a run, when that is enough for any α."""
        path = self.work.open_run(name).path
        file = path / "blend.safetensors"
        try:
            known = _read(path, file.stat().st_mtime_ns)
        except FileNotFoundError:
            return None
        return known if known is not None and {0.0, 1.0} <= known.points.keys() else None

    def _shown(self, known: Measured | None, alpha: float | None = None) -> tuple[Any, ...]:
        """The slider at an α, or at the best one; the button that measures while too little is known."""
        if known is None:
            hidden, asked = gr.update(visible=False), gr.update(visible=True)
            return gr.update(visible=True), asked, hidden, gr.skip(), gr.skip(), gr.skip()
        alpha = best_of(list(known.points.values())).alpha if alpha is None else alpha
        return (
            gr.update(visible=True),
            gr.update(visible=False),
            gr.update(visible=True),
            alpha,
            here(known, alpha),
            table_of(list(known.points.values()), len(known.labels)),
        )


@functools.lru_cache(maxsize=2)
def _read(path: Path, _: int) -> Measured | None:
    """Read once for every time that the file is written: a dragged slider asks often."""
    loading.wait()
    from tl_app import blending

    return blending.measured(runs.open_run(path, path.parent))


def here(known: Measured, alpha: float) -> str:
    """What is known of one α."""
    alpha = round(alpha, 4)
    point, photos = known.estimate(alpha), words.plural(len(known.labels), "validation photo")
    if alpha in known.points:
        said = f"α = {alpha:g}: {words.percent(point.accuracy)} of {photos} right, loss {point.loss:.3f}."
        return f'<div class="tl-why tl-ready">{markup.text(said)}</div>'
    said = (
        f"α = {alpha:g}: about {words.percent(point.accuracy)} of {photos}, judged by the blends beside it."
    )
    return f'<div class="tl-why">{markup.text(said)}</div>'


def best_of(points: Sequence[BlendPoint]) -> BlendPoint:
    """The most accurate, of equals the one with the smallest loss."""
    return max(points, key=lambda point: (point.accuracy, -point.loss))


def table_of(points: Sequence[BlendPoint], photos: int) -> str:
    """All that was measured, by α."""
    best = best_of(points)
    rows = [
        (
            f"{point.alpha:g}",
            words.percent(point.accuracy) + (" (best)" if point is best else ""),
            f"{point.loss:.3f}",
        )
        for point in sorted(points, key=lambda point: point.alpha)
    ]
    caption = f"Measured on {words.plural(photos, 'validation photo')}"
    fine = "The best of several, chosen by the same photos, is a little optimistic."
    table = markup.table(("α", "Right", "Loss"), rows, caption=caption)
    return f'{table}<p class="tl-fine">{markup.text(fine)}</p>'
