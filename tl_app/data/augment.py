"""Random changes to training photos, so that each epoch sees slightly different ones.

All chance comes from the generator that is passed in: the same photo and generator state give the same
pixels, in any thread. Works on one uint8 photo at a time; knows nothing of files or networks.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F  # noqa: N812

from tl_app.config import AUGMENTATIONS
from tl_app.errors import UsageError

_RATIO = (3 / 4, 4 / 3)  # of a crop's sides, as in torchvision's RandomResizedCrop
_MEAN_COLOUR = (124, 116, 104)  # of ImageNet; fills what a rotation or erasing leaves bare
# Luma and the two colour axes of YIQ (NTSC 1953), in which a turn of the colour plane is a change of hue.
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_FROM_YIQ = np.linalg.inv(_TO_YIQ)


def apply(image: Tensor, *, level: str, size: int, rng: np.random.Generator) -> Tensor:
    """One training view of a photo.

    ``none`` cuts out the middle, which is what evaluation sees. ``light`` takes a random part of at least
    half the area, flips half of them, and changes brightness, contrast and colour a little. ``strong`` takes
    parts down to a fifth, changes colours more and hue too, tilts, and applies one more operation or hides a
    patch.

    Args:
        image: uint8, (3, H, W); it is not changed.
        level: ``none``, ``light`` or ``strong``.
        size: Side of the result, in pixels.
        rng: Where all chance comes from; its state moves.

    Returns:
        uint8, (3, size, size).

    Raises:
        UsageError: There is no such level.
    """
    if level == "none":
        middle: Tensor = F.center_crop(image, [size, size])
        return middle
    if level not in AUGMENTATIONS:
        raise UsageError(f"Augmentation is '{level}'.", f"Allowed: {', '.join(AUGMENTATIONS)}.")
    strong = level == "strong"
    image = _random_crop(image, 0.2 if strong else 0.5, size, rng)
    if rng.random() < 0.5:
        image = F.horizontal_flip(image)
    image = _jitter(image, 0.4 if strong else 0.2, rng)
    return _distort(image, rng) if strong else image


def _random_crop(image: Tensor, smallest: float, size: int, rng: np.random.Generator) -> Tensor:
    top, left, height, width = crop_box(image.shape[-2], image.shape[-1], smallest, rng)
    crop: Tensor = F.resized_crop(image, top, left, height, width, [size, size], antialias=True)
    return crop


def crop_box(height: int, width: int, smallest: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A random box of ``smallest`` to all of the area and a ratio of 3 : 4 to 4 : 3.

    Args:
        height: Of the photo, in pixels.
        width: Likewise.
        smallest: Share of the area, 0 to 1.
        rng: Where chance comes from.

    Returns:
        Top, left, height and width of the box. Source: torchvision's ``RandomResizedCrop.get_params``.
    """
    for _ in range(10):
        area = height * width * rng.uniform(smallest, 1.0)
        ratio = math.exp(rng.uniform(math.log(_RATIO[0]), math.log(_RATIO[1])))
        box_width, box_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < box_width <= width and 0 < box_height <= height:
            top = int(rng.integers(0, height - box_height + 1))
            left = int(rng.integers(0, width - box_width + 1))
            return top, left, box_height, box_width
    # Long photos: the largest box in the middle that keeps the ratio in bounds.
    box_width = max(1, min(width, round(height * _RATIO[1])))
    box_height = max(1, min(height, round(width / _RATIO[0])))
    return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width


def _jitter(image: Tensor, amount: float, rng: np.random.Generator) -> Tensor:
    brightness, contrast, saturation = rng.uniform(1 - amount, 1 + amount, size=3)
    image = F.adjust_brightness(image, float(brightness))
    image = F.adjust_contrast(image, float(contrast))
    image = F.adjust_saturation(image, float(saturation))
    return image


def _distort(image: Tensor, rng: np.random.Generator) -> Tensor:
    if rng.random() < 0.5:
        image = _turn_hue(image, rng.uniform(-0.3, 0.3))
    if rng.random() < 0.5:
        angle = float(rng.uniform(-15, 15))
        image = F.rotate(image, angle, interpolation=InterpolationMode.BILINEAR, fill=list(_MEAN_COLOUR))
    choice = int(rng.integers(8))
    if choice == 0:
        image = F.autocontrast(image)
    elif choice == 1:
        image = F.posterize(image, int(rng.integers(3, 6)))
    elif choice == 2:
        image = F.adjust_sharpness(image, float(rng.uniform(0.2, 2.5)))
    elif choice == 3:
        image = F.gaussian_blur(image, [5, 5], [float(rng.uniform(0.3, 1.5))] * 2)
    elif choice == 4:
        image = F.rgb_to_grayscale(image, num_output_channels=3)
    elif choice in (5, 6):
        image = _erase(image, rng)
    return image


def _turn_hue(image: Tensor, radians: float) -> Tensor:
    """Thirty times as fast as ``adjust_hue``, which goes through HSV; brightness stays."""
    cos, sin = math.cos(radians), math.sin(radians)
    turn = _FROM_YIQ @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ _TO_YIQ
    matrix = torch.from_numpy(turn.astype(np.float32))
    turned = matrix @ image.to(torch.float32).flatten(1)  # (3, 3) @ (3, H * W)
    return turned.round_().clamp_(0, 255).to(torch.uint8).view_as(image)


def _erase(image: Tensor, rng: np.random.Generator) -> Tensor:
    side = image.shape[-1]
    height, width = (int(value * side) for value in rng.uniform(0.15, 0.4, size=2))
    top, left = int(rng.integers(0, side - height + 1)), int(rng.integers(0, side - width + 1))
    fill = torch.tensor(_MEAN_COLOUR, dtype=torch.uint8).view(3, 1, 1)
    erased: Tensor = F.erase(image, top, left, height, width, fill)
    return erased
