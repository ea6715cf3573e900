"""Probabilities that mean what they say: a temperature, and the confidence from which an answer counts as sure.

Fitted on validation photos, kept in the run folder, applied by the predictor. Knows labels and logits only.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tl_app.analysis.metrics import Floats, Labels, confidence_of, confidences_of
from tl_app.files import write_json

FILE = "calibration.json"
_FORMAT = 1
_STEPS = 40  # of bisection, to 1e-11
_HOTTEST = 500.0  # temperatures are between this and its inverse
_TARGET = 0.95
_SHOWN = 100  # points of the curve that are kept


@dataclass(frozen=True)
class CurvePoint:
    """Answers of at least ``confidence``: their share of all photos, and the share of them that is right."""

    confidence: float
    coverage: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """What turns a model's logits into probabilities that can be trusted.

    Attributes:
        model: Which model it is of, as :func:`tl_app.engine.checkpoints.model_id` has it.
        images: How many validation photos it comes from; 0 when there is none, and logits are taken as they are.
        temperature: What logits are divided by.
        log_loss_before: On those photos at temperature 1.
        log_loss: At this temperature.
        ece_before: Expected calibration error on those photos at temperature 1.
        ece: At this temperature.
        target: The accuracy that was wanted among sure answers.
        threshold: The smallest confidence at which it is reached, and at least 0.5; None when it never is, and then no
            answer counts as sure.
        coverage: The share of those photos whose answers are sure.
        accuracy: The share of those that is right; None without any.
        curve: Coverage and accuracy over confidence, from few and sure answers to all.
    """

    model: str
    images: int
    temperature: float
    log_loss_before: float
    log_loss: float
    ece_before: float
    ece: float
    target: float
    threshold: float | None
    coverage: float
    accuracy: float | None
    curve: tuple[CurvePoint, ...]


def without(model: str) -> Calibration:
    """None, for a model whose validation photos were gone before it was calibrated."""
    return Calibration(model, 0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, None, 0.0, None, ())


def calibrated(model: str, labels: Labels, logits: NDArray[np.float32]) -> Calibration:
    """The calibration of a model.

    Args:
        model: Which one.
        labels: int64 (N,), of photos that it was not trained on.
        logits: (N, C).
    """
    temperature = fit_temperature(labels, logits)
    before, after = (confidence_of(labels, logits, each) for each in (1.0, temperature))
    right = logits.argmax(1) == labels
    curve = risk_coverage(confidences_of(logits, temperature), right)
    target = wanted_accuracy(float(right.mean()))
    chosen = suggested(curve, target)
    every = max(1, -(-len(curve) // _SHOWN))
    return Calibration(
        model=model,
        images=len(labels),
        temperature=temperature,
        log_loss_before=before.log_loss,
        log_loss=after.log_loss,
        ece_before=before.ece,
        ece=after.ece,
        target=target,
        threshold=chosen.confidence if chosen else None,
        coverage=chosen.coverage if chosen else 0.0,
        accuracy=chosen.accuracy if chosen else None,
        curve=(*curve[:-1:every], curve[-1]),
    )


def fit_temperature(labels: Labels, logits: NDArray[np.float32]) -> float:
    """The temperature that makes log loss smallest; never one that makes it larger than 1 does.

    Source: Guo et al. 2017 (arXiv:1706.04599). Log loss is convex in the inverse of the temperature, and its slope is
    bisected. Temperatures far from 1 have to be worth it: their logarithm is taken to be normally distributed around 0
    with a deviation of 1. That is nothing beside a hundred photos some of which are wrong, but a model that gets all of
    a few photos right is not made certain of everything.

    Args:
        labels: int64 (N,).
        logits: (N, C).
    """
    scores = logits.astype(np.float32) - logits.max(1, keepdims=True)
    own = float(np.take_along_axis(scores, labels[:, None], 1).sum(dtype=np.float64))

    def slope(heat: float) -> float:
        """Of N times the log loss, and of the prior, over the logarithm of the temperature."""
        inverse = math.exp(-heat)
        return heat - inverse * (_expected(scores, inverse) - own)

    limit = math.log(_HOTTEST)
    low, high = (-limit, 0.0) if slope(0.0) > 0 else (0.0, limit)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    temperature = math.exp((low + high) / 2)
    if confidence_of(labels, logits, temperature).log_loss > confidence_of(labels, logits).log_loss:
        return 1.0
    return temperature


def _expected(scores: NDArray[np.float32], inverse: float) -> float:
    """The sum of the scores that the probabilities at an inverse temperature expect."""
    total = 0.0
    for start in range(0, len(scores), 1024):
        part = scores[start : start + 1024]
        weights = np.exp(part * np.float32(inverse))
        total += float(((weights * part).sum(1) / weights.sum(1)).sum(dtype=np.float64))
    return total


def risk_coverage(confidences: Floats, right: NDArray[np.bool_]) -> list[CurvePoint]:
    """How many photos are answered, and how many of those rightly, when answers below a confidence are withheld.

    Source: El-Yaniv and Wiener 2010, "On the Foundations of Noise-free Selective Classification".

    Args:
        confidences: (N,).
        right: (N,).

    Returns:
        A point per distinct confidence, the largest first.
    """
    order = np.argsort(-confidences, kind="stable")
    ordered, hits = confidences[order], right[order].cumsum()
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)  # of each group of equals
    return [
        CurvePoint(float(ordered[at]), float((at + 1) / len(ordered)), float(hits[at] / (at + 1)))
        for at in last
    ]


def wanted_accuracy(accuracy: float) -> float:
    """The accuracy that sure answers are to have: 95 %, or half the errors where there are fewer anyway."""
    return max(_TARGET, (1 + accuracy) / 2) if accuracy < 1 else 1.0


def suggested(curve: list[CurvePoint], target: float) -> CurvePoint | None:
    """The point of most coverage whose accuracy is the target's, and whose confidence at least 0.5; None without."""
    return next(
        (point for point in reversed(curve) if point.accuracy >= target and point.confidence >= 0.5), None
    )


def write(folder: Path, calibration: Calibration) -> None:
    """Keeps it in a run's ``analysis`` folder.

    Raises:
        OSError: It cannot be written.
    """
    folder.mkdir(exist_ok=True)
    write_json(folder / FILE, {"format": _FORMAT, **dataclasses.asdict(calibration)})


def read(folder: Path, model: str) -> Calibration | None:
    """What is kept for a model; None when nothing is, or only that of an earlier one."""
    try:
        values = json.loads((folder / FILE).read_text())
        if values.pop("format") != _FORMAT or values["model"] != model:
            return None
        curve = tuple(CurvePoint(**point) for point in values.pop("curve"))
        return Calibration(**values, curve=curve)
    except (OSError, ValueError, KeyError, TypeError):  # none yet, or spoilt: it can be made again
        return None
