"""A map of the photos: like ones side by side, coloured by class or by error; a point shows its photo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from tl_app import words
from tl_app.analysis import projection
from tl_app.errors import UserError
from tl_app.plots_results import hidden_names, photo_map
from tl_app.ui import markup, photo_grid, thumbnails
from tl_app.ui.blocks import figure, html
from tl_app.ui.examiner import Shown
from tl_app.ui.toasts import toasts
from tl_app.ui.workspace import Workspace

if TYPE_CHECKING:
    from tl_app.analysis.examined import Examined

PCA, UMAP = "pca", "umap"
CLASS, ERROR = "class", "error"
_SIDE = 160


@dataclass(frozen=True)
class MapCard:
    """The components; :func:`bind` wires them."""

    seen: gr.State
    way: gr.Radio
    colour: gr.Radio
    note: gr.HTML
    figure: gr.HTML

    @property
    def shown(self) -> list[Any]:
        """Outputs of :func:`cleared`."""
        return [self.way, *self.drawn]

    @property
    def asked(self) -> list[Any]:
        """Inputs of :meth:`Acts.draw`, behind which run is shown."""
        return [self.seen, self.way, self.colour]

    @property
    def drawn(self) -> list[Any]:
        """Outputs of :meth:`Acts.draw`."""
        return [self.seen, self.note, self.figure]


def build() -> MapCard:
    """Lays the card out."""
    with gr.Row(equal_height=False):
        way = gr.Radio(
            [("PCA", PCA), ("UMAP", UMAP)],
            value=PCA,
            label="Layout",
            info="PCA is there at once. UMAP keeps neighbours together, and takes up to a minute.",
            min_width=280,
            elem_id="tl-map-way",
        )
        colour = gr.Radio(
            [("True class", CLASS), ("Right or wrong", ERROR)],
            value=CLASS,
            label="Colour",
            info="What the colours stand for.",
            min_width=280,
            elem_id="tl-map-colour",
        )
    note = html(elem_id="tl-map-note", min_height=24)
    drawn = figure(
        label="Map of the photos",
        hint="The map appears here.",
        elem_id="tl-map",
        scripts=("figure", "map"),
    )
    return MapCard(gr.State(None), way, colour, note, drawn)


def bind(parts: MapCard, work: Workspace, shown: gr.State, drawn: list[Any]) -> None:
    """Wires the card.

    Args:
        parts: From :func:`build`.
        work: The app's memory.
        shown: Which run is shown.
        drawn: Events after which that may be another one: nothing of theirs waits for the map.
    """
    acts, asked = Acts(work), [shown, *parts.asked]
    last: dict[str, Any] = {"trigger_mode": "always_last"}
    laid: list[Any] = [shown, parts.way]
    # What takes long shows nothing; what is drawn after it is what is wanted by then, of the run shown by then.
    for event in drawn:
        done = event.then(acts.lay_out, laid, None, show_progress="hidden", **last)
        done.success(acts.draw, asked, parts.drawn, show_progress="hidden", **last)
    for chosen in (parts.way, parts.colour):
        done = chosen.input(acts.lay_out, laid, None, show_progress_on=[parts.note], **last)
        done.success(acts.draw, asked, parts.drawn, show_progress="hidden", **last)


def cleared() -> tuple[Any, ...]:
    """Another run was chosen; its map is drawn in a moment."""
    return PCA, None, "", None


@dataclass(frozen=True)
class Acts:
    """The card's event handlers."""

    work: Workspace

    @toasts
    def lay_out(self, shown: Shown | None, way: str) -> None:
        """Makes the layout that :meth:`draw` needs, where that takes long."""
        if shown is not None:
            self.work.examiner.plane(shown, _possible(way))

    @toasts
    def draw(self, shown: Shown | None, seen: Any, way: str, colour: str) -> tuple[Any, ...]:
        """The map as it is asked for, when it is not there already."""
        wanted = (shown, way, colour)
        if shown is None or seen == wanted:
            return gr.skip(), gr.skip(), gr.skip()
        examined = self.work.examiner.found(shown)
        missing, way = _possible(way) != way, _possible(way)
        numbers, points, held = self.work.examiner.plane(shown, way)
        note = _note(examined, len(numbers), way, held)
        if missing:
            note = markup.message(f"{projection.UMAP_HINT}. Until then this is PCA.") + note
        drawn = photo_map(
            points,
            numbers,
            examined.judged.labels[numbers],
            examined.judged.said[numbers],
            examined.answers.classes,
            by_error=colour == ERROR,
            revision=f"{shown} {way}",
        )
        return wanted, note, drawn | {"about": list(shown)}

    def photo_at(self, asked: Any) -> dict[str, str] | None:
        """A photo of the map and what to know of it; None when it is none.

        Args:
            asked: By the browser: ``about``, which run is shown, and the photo's ``number``.
        """
        try:
            run, split, model = (str(each) for each in asked["about"])
            examined = self.work.examiner.found((run, split, model))
            answers, number = examined.answers, int(asked["number"])
        except (UserError, KeyError, TypeError, ValueError):
            return None
        if not 0 <= number < len(answers.paths):
            return None
        file = answers.paths[number], answers.contents[number]
        return {
            "picture": thumbnails.of_files(answers.root, [file], _SIDE)[0],
            "text": photo_grid.in_words(examined, number),
        }


def _possible(way: str) -> str:
    return PCA if way == UMAP and not projection.has_umap() else way


def _note(examined: Examined, drawn: int, way: str, held: float | None) -> str:
    photos = len(examined.answers.paths)
    parts = [
        f"{drawn:,} of {photos:,} photos, as evenly over the classes as can be."
        if drawn < photos
        else f"All {words.plural(photos, 'photo')}.",
        "Photos that look alike to the network lie side by side; pick one to see it.",
        f"The plane holds {words.share(held, 1)} of what differs." if held is not None else "",
        hidden_names(examined.answers.classes),
    ]
    return f'<p class="tl-fine">{markup.text(" ".join(part for part in parts if part))}</p>'
