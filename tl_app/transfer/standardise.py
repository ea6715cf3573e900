"""Standardised features in front of a head's first linear layer, and the layer folded back to take them as they are.

Features of a frozen backbone differ in scale by orders of magnitude; an optimiser with one learning rate serves them
better when each has mean 0 and variance 1. Knows nothing of where features come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

# A feature that hardly moves is not blown up by more than this, relative to the average feature: its next large value
# would outweigh all others.
_SMALLEST_SHARE = 0.02


class Standardise(nn.Module):
    """Subtracts each feature's mean and divides by its standard deviation.

    Args:
        mean: float32 (D,).
        scale: One over the standard deviation, float32 (D,).
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, D) to (B, D) with mean 0 and variance 1 over the photos they were measured on."""
        return (features - self.mean) * self.scale


def measured(batches: Iterable[Tensor]) -> Standardise:
    """Means and standard deviations over all rows of some batches of features, each (B, D) with D features.

    Maps (B, C, H, W) are measured channel by channel, over all photos and places: a place has seen too few photos for
    figures of its own. The result is then for maps laid out in rows of C · H · W features.

    Raises:
        ValueError: There is no batch.
    """
    count, total, squares = 0, torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    places = 1
    for batch in batches:
        features = batch.detach().cpu().double()
        if features.ndim == 4:
            places = features.shape[2] * features.shape[3]
            features = features.movedim(1, -1).flatten(0, 2)
        count += len(features)
        total = total + features.sum(0)
        squares = squares + (features * features).sum(0)
    if not count:
        raise ValueError("there are no features to measure")
    mean = total / count
    deviation = (squares / count - mean * mean).clamp_min(0).sqrt()
    floor = max(_SMALLEST_SHARE * deviation.mean().item(), 1e-6)
    scale = 1 / deviation.clamp_min(floor)
    return Standardise(*(each.float().repeat_interleave(places) for each in (mean, scale)))


def fold(classifier: nn.Linear, standard: Standardise) -> None:
    """Changes a layer trained on standardised features so that it gives the same for features as they are."""
    weight, bias = _folded(classifier, standard)
    with torch.no_grad():
        classifier.weight.copy_(weight)
        classifier.bias.copy_(bias)


@contextmanager
def folded(classifier: nn.Linear | None, standard: Standardise | None) -> Iterator[None]:
    """:func:`fold` for as long as the block lasts; nothing happens without a ``standard``."""
    if standard is None:
        yield
        return
    assert classifier is not None
    weight, bias = classifier.weight.data, classifier.bias.data
    try:
        classifier.weight.data, classifier.bias.data = _folded(classifier, standard)
        yield
    finally:
        classifier.weight.data, classifier.bias.data = weight, bias


def _folded(classifier: nn.Linear, standard: Standardise) -> tuple[Tensor, Tensor]:
    weight = classifier.weight.detach().double() * standard.scale.double()
    bias = classifier.bias.detach().double() - weight @ standard.mean.double()
    return weight.to(classifier.weight.dtype), bias.to(classifier.bias.dtype)
