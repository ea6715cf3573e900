"""Figures of one split as a person reads them: each with what it means, and the two curves of trust.

The page and the report show the same. Knows nothing of how it is laid out.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tl_app import plots_results, words

if TYPE_CHECKING:
    from tl_app.analysis.examined import Examined

_SPLITS = {"val": "validation photo", "test": "test photo", "train": "training photo"}
_CAUTION = {
    "train": "The network was trained on these photos, so these figures flatter: look here for wrong labels, not for "
    "how good it is.",
    "val": "The best epoch was chosen on these photos, so these figures flatter a little; a test split has the last "
    "word.",
    "test": "Nothing was chosen on these photos: this is what to expect of new ones like them.",
}
HOW_SURE = (
    "On the dotted line an answer that is 90 % sure is right in 9 of 10 cases. Below it the run is too sure of "
    "itself, above it too modest. Large dots are many photos."
)
_CURVE = 200  # points of the coverage curve


def headline(examined: Examined) -> tuple[str, str]:
    """The accuracy, and its 95 % interval with the number of photos: ``94.1 %`` and ``89–97, on 153 test photos``."""
    metrics = examined.metrics
    low, high = (f"{100 * end:.0f}" for end in metrics.accuracy_interval)
    kind = _SPLITS.get(examined.answers.split, "photo") if examined.known is None else "photo"
    photos = words.plural(metrics.images, kind)
    return words.percent(metrics.accuracy), f"{low}–{high}, on {photos}"


def caution(examined: Examined) -> str:
    """How far the figures flatter."""
    if examined.known is None:
        return _CAUTION.get(examined.answers.split, _CAUTION["train"])
    if examined.known:
        photos = words.plural(examined.known, "photo")
        return f"The run has learned {photos} of these, or was chosen by them, so these figures flatter."
    return "The run has seen none of these photos: this is what to expect of others like them."


def facts(examined: Examined) -> list[tuple[str, str, str]]:
    """Each figure beside the accuracy: its name, its value, and what it means."""
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
            "that was fitted on the validation photos."
            if calibration.images
            else "How far confidence is from accuracy. The validation photos were gone before it could be calibrated.",
        ),
    ]
    if metrics.top_k is not None:
        k, share = metrics.top_k["k"], words.percent(metrics.top_k["accuracy"])
        told = f"How often the truth is among the {k} most likely classes."
        found.insert(1, (f"Top-{k} accuracy", share, told))
    return found


def classes(examined: Examined) -> list[tuple[str, dict[str, Any]]]:
    """The classes with their figures, worst F1 first; those without photos last."""
    per_class = examined.metrics.per_class
    return sorted(per_class.items(), key=lambda item: (not item[1]["support"], item[1]["f1"]))


def reliability(examined: Examined) -> dict[str, Any]:
    """The reliability diagram."""
    filled = [each for each in examined.metrics.confidence.bins if each.images]
    return plots_results.reliability(
        [each.confidence or 0.0 for each in filled],
        [each.accuracy or 0.0 for each in filled],
        [each.images for each in filled],
    )


def coverage(examined: Examined) -> tuple[dict[str, Any], str]:
    """The curve of "not sure" on this split, and what the suggested threshold does there."""
    judged, calibration = examined.judged, examined.calibration
    order = np.argsort(-judged.confidence, kind="stable")
    sure, right = judged.confidence[order], ~judged.wrong[order]
    covered = np.arange(1, len(order) + 1) / len(order)
    accuracy = right.cumsum() / np.arange(1, len(order) + 1)
    last = np.append(np.flatnonzero(np.diff(sure)), len(order) - 1)  # of each group of equals
    kept = last[sorted(set(np.linspace(0, len(last) - 1, min(_CURVE, len(last))).astype(int).tolist()))]
    at = None
    if not calibration.images:
        told = "Without calibration there is no confidence to suggest."
    elif calibration.threshold is None:
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
    return curve, told
