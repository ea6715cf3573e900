"""Which classes are taken for which: the confusion matrix in pages, and the photos of whatever cell is picked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import gradio as gr

from tl_app import words
from tl_app.analysis.confusions import ELSEWHERE, MatrixPage, arranged, page_of, pairs, photos_of
from tl_app.ui import markup, photo_grid
from tl_app.ui.examiner import Shown
from tl_app.ui.toasts import toasts
from tl_app.ui.workspace import Workspace

if TYPE_CHECKING:
    from tl_app.analysis.examined import Examined

PAGE = 30  # classes of the matrix at a time
_PAIRS = 10
_ASK = "Pick a number in the matrix, or a pair beside it: its photos appear here."
_NONE = "Nothing is confused: every answer is right."
_OTHERS = "others"


@dataclass(frozen=True)
class View:
    """What a page looks at.

    Attributes:
        page: Of the matrix.
        cell: True class and said class.
        cell_page: That the cell was picked on: it says which classes "others" are.
        photos: A page of the cell's photos.
    """

    page: int = 0
    cell: tuple[int, int] | None = None
    cell_page: int = 0
    photos: int = 0


@dataclass(frozen=True)
class ConfusionCard:
    """The components; :func:`bind` wires them."""

    view: gr.State
    shares: gr.Checkbox
    matrix: gr.HTML
    pairs: gr.HTML
    photos: gr.HTML

    @property
    def shown(self) -> list[Any]:
        """Outputs of :func:`draw`."""
        return [self.view, self.matrix, self.pairs, self.photos]


def build() -> ConfusionCard:
    """Lays the card out."""
    shares = gr.Checkbox(
        False,
        label="Shares instead of counts",
        info="Of each true class, so that a row comes to 100 %.",
        elem_id="tl-confusion-shares",
    )
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=300):
            matrix = photo_grid.pickable("", label="Confusion matrix", elem_id="tl-confusion-matrix")
        with gr.Column(scale=2, min_width=260):
            often = photo_grid.pickable("", label="Most frequent confusions", elem_id="tl-confusion-pairs")
    photos = photo_grid.pickable("", label="Photos of a cell", elem_id="tl-confusion-photos")
    return ConfusionCard(gr.State(View()), shares, matrix, often, photos)


def bind(parts: ConfusionCard, work: Workspace, shown: gr.State) -> None:
    """Wires the card.

    Args:
        parts: From :func:`build`.
        work: The app's memory.
        shown: Which run is shown.
    """
    acts = Acts(work)
    asked, drawn = [shown, parts.view, parts.shares], parts.shown
    turns: dict[str, Any] = {"show_progress": "hidden", "concurrency_id": "confusion", "concurrency_limit": 1}
    picks = [part.select for part in (parts.matrix, parts.pairs, parts.photos)]
    gr.on(picks, acts.pick, asked, drawn, trigger_mode="multiple", **turns)
    parts.shares.input(acts.redraw, asked, parts.matrix, trigger_mode="always_last", **turns)


def draw(examined: Examined, shares: bool) -> tuple[Any, ...]:
    """The card of a run that was just chosen; outputs are ``shown``."""
    hint = _ASK if examined.judged.wrong.any() else _NONE
    return View(), matrix(examined, View(), shares), pair_list(examined), markup.hint(hint)


@dataclass(frozen=True)
class Acts:
    """The card's event handlers."""

    work: Workspace

    @toasts
    def pick(self, shown: Shown, view: View, shares: bool, event: gr.EventData) -> tuple[Any, ...]:
        """A cell, a pair, or another page was picked."""
        kind, numbers = photo_grid.picked(event)
        examined = self.work.examiner.found(shown)
        classes = range(ELSEWHERE, len(examined.answers.classes))
        if kind in ("cell", "pair") and len(numbers) == 2 and all(n in classes for n in numbers):
            view = replace(view, cell=(numbers[0], numbers[1]), cell_page=view.page, photos=0)
            return view, gr.skip(), gr.skip(), photos(examined, view)
        if kind == "classes":
            view = replace(view, page=numbers[0])
            return view, matrix(examined, view, shares), gr.skip(), gr.skip()
        if kind == "photos" and view.cell is not None:
            view = replace(view, photos=numbers[0])
            return view, gr.skip(), gr.skip(), photos(examined, view)
        return gr.skip(), gr.skip(), gr.skip(), gr.skip()

    @toasts
    def redraw(self, shown: Shown, view: View, shares: bool) -> str:
        """Counts became shares, or the other way round."""
        return matrix(self.work.examiner.found(shown), view, shares)


