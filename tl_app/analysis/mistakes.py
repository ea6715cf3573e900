"""Which answers are wrong, and which of them to look at first: orders of photos from labels and logits alone.

Knows nothing of runs or of how photos are shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Order = Literal["worst", "sure", "unsure"]
Numbers = NDArray[np.int64]  # places of photos among the answers

_ROWS = 1024  # of logits in float64 at a time: 8 MB for 1,000 classes


@dataclass(frozen=True)
class Judged:
    """What was said of N photos.

    Attributes:
        labels: int64 (N,), the true classes.
        said: int64 (N,), the most likely classes.
        confidence: float32 (N,), the probability of what was said, 0 to 1.
        loss: float32 (N,), cross entropy of the true class, in nats.
    """

    labels: NDArray[np.int64]
    said: NDArray[np.int64]
    confidence: NDArray[np.float32]
    loss: NDArray[np.float32]

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """(N,), whether what was said is not true."""
        wrong: NDArray[np.bool_] = self.labels != self.said
        return wrong


def judged(labels: NDArray[np.int64], logits: NDArray[np.float32], temperature: float = 1.0) -> Judged:
    """What was said of each photo, and how surely.

    Args:
        labels: int64 (N,).
        logits: (N, C).
        temperature: What logits are divided by.
    """
    confidence, loss = np.empty(len(labels), np.float32), np.empty(len(labels), np.float32)
    for start in range(0, len(labels), _ROWS):
        rows = slice(start, start + _ROWS)
        logs = log_probabilities(logits[rows], temperature)
        confidence[rows] = np.exp(logs.max(1))
        loss[rows] = -np.take_along_axis(logs, labels[rows, None], 1)[:, 0]
    return Judged(np.asarray(labels), logits.argmax(1), confidence, loss)


def log_probabilities(logits: NDArray[np.float32], temperature: float = 1.0) -> NDArray[np.float64]:
    """Logarithms of class probabilities, (N, C)."""
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(1, keepdims=True)
    logs: NDArray[np.float64] = scaled - np.log(np.exp(scaled).sum(1, keepdims=True))
    return logs


def ordered(judged: Judged, order: Order, label: int | None = None) -> Numbers:
    """Photos in the order to look at them.

    Args:
        judged: What was said of them.
        order: ``worst``: mistakes, the least likely truth first. ``sure``: mistakes, those said most surely first.
            ``unsure``: all photos, those said least surely first.
        label: Only photos of this true class; None for all.
    """
    kept = np.ones(len(judged.labels), bool) if order == "unsure" else judged.wrong
    if label is not None:
        kept = kept & (judged.labels == label)
    by = {"worst": -judged.loss, "sure": -judged.confidence, "unsure": judged.confidence}[order]
    numbers = np.flatnonzero(kept)
    return numbers[np.argsort(by[numbers], kind="stable")]
