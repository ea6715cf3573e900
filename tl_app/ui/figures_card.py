"""A run's figures on one split, each with what it means; its classes, worst first; how far it can be trusted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from tl_app import plots_results, words
from tl_app.ui import markup, theme
from tl_app.ui.blocks import figure, html

if TYPE_CHECKING:
    from tl_app.analysis.examined import Examined

SPLITS = {"val": "validation", "test": "test", "train": "training"}
_CAUTION = {
    "train": "The network was trained on these photos, so these figures flatter: look here for wrong labels, not for "
    "how good it is.",
    "val": "The best epoch was chosen on these photos, so these figures flatter a little; a test split has the last "
    "word.",
    "test": "Nothing was chosen on these photos: this is what to expect of new ones like them.",
}
_CURVE = 200  # points of the coverage curve
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
    filled = [each for each in examined.metrics.confidence.bins if each.images]
    diagram = plots_results.reliability(
        [each.confidence or 0.0 for each in filled],
        [each.accuracy or 0.0 for each in filled],
        [each.images for each in filled],
    )
    curve, note = _coverage(examined)
    told = (
        "On the dotted line an answer that is 90 % sure is right in 9 of 10 cases. Below it the run is too sure of "
        "itself, above it too modest. Large dots are many photos."
    )
    return headline(examined), class_table(examined), diagram, _fine(told), curve, note


def headline(examined: Examined) -> str:
    """The accuracy in large, and the other figures with what they mean."""
    metrics, split = examined.metrics, examined.answers.split
    low, high = (f"{100 * end:.0f}" for end in metrics.accuracy_interval)
    photos = f"{metrics.images:,} {SPLITS[split]} photo{'' if metrics.images == 1 else 's'}"
    large = (
        f'<p class="tl-large"><b>{words.percent(metrics.accuracy)}</b> '
        f"<span>{low}–{high}, on {photos}</span></p>"
        '<p class="tl-fine">So many are right. The range is where the share among all photos of this kind lies, with '
        "95 % certainty: it narrows as more photos are judged.</p>"
    )
    facts = "".join(
        f"<div><dt>{name}</dt><dd>{value}</dd><p>{markup.text(told)}</p></div>"
        for name, value, told in _facts(examined)
    )
    caution = markup.message(_CAUTION[split], "warning" if split == "train" else "info")
    left = examined.answers.left_out
    gone = (
        markup.message(f"{words.plural(len(left), 'photo')} could not be read and do not count.")
        if left
        else ""
    )
    return f'<div class="tl-card">{large}<dl class="tl-facts tl-told">{facts}</dl>{caution}{gone}</div>'


def _facts(examined: Examined) -> list[tuple[str, str, str]]:
    metrics, raw, calibration = examined.metrics, examined.raw, examined.calibration
    guessing = math.log(max(1, len(examined.answers.classes)))
    before, after = words.percent(raw.ece), words.percent(metrics.confidence.ece)
    found = [
        (
            "Balanced accuracy",
            words.percent(metrics.balanced_accuracy),
            "The mean over the classes, so that a large class does not hide a small one.",
        ),
        (
            "Macro F1",
            f"{metrics.macro_f1:.3f}",
            "1 when every class is found, and nothing else is taken for it.",
        ),
        (
            "Log loss",
            f"{metrics.confidence.log_loss:.3f}",
            f"Punishes sure mistakes. 0 is perfect; guessing gives {guessing:.2f}.",
        ),
        (
            "Calibration error (ECE)",
            f"{before} → {after}",
            f"How far confidence is from accuracy, before and after the temperature {calibration.temperature:.2f} "
            "that was fitted on the validation photos.",
        ),
    ]
    if metrics.top_k is not None:
        k, share = metrics.top_k["k"], words.percent(metrics.top_k["accuracy"])
        found.insert(
            1, (f"Top-{k} accuracy", share, f"How often the truth is among the {k} most likely classes.")
        )
    return found


def class_table(examined: Examined) -> str:
    """Every class with its figures, the worst first; a click on a head sorts."""
    rows = sorted(
        examined.metrics.per_class.items(), key=lambda item: (not item[1]["support"], item[1]["f1"])
    )
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


def _coverage(examined: Examined) -> tuple[dict[str, Any], str]:
    """The curve of "not sure" on this split, and what the suggested threshold does there."""
    judged, calibration = examined.judged, examined.calibration
    order = np.argsort(-judged.confidence, kind="stable")
    sure, right = judged.confidence[order], ~judged.wrong[order]
    covered = np.arange(1, len(order) + 1) / len(order)
    accuracy = right.cumsum() / np.arange(1, len(order) + 1)
    last = np.append(np.flatnonzero(np.diff(sure)), len(order) - 1)  # of each group of equals
    kept = last[np.unique(np.linspace(0, len(last) - 1, min(_CURVE, len(last))).astype(int))]
    at = None
    if calibration.threshold is None:
        told = f"No confidence is enough for {words.percent(calibration.target, 0)} right answers."
    else:
        answered = judged.confidence >= calibration.threshold
        share = float(answered.mean())
        hits = float((~judged.wrong)[answered].mean()) if share else 0.0
        at = (share, hits) if share else None
        told = (
            f'Suggested: say "not sure" below {words.percent(calibration.threshold)}. Then '
            f"{words.share(share, 1)} of these photos are answered, {words.percent(hits)} of them rightly."
        )
    curve = plots_results.coverage(
        covered[kept].tolist(), accuracy[kept].tolist(), sure[kept].astype(float).tolist(), at
    )
    return curve, _fine(told)


def _fine(text: str) -> str:
    return f'<p class="tl-fine">{markup.text(text)}</p>'
