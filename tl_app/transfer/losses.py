"""The loss of the labels, and how classes of unequal size are balanced in it.

Knows nothing of photos, batches or networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

UNEVEN = 3.0  # times the photos of the smallest class, beyond which 'auto' weights the loss


@dataclass(frozen=True)
class LabelLoss:
    """Cross-entropy, summed over photos.

    Attributes:
        smoothing: Share of each label's weight that is spread over all classes.
        weights: float32 (C,), of each class; None: all alike.
    """

    smoothing: float = 0.0
    weights: Tensor | None = None

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The sum over a batch.

        Args:
            logits: float32 (B, C).
            labels: int64 (B,), or float32 (B, C) with what each class has of a photo.
        """
        return nn.functional.cross_entropy(
            logits, labels, weight=self.weights, label_smoothing=self.smoothing, reduction="sum"
        )


CROSS_ENTROPY = LabelLoss()


def right_answers(logits: Tensor, labels: Tensor) -> Tensor:
    """How many photos are classified right; of a mixed one the class with the larger share counts.

    Args:
        logits: (B, C).
        labels: int64 (B,), or float32 (B, C).
    """
    expected = labels if labels.ndim == 1 else labels.argmax(1)
    return (logits.argmax(1) == expected).sum()


def class_weights(counts: Sequence[int]) -> Tensor:
    """Weights inversely proportional to the photos of each class, with mean 1 over all photos: float32 (C,)."""
    found = torch.tensor(counts, dtype=torch.float32)
    return found.sum() / (len(counts) * found)


def balance_of(asked: str, counts: Sequence[int]) -> tuple[str, str]:
    """What class balance a training gets.

    Args:
        asked: One of ``choices.BALANCES``.
        counts: Training photos of each class, each at least 1.

    Returns:
        ``none``, ``sampling`` or ``loss``, and one sentence on what ``auto`` chose; empty when there is nothing to say.
    """
    if asked != "auto":
        return asked, ""
    uneven = max(counts) / min(counts)
    if uneven <= UNEVEN:
        return "none", ""
    return "loss", (
        f"The largest class has {uneven:.1f} times the photos of the smallest, so rare classes weigh more in the loss."
    )
