"""How right answers are, and how far their probabilities can be trusted: figures from labels and logits alone.

They are defined as in scikit-learn, and tests hold them against it. To import that takes a second, for which the end of
every training would wait. Knows nothing of runs or photos.
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
_ROWS = 1024  # of logits in float64 at a time: 8 MB for 1,000 classes


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
        per_class: ``images`` (also ``support``), ``accuracy`` (also ``recall``), ``precision`` and ``f1`` by class;
            what would be 0/0 is 0.
        confusion: Counts, int64 (C, C), rows are true classes.
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
    per_class: dict[str, dict[str, Any]]
    confusion: NDArray[np.int64]
    confidence: Confidence
    undefined: dict[str, str]


@dataclass(frozen=True)
class Ranking:
    """How well each class's probability tells its photos from all others.

    Attributes:
        roc_auc: Mean over classes of the area under the one-vs-rest ROC curve; None where it is not defined.
        average_precision: Mean over classes of the average precision, one-vs-rest; None where it is not defined.
        per_class: Both of each class, None where it has no photos or there are no others.
    """

    roc_auc: float | None
    average_precision: float | None
    per_class: tuple[tuple[float | None, float | None], ...]


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
    precision, recall = _shares(right, said), _shares(right, support)
    f1, known = _shares(2 * right, support + said), support + said > 0
    top = _top_k(labels, logits)
    return Metrics(
        images=len(labels),
        accuracy=float(right.sum() / len(labels)),
        accuracy_interval=interval(int(right.sum()), len(labels)),
        balanced_accuracy=float(recall[support > 0].mean()),
        macro_f1=float(f1[known].mean()),
        weighted_f1=float(np.average(f1, weights=support)),
        top_k=top,
        per_class={
            label: {
                "images": int(support[number]),
                "accuracy": float(recall[number]),
                "precision": float(precision[number]),
                "recall": float(recall[number]),
                "f1": float(f1[number]),
                "support": int(support[number]),
            }
            for number, label in enumerate(classes)
        },
        confusion=counts,
        confidence=confidence_of(labels, logits, temperature),
        undefined={} if top else {"top_k": "There are two classes, or one."},
    )


def ranked(labels: Labels, logits: NDArray[np.float32], temperature: float = 1.0) -> Ranking:
    """Areas under curves, one class against the rest; 10,000 photos and 1,000 classes take seconds.

    Args:
        labels: int64 (N,), at least one.
        logits: (N, C).
        temperature: What logits are divided by.
    """
    classes = logits.shape[1]
    support = np.bincount(labels, minlength=classes)
    known = np.flatnonzero((support > 0) & (support < len(labels)))
    norms = np.concatenate([_norms(part / temperature) for _, part in _parts(logits)])
    found: list[tuple[float | None, float | None]] = [(None, None)] * classes
    for number in known.tolist():
        mine, scores = labels == number, logits[:, number].astype(np.float64) / temperature - norms
        found[number] = _areas(mine, scores)
    areas = [found[number] for number in known.tolist()]
    means = [float(np.mean(column)) for column in zip(*areas, strict=True)] if areas else [None, None]
    return Ranking(means[0], means[1], tuple(found))


def _areas(mine: NDArray[np.bool_], scores: Floats) -> tuple[float, float]:
    """Area under the ROC curve, by trapezoids, and average precision, by steps; there are both kinds of photos."""
    order = np.argsort(-scores, kind="stable")
    cuts = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # none between equal scores
    hits = np.append(0, np.cumsum(mine[order])[cuts])
    false = np.append(0, cuts + 1) - hits
    area = np.diff(false) @ (hits[1:] + hits[:-1]) / (2 * hits[-1] * false[-1])
    precision = hits[1:] / (cuts + 1)
    return float(area), float(np.diff(hits) @ precision / hits[-1])


def confidence_of(labels: Labels, logits: NDArray[np.float32], temperature: float = 1.0) -> Confidence:
    """How far probabilities can be trusted; arguments as for :func:`measured`."""
    loss = brier = 0.0
    confidences = []
    for rows, logs in _log_probabilities(logits, temperature):
        probabilities, true = np.exp(logs), labels[rows]
        confidences.append(probabilities.max(1))
        # From logarithms: that of a probability that is rounded to 0 would be lost.
        loss -= np.take_along_axis(logs, true[:, None], 1).sum()
        probabilities[np.arange(len(true)), true] -= 1
        brier += np.square(probabilities).sum()
    if logits.shape[1] == 2:  # both errors are the same
        brier /= 2
    bins = reliability(np.concatenate(confidences), logits.argmax(1) == labels)
    gaps = ((each.images, each.confidence, each.accuracy) for each in bins)
    ece = sum(n * abs(sure - right) for n, sure, right in gaps if sure is not None and right is not None)
    count = len(labels)
    return Confidence(float(loss) / count, float(ece) / count, float(brier) / count, bins)


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
    counts: NDArray[np.int64] = np.bincount(labels * classes + said, minlength=classes**2)
    return counts.reshape(classes, classes)


def _shares(part: NDArray[np.int64], whole: NDArray[np.int64]) -> Floats:
    """``part / whole``; what would be 0/0 is 0."""
    shares: Floats = part / np.maximum(whole, 1)
    return shares


def _top_k(labels: Labels, logits: NDArray[np.float32]) -> dict[str, Any] | None:
    k = min(_TOP, logits.shape[1] - 1)
    if k < 2:
        return None
    found = 0
    for rows, part in _parts(logits):
        true = labels[rows, None]
        own = np.take_along_axis(part, true, 1)
        # Of classes that are as likely, the later ones come first, as in scikit-learn.
        before = (part > own) | ((part == own) & (np.arange(logits.shape[1]) > true))
        found += int((before.sum(1) < k).sum())
    return {"k": k, "accuracy": found / len(labels)}


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
