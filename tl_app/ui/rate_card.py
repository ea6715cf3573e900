"""The learning-rate finder on the Train tab: its button, its curve, and a click that takes the suggestion over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from tl_app import plots
from tl_app.errors import UsageError
from tl_app.finding import RatesResult
from tl_app.ui import form, markup
from tl_app.ui.aside import Standing
from tl_app.ui.blocks import figure, html
from tl_app.ui.settings import Settings
from tl_app.ui.toasts import toasts
from tl_app.ui.workspace import Workspace

_EXPLAINED = (
    "A copy of the network takes up to 100 steps, each at a higher learning rate than the one before, and is thrown "
    "away. The middle of its loss's fall is a good rate to train with."
)

TITLES = {
    "tl-find-rate": "Searches with the settings as they are now; no run is made.",
    "tl-find-stop": "Ends the search within a step.",
    "tl-use-rate": "Puts the suggested rate into the settings.",
}


@dataclass(frozen=True)
class RateCard:
    """The components; :func:`bind` wires them to the form."""

    seen: gr.State
    clock: gr.Timer
    card: gr.HTML
    curve: gr.HTML
    find: gr.Button
    stop: gr.Button
    use: gr.Button

    @property
    def shown(self) -> list[Any]:
        """Outputs of every act but `use`."""
        return [self.seen, self.clock, self.card, self.curve, self.find, self.stop, self.use]


def build() -> RateCard:
    """Lays the card out."""
    with gr.Accordion("Learning-rate finder", open=False, elem_id="tl-finder"):
        card = html(_card(None), elem_id="tl-rate-card")
        curve = figure(
            label="Loss over the learning rate", hint="The curve appears here.", elem_id="tl-rate-curve"
        )
        with gr.Row(elem_classes=["tl-buttons"]):
            find = gr.Button("Find a learning rate", size="sm", elem_id="tl-find-rate", min_width=150)
            stop = gr.Button("Stop", size="sm", visible=False, elem_id="tl-find-stop", min_width=90)
            use = gr.Button("Use it", size="sm", visible=False, elem_id="tl-use-rate", min_width=120)
    return RateCard(gr.State(-1), gr.Timer(1.0, active=False), card, curve, find, stop, use)


def bind(parts: RateCard, work: Workspace, source: gr.State, chosen: Settings) -> None:
    """Wires the card to the form.

    Args:
        parts: From :func:`build`.
        work: The app's memory.
        source: Names the photos chosen on the Data tab.
        chosen: The form.
    """
    acts = Acts(work)
    quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
    rates = [chosen.form[name] for name in ("lr_head", "lr_backbone")]
    parts.find.click(acts.find, source, parts.shown, inputs_kwargs=chosen.form, show_progress="hidden")
    parts.stop.click(acts.stop, None, parts.shown, **quiet)
    parts.clock.tick(acts.tick, parts.seen, parts.shown, **quiet)
    parts.use.click(acts.use, rates[1], rates, **quiet)


@dataclass(frozen=True)
class Acts:
    """The card's event handlers."""

    work: Workspace

    @toasts
    def find(self, source: str, **values: Any) -> tuple[Any, ...]:
        """Starts a search with the form's settings."""
        if self.work.dataset(source) is None:
            raise UsageError("No photos are chosen.", remedy="Choose them on the Data tab, then search.")
        self.work.find_rate(form.read(values | {"data": source}))
        return self.draw()

    def stop(self) -> tuple[Any, ...]:
        """Ends it."""
        self.work.finder.stop()
        return self.draw()

    def tick(self, seen: int) -> Any:
        """Once a second while a search is under way: nothing moves on the page unless it did."""
        return gr.skip() if seen == self.work.finder.version else self.draw()

    def draw(self) -> tuple[Any, ...]:
        """Everything that is shown, for a page that was just opened as well."""
        finder = self.work.finder
        version, search, under_way = finder.version, finder.standing, finder.is_under_way
        result = search.result if search is not None else None
        found = result is not None and result.suggestion is not None
        return (
            version,
            gr.Timer(active=under_way),
            _card(search),
            _curve(result) if result is not None else None,
            gr.update(interactive=not under_way),
            gr.update(visible=under_way),
            gr.update(
                visible=found,
                value=f"Use {result.suggestion:g}" if result is not None and found else "Use it",
            ),
        )

    def use(self, backbone: str) -> tuple[Any, Any]:
        """Puts the suggestion into the form; the backbone's rate only where one is given and was searched for too."""
        search = self.work.finder.standing
        if search is None or search.result is None or search.result.suggestion is None:
            return gr.skip(), gr.skip()
        beside = search.result.backbone_suggestion
        return f"{search.result.suggestion:g}", (
            f"{beside:g}" if beside is not None and backbone.strip() else gr.skip()
        )


def _curve(result: RatesResult) -> dict[str, Any] | None:
    if len(result.rates) < 2:
        return None
    return plots.rate_curve(result.rates, result.losses, result.smoothed, result.suggestion)


def _card(search: Standing[RatesResult] | None) -> str:
    if search is None:
        return f'<p class="tl-fine">{markup.text(_EXPLAINED)}</p>'
    if search.state == "running":
        return markup.progress(search.done, search.total, _activity(search))
    if search.result is None:
        return markup.message(search.message, "warning" if search.state == "failed" else "info")
    return f'<p class="tl-fine">{markup.text(_said(search.result))}</p>'


def _activity(search: Standing[RatesResult]) -> str:
    counted = f": {search.done} of {search.total} {search.unit}" if search.total else ""
    return search.activity.capitalize() + counted


def _said(result: RatesResult) -> str:
    about = f"{result.backbone}, recipe {result.recipe}"
    if result.suggestion is None:
        return (
            f"The loss never fell ({about}), so there is nothing to suggest: train more, or another backbone."
        )
    end = "beyond the right end it explodes" if result.exploded else "it never exploded"
    return f"Suggested: {result.suggestion:g}, the middle of the fall; {end} ({about})."