def classes_of(examined: Examined, page: int) -> list[int]:
    """The classes on a page: in their own order when they fit on one, else confused ones first and side by side."""
    every = len(examined.answers.classes)
    if every <= PAGE:
        return list(range(every))
    start = max(0, min(page, (every - 1) // PAGE)) * PAGE
    return arranged(examined.metrics.confusion)[start : start + PAGE]


def photos(examined: Examined, view: View) -> str:
    """The photos of the picked cell."""
    assert view.cell is not None
    true, said = view.cell
    labels = examined.judged.labels, examined.judged.said
    numbers = photos_of(*labels, true, said, classes_of(examined, view.cell_page))
    if not len(numbers):
        return markup.hint("No photo is like that.")
    numbers = numbers[(-examined.judged.confidence[numbers]).argsort(kind="stable")]
    one, other = (_OTHERS if n == ELSEWHERE else examined.answers.classes[n] for n in view.cell)
    found = words.plural(len(numbers), "photo")
    caption = f"{one}, said rightly: {found}" if true == said else f"{one}, taken for {other}: {found}"
    return photo_grid.grid(examined, numbers, view.photos, f"{caption}, the surest first.")


def pair_list(examined: Examined) -> str:
    """The most frequent confusions, over all classes."""
    found = pairs(examined.metrics.confusion, _PAIRS)
    if not found:
        return ""
    names = examined.answers.classes
    lines = "".join(
        f'<button type="button" data-pick="pair:{true},{said}" aria-pressed="false">'
        f"<span><b>{markup.text(names[true])}</b> taken for <b>{markup.text(names[said])}</b></span>"
        f"<small>{words.plural(count, 'photo')}</small></button>"
        for true, said, count in found
    )
    return (
        f'<div class="tl-card tl-pairs"><h4>Most frequent confusions</h4><div data-keys>{lines}</div></div>'
    )


def matrix(examined: Examined, view: View, shares: bool) -> str:
    """A page of the matrix as a table whose numbers are buttons."""
    names, every = examined.answers.classes, len(examined.answers.classes)
    part = page_of(examined.metrics.confusion, classes_of(examined, view.page))
    heads = [(number, names[number]) for number in part.classes]
    if every > PAGE:
        heads.append((ELSEWHERE, _OTHERS))
    top = "".join(
        f'<th scope="col"><span title="{markup.text(n)}">{markup.text(n)}</span></th>' for _, n in heads
    )
    rows = "".join(_row(part, place, heads, shares) for place in range(len(heads)))
    start = max(0, min(view.page, (every - 1) // PAGE)) * PAGE
    order = (
        " The most confused classes come first, beside what they are confused with." if every > PAGE else ""
    )
    return (
        '<p class="tl-fine">Down: what a photo is. Across: what was said. '
        f"On the diagonal the answer is right.{order}</p>"
        f'<div class="tl-matrix"><table data-keys><caption class="tl-unseen">Confusion matrix</caption>'
        f"<thead><tr><td></td>{top}</tr></thead><tbody>{rows}</tbody></table></div>"
        f"{photo_grid.pager(start, PAGE, every, 'classes')}"
    )


def _row(part: MatrixPage, place: int, heads: list[tuple[int, str]], shares: bool) -> str:
    number, name = heads[place]
    total = int(part.totals[place]) if number != ELSEWHERE else 0
    cells = "".join(
        _cell(int(part.counts[place, column]), total, heads[place], heads[column], shares)
        for column in range(len(heads))
    )
    return f'<tr><th scope="row" title="{markup.text(name)}">{markup.text(name)}</th>{cells}</tr>'


def _cell(count: int, total: int, true: tuple[int, str], said: tuple[int, str], shares: bool) -> str:
    if not count:
        return "<td></td>"
    share = count / total if total else 0.0
    shown = words.share(count, total).removesuffix(" %") if shares and total else f"{count:,}"
    told = f"{true[1]}, said rightly" if true[0] == said[0] else f"{true[1]} taken for {said[1]}"
    return (
        f'<td><button type="button" data-pick="cell:{true[0]},{said[0]}" aria-pressed="false" '
        f'class="{"tl-right" if true[0] == said[0] else "tl-amiss"}" style="--share:{share:.2f}" '
        f'aria-label="{markup.text(told)}: {words.plural(count, "photo")}">{shown}</button></td>'
    )
