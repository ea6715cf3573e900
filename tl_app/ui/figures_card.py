"""A run's figures on one split, each with what it means; its classes, worst first; how far it can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from tl_app import words
from tl_app.analysis import reading
from tl_app.ui import markup, theme
from tl_app.ui.blocks import figure, html

if TYPE_CHECKING:
    from tl_app.analysis.examined import Examined

_COLUMNS = ("Class", "Precision", "Recall", "F1", "Photos")


@dataclass(frozen=True)
class FiguresCard:
    """The components."""

    headline: gr.HTML
    classes: gr.HTML
    reliability: gr.HTML
    reliability_note: gr.HTML
    coverage: gr.HTML
    coverage_note: gr.HTML

    @property
    def shown(self) -> list[Any]:
        """Outputs of :func:`draw`."""
        return [
            self.headline,
            self.classes,
            self.reliability,
            self.reliability_note,
            self.coverage,
            self.coverage_note,
        ]


def build() -> FiguresCard:
    """Lays the card out."""
    headline = html(elem_id="tl-headline")
    with gr.Row(equal_height=False):
        with gr.Column(min_width=300):
            reliability = figure(
                label="How often answers of each confidence are right",
                hint="The reliability diagram appears here.",
                elem_id="tl-reliability",
            )
            reliability_note = html(elem_id="tl-reliability-note")
        with gr.Column(min_width=300):
            coverage = figure(
                label="How many photos are answered, and how many of those rightly",
                hint="The coverage curve appears here.",
                elem_id="tl-coverage",
            )
            coverage_note = html(elem_id="tl-coverage-note")
    classes = gr.HTML(
        "",
        label="Figures of each class",
        js_on_load=theme.script("sorting"),
        apply_default_css=False,
        elem_id="tl-per-class",
    )
    return FiguresCard(headline, classes, reliability, reliability_note, coverage, coverage_note)


def draw(examined: Examined) -> tuple[Any, ...]:
    """The card of a run that was just chosen; outputs are ``shown``."""
    curve, note = reading.coverage(examined)
    diagram, told = reading.reliability(examined), _fine(reading.HOW_SURE)
    return headline(examined), class_table(examined), diagram, told, curve, _fine(note)


def headline(examined: Examined) -> str:
    """The accuracy in large, and the other figures with what they mean."""
    accuracy, span = reading.headline(examined)
    large = (
        f'<p class="tl-large"><b>{accuracy}</b> <span>{span}</span></p>'
        '<p class="tl-fine">So many are right. The range is where the share among all photos of this kind lies, with '
        "95 % certainty: it narrows as more photos are judged.</p>"
    )
    facts = "".join(
        f"<div><dt>{name}</dt><dd>{value}</dd><p>{markup.text(told)}</p></div>"
        for name, value, told in reading.facts(examined)
    )
    split = examined.answers.split
    caution = markup.message(reading.caution(examined), "warning" if split == "train" else "info")
    left = examined.answers.left_out
    gone = (
        markup.message(f"{words.plural(len(left), 'photo')} could not be read and do not count.")
        if left
        else ""
    )
    return f'<div class="tl-card">{large}<dl class="tl-facts tl-told">{facts}</dl>{caution}{gone}</div>'


def class_table(examined: Examined) -> str:
    """Every class with its figures, the worst first; a click on a head sorts."""
    rows = reading.classes(examined)
    sort = {"F1": ' aria-sort="ascending"'}
    head = "".join(
        f'<th scope="col"{sort.get(name, "")}><button type="button">{name}</button></th>' for name in _COLUMNS
    )
    body = "".join(_class_row(name, values) for name, values in rows)
    caption = f"{words.plural(len(rows), 'class', 'classes')}, worst first"
    told = (
        "Precision: of what was taken for the class, the share that is it. Recall: of its photos, the share that was "
        "found. F1: both in one. Press a head to sort."
    )
    return (
        f'{_fine(told)}<div class="tl-table tl-sorted"><table><caption>{caption}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _class_row(name: str, values: dict[str, Any]) -> str:
    cells = "".join(
        f'<td data-value="{values[key]:.4f}">{words.percent(values[key])}</td>'
        for key in ("precision", "recall", "f1")
    )
    support = f'<td data-value="{values["support"]}">{values["support"]:,}</td>'
    return f"<tr><td>{markup.text(name)}</td>{cells}{support}</tr>"


def _fine(text: str) -> str:
    return f'<p class="tl-fine">{markup.text(text)}</p>'
