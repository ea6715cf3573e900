"""How figures on a finished run look in a terminal. Knows nothing of commands and options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from tl_app import words
from tl_app.tables import console, show_left_out, table

if TYPE_CHECKING:
    from tl_app.evaluation import EvaluationResult
    from tl_app.folding import FoldsResult

_CONFUSIONS = 5  # shown, the most frequent ones
_CLASSES = 20  # shown, the worst ones


def show_evaluation(result: EvaluationResult) -> None:
    """Accuracy with its interval, how far confidence can be trusted, the classes, and what is mixed up."""
    to = console()
    to.print(
        f"[bold]{words.interval(result.accuracy, result.accuracy_interval)}[/], on "
        f"{words.plural(result.images, 'photo')} ({result.split}) of {escape(result.data)}",
        soft_wrap=True,
    )
    shares = {
        "Balanced accuracy": result.balanced_accuracy,
        "macro F1": result.macro_f1,
        "ROC AUC": result.roc_auc,
        "average precision": result.average_precision,
    }
    said = [f"{name} {words.percent(value)}" for name, value in shares.items() if value is not None]
    if result.top_k is not None:
        said.append(f"top-{result.top_k['k']} {words.percent(result.top_k['accuracy'])}")
    to.print(", ".join(said) + ".", soft_wrap=True)
    to.print(_trust(result), soft_wrap=True, style="dim")
    _show_classes(to, result.per_class)
    _show_confusions(to, result.confusion, result.classes)
    show_left_out(to, list(result.left_out.items()))
    if result.report:
        to.print(f"The report is {escape(result.report)}", soft_wrap=True)


def show_folds(result: FoldsResult) -> None:
    """Mean and spread over the folds, then all photos together."""
    to = console()
    low, high = result.accuracy_interval
    to.print(
        f"[bold]{words.percent(result.accuracy)} ± {100 * result.spread:.1f}[/] over {result.folds} folds, "
        f"{100 * low:.0f}–{100 * high:.0f} of 100 new photos right with 95 % confidence, "
        f"on {words.plural(result.images, 'photo')} of {escape(result.data)}, in {words.duration(result.seconds)}.",
        soft_wrap=True,
    )
    rows = table("fold", "accuracy")
    for number, accuracy in enumerate(result.accuracies, 1):
        rows.add_row(str(number), words.percent(accuracy))
    to.print(rows)
    _show_classes(to, result.per_class)
    _show_confusions(to, result.confusion, result.classes)


def _trust(result: EvaluationResult) -> str:
    """How far confidence can be trusted, in a few sentences."""
    if not result.calibrated_on:
        return f"Not calibrated: log loss {result.loss:.3f}, confidence off by {words.percent(result.ece)} (ECE)."
    sentences = [
        f"Temperature {result.temperature:.2f}: log loss {result.loss:.3f} → {result.log_loss:.3f}, confidence off by "
        f"{words.percent(result.ece_before)} → {words.percent(result.ece)} (ECE), Brier {result.brier:.3f}."
    ]
    if result.sure_threshold is None:
        sentences.append("No confidence is high enough for an answer to count as sure.")
    elif result.sure_share is not None:
        right = f", {words.percent(result.sure_accuracy)} of them right" if result.sure_share else ""
        sentences.append(
            f"Sure from {words.percent(result.sure_threshold)} on: {words.percent(result.sure_share, 0)} of the answers"
            f"{right}."
        )
    if result.unfamiliar_share is not None:
        sentences.append(f"{words.percent(result.unfamiliar_share)} are unlike the training photos.")
    return " ".join(sentences)


def _show_classes(to: Console, per_class: dict[str, dict[str, Any]]) -> None:
    rows = table("class", "photos", "right", "precision", "F1")
    worst = sorted(per_class.items(), key=lambda one: one[1]["f1"] if one[1]["images"] else 2.0)
    shown = dict(worst[:_CLASSES])
    for label, row in per_class.items():
        if label in shown:
            figures = (row["accuracy"], row["precision"], row["f1"]) if row["images"] else (None, None, None)
            rows.add_row(escape(label), str(row["images"]), *map(words.percent, figures))
    to.print(rows)
    if len(per_class) > len(shown):
        to.print(f"and {len(per_class) - len(shown)} classes that do better; --json has all.", style="dim")


def _show_confusions(to: Console, confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> None:
    """What was taken for what most often."""
    wrong = [
        (count, classes[true], classes[said])
        for true, row in enumerate(confusion)
        for said, count in enumerate(row)
        if count and said != true
    ]
    if not wrong:
        return
    rows = table("times", "is", "taken for")
    for count, true, said in sorted(wrong, key=lambda one: -one[0])[:_CONFUSIONS]:
        rows.add_row(str(count), escape(true), escape(said))
    to.print(rows)
