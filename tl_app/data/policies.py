"""TrivialAugment and RandAugment: torchvision's operations and strengths, drawn from the generator that is passed in.

torchvision's own ``forward`` draws from torch's one generator, which the threads that load photos share with the
training step; so the drawing is done here, and the operations, their ranges and their order are torchvision's. Knows
nothing of crops and flips.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from torch import Tensor

NAMES = ("trivial", "randaugment")
_FILL = [124, 116, 104]  # the mean colour of ImageNet


def drawn(name: str, size: int, rng: np.random.Generator) -> list[tuple[str, float]]:
    """One operation of random strength (``trivial``), or two of strength 9 of 31 (``randaugment``).

    Source: Müller and Hutter 2021, "TrivialAugment"; Cubuk et al. 2020, "RandAugment"; the numbers are torchvision's.

    Args:
        name: One of :data:`NAMES`.
        size: Side of the picture, in pixels.
        rng: Where chance comes from.

    Returns:
        torchvision's name and the strength of each.
    """
    policy = _policy(name)
    return [_drawn(policy, size, rng) for _ in range(getattr(policy, "num_ops", 1))]


def _drawn(policy: Any, size: int, rng: np.random.Generator) -> tuple[str, float]:
    operations, bins = list(policy._AUGMENTATION_SPACE.items()), policy.num_magnitude_bins
    operation, (strengths_of, signed) = operations[int(rng.integers(len(operations)))]
    strengths = strengths_of(bins, size, size)
    strength = 0.0
    if strengths is not None:
        strength = float(strengths[int(getattr(policy, "magnitude", rng.integers(bins)))])
        if signed and rng.random() < 0.5:
            strength = -strength
    return operation, strength


def changed(image: Tensor, name: str, operation: str, strength: float) -> Tensor:
    """A picture after one operation.

    Args:
        image: uint8, (3, h, w).
        name: One of :data:`NAMES`.
        operation: As :func:`drawn` names it.
        strength: Likewise.

    Returns:
        uint8, (3, h, w), any strides.
    """
    policy = _policy(name)
    result: Tensor = policy._apply_image_or_video_transform(
        image, operation, strength, interpolation=policy.interpolation, fill=policy._fill
    )
    return result


@functools.cache
def _policy(name: str) -> Any:
    from torchvision.transforms import v2  # takes a while, and is for these two levels alone

    kind = {"trivial": v2.TrivialAugmentWide, "randaugment": v2.RandAugment}[name]
    return kind(interpolation=v2.InterpolationMode.BILINEAR, fill=_FILL)
