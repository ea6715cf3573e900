"""How right answers are, and how far their probabilities can be trusted: figures from labels and logits alone.

They are scikit-learn's; where it raises or warns, what is reported instead is decided here. Importing it takes a
second, so functions do that, and :func:`prepare` does it early. Knows nothing of runs or photos.
"""

from __future__ import annotations

import threading
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


def prepare() -> None:
    """Begins to import scikit-learn in a thread of its own, for figures that are wanted a while later."""

    def load() -> None:
        import sklearn.metrics  # noqa: F401

    threading.Thread(target=load, name="tl-app metrics", daemon=True).start()


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
    from sklearn.metrics import f1_score, precision_recall_fscore_support

    every, said = np.arange(len(classes)), logits.argmax(1)
    rows = precision_recall_fscore_support(labels, said, labels=every, zero_division=0)
    precision, recall, f1, support = (values.tolist() for values in rows)
    counts = confusion_of(labels, said, len(classes))
    top = _top_k(labels, logits)
    return Metrics(
        images=len(labels),
        accuracy=float(np.trace(counts) / len(labels)),
        accuracy_interval=interval(int(np.trace(counts)), len(labels)),
        balanced_accuracy=float(rows[1][rows[3] > 0].mean()),
        macro_f1=float(f1_score(labels, said, average="macro", zero_division=0)),
        weighted_f1=float(f1_score(labels, said, average="weighted", zero_division=0)),
        top_k=top,
        per_class={
            label: {
                "images": support[number],
                "accuracy": recall[number],
                "precision": precision[number],
                "recall": recall[number],
                "f1": f1[number],
                "support": support[number],
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
    from sklearn.metrics import average_precision_score, roc_auc_score

    classes = logits.shape[1]
    support = np.bincount(labels, minlength=classes)
    known = np.flatnonzero((support > 0) & (support < len(labels)))
    norms = np.concatenate([_norms(part / temperature) for _, part in _parts(logits)])
    found: list[tuple[float | None, float | None]] = [(None, None)] * classes
    for number in known.tolist():
        mine, scores = labels == number, logits[:, number].astype(np.float64) / temperature - norms
        found[number] = float(roc_auc_score(mine, scores)), float(average_precision_score(mine, scores))
    areas = [found[number] for number in known.tolist()]
    means = [float(np.mean(column)) for column in zip(*areas, strict=True)] if areas else [None, None]
    return Ranking(means[0], means[1], tuple(found))


def confidence_of(labels: Labels, logits: NDArray[np.float32], temperature: float = 1.0) -> Confidence:
    """How far probabilities can be trusted; arguments as for :func:`measured`."""
    from sklearn.metrics import brier_score_loss

    classes = np.arange(logits.shape[1])
    loss = brier = 0.0
    confidences = []
    for rows, logs in _log_probabilities(logits, temperature):
        probabilities, true = np.exp(logs), labels[rows]
        confidences.append(probabilities.max(1))
        # Scikit-learn's takes probabilities, and the logarithm of one that is rounded to 0 is lost.
        loss -= np.take_along_axis(logs, true[:, None], 1).sum()
        if len(classes) > 1:  # of a single class one is always certain
            scores = probabilities[:, 1] if len(classes) == 2 else probabilities
            brier += len(true) * brier_score_loss(true, scores, labels=classes)
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
    from sklearn.metrics import confusion_matrix

    counts: NDArray[np.int64] = confusion_matrix(labels, said, labels=np.arange(classes))
    return counts


def _top_k(labels: Labels, logits: NDArray[np.float32]) -> dict[str, Any] | None:
    from sklearn.metrics import top_k_accuracy_score

    k = min(_TOP, logits.shape[1] - 1)
    if k < 2:
        return None
    share = top_k_accuracy_score(labels, logits, k=k, labels=np.arange(logits.shape[1]))
    return {"k": k, "accuracy": float(share)}


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
