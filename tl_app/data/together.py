"""The views of a whole batch at once, on the device that trains: what :mod:`tl_app.data.alone` makes one by one.

Photos of different sizes travel as they were decoded, each in the corner of a canvas; cropping, mirroring and
antialiased resizing are then two products of matrices. Pixels are those of the other way but for rounding: a level or
two. Knows nothing of files, chance or networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tl_app.data import policies
from tl_app.data.augment import View
from tl_app.data.colours import LUMA, MEAN_COLOUR, recolouring

_TAPS = 5  # of a Gaussian blur, to each axis


def can_make(level: str) -> bool:
    """Whether views of a level can be made here: the policies' operations are torchvision's, for one picture each."""
    return level not in policies.NAMES


def packed(photos: Sequence[Tensor], views: Sequence[View], *, pinned: bool = False) -> Tensor:
    """The parts of photos that their views see, each in the upper left corner of a canvas of one size.

    Args:
        photos: uint8, (3, h, w) each, channels last.
        views: One for each.
        pinned: Whether the result lies in memory that a graphics card can copy from by itself.

    Returns:
        uint8 (B, H, W, 3), on the CPU; outside of the corners is whatever was there.
    """
    height, width = (max(view.box[side] for view in views) for side in (2, 3))
    canvas = torch.empty(len(photos), height, width, 3, dtype=torch.uint8, pin_memory=pinned)
    for place, photo, view in zip(canvas, photos, views, strict=True):
        top, left, high, wide = view.box
        place[:high, :wide] = photo[:, top : top + high, left : left + wide].permute(1, 2, 0)
    return canvas


def made(canvas: Tensor, views: Sequence[View], size: int) -> Tensor:
    """The views of a batch, computed where the canvas is.

    Args:
        canvas: From :func:`packed`, on any device.
        views: The same.
        size: Side of the results, in pixels.

    Returns:
        uint8 (B, 3, size, size), channels last.
    """
    boxes = _sent([[*view.box[2:], view.over, view.sideways] for view in views], canvas.device).float()
    high, wide, over, sideways = boxes.unbind(1)
    down = _weights(high, over, canvas.shape[1], size)  # (B, size, H)
    across = _weights(wide, sideways, canvas.shape[2], size)  # (B, size, W)
    lines = torch.bmm(down, canvas.flatten(2).float()).view(len(views), size, -1, 3)  # (B, size, W, 3)
    pixels = torch.einsum("bxw,bywc->byxc", across, lines)  # (B, size, size, 3)
    pixels = _recoloured(_levels(pixels), views)
    for turn in range(max(len(view.operations) for view in views)):
        pixels = _changed(pixels, turn, views)
    return pixels.to(torch.uint8).contiguous().permute(0, 3, 1, 2)


def _weights(lengths: Tensor, mirrored: Tensor, most: int, size: int) -> Tensor:
    """How much of each pixel of an axis is in each pixel of the result: a triangle, as wide as they are apart.

    Source: the antialiased ``bilinear`` of PyTorch's ``UpSampleKernel.cpp``, after Pillow's ``Resample.c``.

    Args:
        lengths: Pixels that there are, (B,); those beyond them have no share.
        mirrored: 1 where the result runs the other way, (B,).
        most: The longest.
        size: Pixels of the result.

    Returns:
        float32 (B, size, most); rows sum to 1.
    """
    pixels = torch.arange(most, device=lengths.device) + 0.5
    made = torch.arange(size, device=lengths.device) + 0.5
    lengths, mirrored = lengths[:, None, None], mirrored[:, None, None]
    made = made[:, None] + mirrored * (size - 2 * made[:, None])  # (B, size, 1)
    scale = lengths / size
    shares = (1 - (pixels - scale * made).abs() / scale.clamp_min(1)).clamp_min(0) * (pixels < lengths)
    return shares / shares.sum(2, keepdim=True)


def _recoloured(pixels: Tensor, views: Sequence[View]) -> Tensor:
    colours = [view.colours for view in views]
    if None in colours:  # of one level, so of none
        return pixels
    # What the mean grey adds is in proportion to it, and is not known here.
    whole = np.stack([recolouring(each, 1.0) for each in colours if each is not None])  # (B, 3, 4)
    matrices = _sent(whole.astype(np.float32), pixels.device)
    grey = pixels.mean((1, 2)) @ _sent(LUMA.astype(np.float32), pixels.device)  # (B,)
    offset = matrices[:, :, 3] * grey[:, None]  # (B, 3)
    changed = torch.bmm(pixels.flatten(1, 2), matrices[:, :, :3].transpose(1, 2)) + offset[:, None]
    return _levels(changed.view_as(pixels))


def _changed(pixels: Tensor, turn: int, views: Sequence[View]) -> Tensor:
    """Each view's operation number ``turn``, where it has one; like ones together."""
    groups: dict[str, list[tuple[int, Any]]] = {}
    for number, view in enumerate(views):
        for name, value in view.operations[turn : turn + 1]:
            groups.setdefault(name, []).append((number, value))
    for name, members in groups.items():
        which = _sent([number for number, _ in members], pixels.device)
        pixels[which] = _levels(_OPERATIONS[name](pixels[which], [value for _, value in members]))
    return pixels


