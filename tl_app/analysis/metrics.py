"""How right answers are, and how far their probabilities can be trusted: figures from labels and logits alone.

They equal scikit-learn's where that defines them; a test compares both. They are computed here because importing
scikit-learn takes longer than training a head, and its one-vs-rest curves take seconds for 1,000 classes. Knows nothing
of runs or photos.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl_app.analysis.certainty import interval

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

BINS = 15  # of confidence, as Guo et al. 2017 have it
_TOP = 5
_ROWS, _COLUMNS = 1024, 64  # of logits in float64 at a time: 8 MB for 1,000 classes


@dataclass(frozen=True)
class Bin:
    """The photos whose confidence is above ``low`` and at most ``high``.

    Attributes:
        images: How many there are.
        confidence: Their mean confidence; None without photos.
        accuracy: The share of them that is right; None without photos.
    """

    low: float
    high: float
    images: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Confidence:
    """How far probabilities can be trusted, over N photos.

    Attributes:
        log_loss: Mean negative logarithm of the true class's probability, in nats.
        ece: Expected calibration error over 15 bins of equal width, 0 to 1: how far confidence is from accuracy, on
            average over photos. Source: Guo et al. 2017, "On Calibration of Modern Neural Networks" (arXiv:1706.04599).
        brier: Mean squared error of the probabilities: summed over classes, 0 to 2, and of two classes one, 0 to 1.
            Source: Brier 1950, "Verification of forecasts expressed in terms of probability".
        bins: The reliability diagram.
    """

    log_loss: float
    ece: float
    brier: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class Metrics:
    """What can be said of N answers over C classes.

    Attributes:
        images: N.
        accuracy: Share that is right, 0 to 1.
        accuracy_interval: Where the accuracy on all such photos lies, with 95 % confidence.
        balanced_accuracy: Mean recall of the classes that there are photos of.
        macro_f1: Mean F1 of the classes that there are photos or answers of.
        weighted_f1: Mean F1 of the classes, weighted by their photos.
        top_k: How often the true class is among the ``k`` most likely ones, ``{"k": …, "accuracy": …}``; None for two
            classes.
        roc_auc: Mean over classes of the area under the one-vs-rest ROC curve; None where it is not defined.
        average_precision: Mean over classes of the average precision, one-vs-rest; None where it is not defined.
        per_class: ``images`` (also ``support``), ``accuracy`` (also ``recall``), ``precision``, ``f1``, ``roc_auc`` and
            ``average_precision`` by class; what would be 0/0 is 0, and the last two None.
        confusion: Counts (C, C), rows are true classes.
        confidence: Of the calibrated probabilities.
        undefined: Which figures are None, and why.
    """

    images: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    balanced_accuracy: float
    macro_f1: float
    weighted_f1: float
    top_k: dict[str, Any] | None
    roc_auc: float | None
    average_precision: float | None
    per_class: dict[str, dict[str, Any]]
    confusion: list[list[int]]
    confidence: Confidence
    undefined: dict[str, str]


def measured(
    labels: Labels, logits: NDArray[np.float32], classes: Sequence[str], temperature: float = 1.0
) -> Metrics:
    """All figures.

    Args:
        labels: int64 (N,), at least one.
        logits: (N, C).
        classes: C names.
        temperature: What logits are divided by.
    """
    counts = confusion_of(labels, logits.argmax(1), len(classes))
    right, support, said = np.diag(counts), counts.sum(1), counts.sum(0)
    precision, recall = _ratio(right, said), _ratio(right, support)
    f1 = _ratio(2 * right, said + support)
    aucs, precisions = _one_vs_rest(labels, logits, temperature)
    top = _top_k(labels, logits)
    undefined = {} if top else {"top_k": "There are two classes, or one."}
    if np.count_nonzero(support) < 2:
        reason = "All photos are of one class."
        undefined |= {"roc_auc": reason, "average_precision": reason}
    return Metrics(
        images=len(labels),
        accuracy=float(right.sum() / len(labels)),
        accuracy_interval=interval(int(right.sum()), len(labels)),
        balanced_accuracy=float(recall[support > 0].mean()),
        macro_f1=float(f1[support + said > 0].mean()),
        weighted_f1=float((f1 * support).sum() / len(labels)),
        top_k=top,
        roc_auc=_mean(aucs),
        average_precision=_mean(precisions),
        per_class={
            label: {
                "images": int(support[number]),
                "accuracy": float(recall[number]),
                "precision": float(precision[number]),
                "recall": float(recall[number]),
                "f1": float(f1[number]),
                "support": int(support[number]),
                "roc_auc": _plain(aucs[number]),
                "average_precision": _plain(precisions[number]),
            }
            for number, label in enumerate(classes)
        },
        confusion=counts.tolist(),
        confidence=confidence_of(labels, logits, temperature),
        undefined=undefined,
    )


def confidence_of(labels: Labels, logits: NDArray[np.float32], temperature: float = 1.0) -> Confidence:
    """How far probabilities can be trusted; arguments as for :func:`measured`."""
    loss = brier = 0.0
    confidences = []
    for rows, logs in _log_probabilities(logits, temperature):
        true = labels[rows]
        probabilities = np.exp(logs)
        of_true = np.take_along_axis(logs, true[:, None], 1)[:, 0]
        loss -= of_true.sum()
        brier += (probabilities**2).sum() - 2 * np.exp(of_true).sum() + len(true)
        confidences.append(probabilities.max(1))
    bins = reliability(np.concatenate(confidences), logits.argmax(1) == labels)
    gaps = ((each.images, each.confidence, each.accuracy) for each in bins)
    ece = sum(n * abs(sure - right) for n, sure, right in gaps if sure is not None and right is not None)
    halved = 2 if logits.shape[1] == 2 else 1
    count = len(labels)
    return Confidence(float(loss) / count, float(ece) / count, float(brier) / count / halved, bins)


def confidences_of(logits: NDArray[np.float32], temperature: float = 1.0) -> Floats:
    """The largest probability of each row: (N, C) to (N,)."""
    return np.concatenate([np.exp(logs.max(1)) for _, logs in _log_probabilities(logits, temperature)])


def reliability(confidences: Floats, right: NDArray[np.bool_], bins: int = BINS) -> tuple[Bin, ...]:
    """The reliability diagram: mean confidence beside accuracy, by confidence; (N,) each."""
    edges = np.linspace(0, 1, bins + 1)
    # Guo et al.: bin m holds confidences in ((m - 1) / M, m / M].
    places = np.clip(np.searchsorted(edges, confidences, side="left") - 1, 0, bins - 1)
    counts = np.bincount(places, minlength=bins)
    sure = np.bincount(places, confidences, minlength=bins)
    hits = np.bincount(places, right, minlength=bins)
    return tuple(
        Bin(
            float(edges[place]),
            float(edges[place + 1]),
            int(count),
            float(sure[place] / count) if count else None,
            float(hits[place] / count) if count else None,
        )
        for place, count in enumerate(counts)
    )


def confusion_of(labels: Labels, said: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Counts (classes, classes): rows are true classes, columns what was said."""
    return np.bincount(labels * classes + said, minlength=classes**2).reshape(classes, classes)


