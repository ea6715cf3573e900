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


def apply(image: Tensor, name: str, rng: np.random.Generator) -> Tensor:
    """One operation of random strength (``trivial``), or two of strength 9 of 31 (``randaugment``).

    Source: Müller and Hutter 2021, "TrivialAugment"; Cubuk et al. 2020, "RandAugment"; the numbers are torchvision's.

    Args:
        image: uint8, (3, h, w).
        name: One of :data:`NAMES`.
        rng: Where chance comes from.

    Returns:
        uint8, (3, h, w), any strides.
    """
    policy = _policy(name)
    for _ in range(getattr(policy, "num_ops", 1)):
        image = _changed(image, policy, rng)
    return image


def _changed(image: Tensor, policy: Any, rng: np.random.Generator) -> Tensor:
    operations, bins = list(policy._AUGMENTATION_SPACE.items()), policy.num_magnitude_bins
    name, (strengths_of, signed) = operations[int(rng.integers(len(operations)))]
    strengths = strengths_of(bins, image.shape[-2], image.shape[-1])
    strength = 0.0
    if strengths is not None:
        strength = float(strengths[int(getattr(policy, "magnitude", rng.integers(bins)))])
        if signed and rng.random() < 0.5:
            strength = -strength
    changed: Tensor = policy._apply_image_or_video_transform(
        image, name, strength, interpolation=policy.interpolation, fill=policy._fill
    )
    return changed


@functools.cache
def _policy(name: str) -> Any:
    from torchvision.transforms import v2  # takes a while, and is for these two levels alone

    kind = {"trivial": v2.TrivialAugmentWide, "randaugment": v2.RandAugment}[name]
    return kind(interpolation=v2.InterpolationMode.BILINEAR, fill=_FILL)