def _tilt(pixels: Tensor, degrees: Sequence[float]) -> Tensor:
    """About the middle; counter-clockwise, as OpenCV's rotations are."""
    cos, sin = ([turn(math.radians(each)) for each in degrees] for turn in (math.cos, math.sin))
    maps = [[[c, -s, 0.0], [s, c, 0.0]] for c, s in zip(cos, sin, strict=True)]
    colour = _sent([float(each) for each in MEAN_COLOUR], pixels.device)
    images = (pixels - colour).permute(0, 3, 1, 2)
    grid = functional.affine_grid(_sent(maps, pixels.device), list(images.shape), align_corners=True)
    return functional.grid_sample(images, grid, align_corners=True).permute(0, 2, 3, 1) + colour


def _spread(pixels: Tensor, _: Sequence[object]) -> Tensor:
    low, high = pixels.amin((1, 2), keepdim=True), pixels.amax((1, 2), keepdim=True)
    stretched = (pixels - low) * (255 / (high - low).clamp_min(1))
    return torch.where(high > low, stretched, pixels)


def _bits(pixels: Tensor, dropped: Sequence[int]) -> Tensor:
    steps = _each([float(1 << bits) for bits in dropped], pixels)
    return (pixels / steps).floor() * steps


def _sharpen(pixels: Tensor, factors: Sequence[float]) -> Tensor:
    blurred = _levels(functional.avg_pool2d(pixels.permute(0, 3, 1, 2), 3, 1).permute(0, 2, 3, 1))
    share = _each([(1 - factor) * 9 / 13 for factor in factors], pixels)
    changed = pixels.clone()  # the outermost pixels stay as they are
    changed[:, 1:-1, 1:-1] += share * (blurred - pixels[:, 1:-1, 1:-1])
    return changed


def _blur(pixels: Tensor, sigmas: Sequence[float]) -> Tensor:
    places = torch.arange(_TAPS) - _TAPS // 2
    bells = torch.stack([torch.exp(-(places**2) / (2 * sigma**2)) for sigma in sigmas])
    bells /= bells.sum(1, keepdim=True)
    kernels = _sent((bells[:, :, None] * bells[:, None]).repeat_interleave(3, 0)[:, None], pixels.device)
    images = functional.pad(pixels.permute(0, 3, 1, 2), [_TAPS // 2] * 4, mode="reflect")
    found = functional.conv2d(images.flatten(0, 1)[None], kernels, groups=len(kernels))
    return found.view(len(pixels), 3, *pixels.shape[1:3]).permute(0, 2, 3, 1)


def _grey(pixels: Tensor, _: Sequence[object]) -> Tensor:
    return (pixels @ _sent(LUMA.astype(np.float32), pixels.device))[..., None].expand_as(pixels)


def _hide(pixels: Tensor, boxes: Sequence[tuple[int, int, int, int]]) -> Tensor:
    top, left, height, width = (_each(sides, pixels) for sides in zip(*boxes, strict=True))
    rows = torch.arange(pixels.shape[1], device=pixels.device)[:, None, None]
    columns = torch.arange(pixels.shape[2], device=pixels.device)[:, None]
    hidden = (rows >= top) & (rows < top + height) & (columns >= left) & (columns < left + width)
    return torch.where(hidden, _sent([float(each) for each in MEAN_COLOUR], pixels.device), pixels)


# From pixels (n, S, S, 3), levels as floats, and a value for each of the n to the pixels afterwards.
_OPERATIONS: dict[str, Callable[[Tensor, Sequence[Any]], Tensor]] = {
    "tilt": _tilt,
    "spread": _spread,
    "bits": _bits,
    "sharpen": _sharpen,
    "blur": _blur,
    "grey": _grey,
    "hide": _hide,
}


def _levels(pixels: Tensor) -> Tensor:
    """Whole ones, 0 to 255, still as floats."""
    return pixels.round().clamp_(0, 255)


def _each(values: Sequence[float], pixels: Tensor) -> Tensor:
    """A number for each picture, (n, 1, 1, 1)."""
    return _sent(list(values), pixels.device)[:, None, None, None]


def _sent(values: Sequence[Any] | np.ndarray | Tensor, device: torch.device) -> Tensor:
    """A few numbers on the device; nobody waits for them."""
    numbers = values if isinstance(values, Tensor) else torch.as_tensor(values)
    return numbers.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else numbers.to(device)