def _top_k(labels: Labels, logits: NDArray[np.float32]) -> dict[str, Any] | None:
    k = min(_TOP, logits.shape[1] - 1)
    if k < 2:
        return None
    hits, places = 0, np.arange(logits.shape[1])
    for start in range(0, len(labels), _ROWS):
        part, true = logits[start : start + _ROWS], labels[start : start + _ROWS, None]
        own = np.take_along_axis(part, true, 1)
        before = (part > own) | ((part == own) & (places < true))  # of equals the first, as argmax has it
        hits += int(np.count_nonzero(before.sum(1) < k))
    return {"k": k, "accuracy": hits / len(labels)}


def _one_vs_rest(labels: Labels, logits: NDArray[np.float32], temperature: float) -> tuple[Floats, Floats]:
    """Area under the ROC curve and average precision of each class: (C,) each, NaN where not defined.

    The area is the share of pairs of a photo of the class and another one that are ranked right, ties counting half.
    Average precision is the mean, over the class's photos, of the precision among all that score at least as much.
    """
    classes = logits.shape[1]
    aucs, precisions = np.full(classes, np.nan), np.full(classes, np.nan)
    norms = np.concatenate([_norms(part / temperature) for _, part in _parts(logits)])
    for start in range(0, classes, _COLUMNS):
        columns = logits[:, start : start + _COLUMNS].astype(np.float64) / temperature - norms[:, None]
        for place, scores in enumerate(columns.T):
            mine = labels == start + place
            positives = np.sort(scores[mine])
            negatives = len(scores) - len(positives)
            if not len(positives) or not negatives:
                continue
            ordered = np.sort(scores)
            below, upto = (np.searchsorted(ordered, positives, side) for side in ("left", "right"))
            own_below, own_upto = (np.searchsorted(positives, positives, side) for side in ("left", "right"))
            ranked = (below - own_below) + ((upto - below) - (own_upto - own_below)) / 2
            aucs[start + place] = ranked.sum() / (len(positives) * negatives)
            precisions[start + place] = ((len(positives) - own_below) / (len(scores) - below)).mean()
    return aucs, precisions


def _log_probabilities(logits: NDArray[np.float32], temperature: float) -> Iterator[tuple[slice, Floats]]:
    """Logarithms of probabilities, (rows, C) at a time."""
    for rows, part in _parts(logits):
        scaled = part / temperature
        yield rows, scaled - _norms(scaled)[:, None]


def _parts(logits: NDArray[np.float32]) -> Iterator[tuple[slice, Floats]]:
    for start in range(0, len(logits), _ROWS):
        rows = slice(start, start + _ROWS)
        yield rows, logits[rows].astype(np.float64)


def _norms(logits: Floats) -> Floats:
    """Logarithms of the sums of exponentials, (N, C) to (N,)."""
    largest = logits.max(1)
    sums: Floats = largest + np.log(np.exp(logits - largest[:, None]).sum(1))
    return sums


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> Floats:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


def _mean(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _plain(value: np.float64) -> float | None:
    return float(value) if np.isfinite(value) else None
