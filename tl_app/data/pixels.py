"""Photos as numbers: uint8 tensors of shape (3, h, w) whose three colours lie side by side in memory.

That order (channels last) is what decoders write, what resizing is fastest on, and what convolutions want. Knows
nothing of files and preprocessing.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def from_rows(rows: np.ndarray) -> Tensor:
    """A picture as a tensor, without a copy.

    Args:
        rows: uint8, (h, w, 3), writable, no negative strides.

    Returns:
        uint8, (3, h, w), channels last.
    """
    return torch.from_numpy(rows).permute(2, 0, 1)


def to_rows(image: Tensor) -> np.ndarray:
    """A tensor as a picture in one piece; without a copy where it is channels last and not a part of another.

    Args:
        image: uint8, (3, h, w), any strides.

    Returns:
        uint8, (h, w, 3), contiguous.
    """
    return image.permute(1, 2, 0).contiguous().numpy()


def resized(image: Tensor, height: int, width: int, interpolation: str = "bilinear") -> Tensor:
    """The picture at another size, antialiased.

    Args:
        image: uint8, (3, h, w), also a part of another; fastest when channels last.
        height: Wanted, in pixels.
        width: Likewise.
        interpolation: ``bilinear`` or ``bicubic``.

    Returns:
        uint8, (3, height, width), channels last.
    """
    rows = image.permute(1, 2, 0)
    if image.stride(0) != 1:
        rows = rows.contiguous()
    # A batch of one, whose strides say unmistakably that it is channels last: torch then takes its fastest kernel.
    batch = rows[None].permute(0, 3, 1, 2)
    made = torch.nn.functional.interpolate(batch, (height, width), mode=interpolation, antialias=True)
    return to_channels_last(made[0])


def to_channels_last(image: Tensor) -> Tensor:
    """The same picture, channels last; a copy only where it is not."""
    return image.permute(1, 2, 0).contiguous().permute(2, 0, 1)


def middle(image: Tensor, size: int) -> Tensor:
    """The middle ``size`` x ``size`` square; black is added where the picture is smaller.

    Args:
        image: uint8, (3, h, w).
        size: Side of the square, in pixels.

    Returns:
        uint8, (3, size, size): a view where no black had to be added.
    """
    missing_height, missing_width = (max(0, size - side) for side in image.shape[-2:])
    if missing_height or missing_width:
        left, top = missing_width // 2, missing_height // 2
        padding = (0, 0, left, missing_width - left, top, missing_height - top)
        image = torch.nn.functional.pad(image.permute(1, 2, 0), padding).permute(2, 0, 1)
    height, width = image.shape[-2:]
    # round() of halves goes to even, as in torchvision's center_crop.
    top, left = round((height - size) / 2.0), round((width - size) / 2.0)
    return image[..., top : top + size, left : left + size]
