"""A run's model as one torch module: from uint8 photos of any size to calibrated probabilities.

The same arithmetic as the app's own way through ``Preprocessing`` and predictor, in operators that torch can export
with sizes left open. Knows nothing of files.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from tl_app.backbones.staged import StagedNetwork, split
from tl_app.data.decode import LONGEST_RATIO
from tl_app.data.preprocessing import Preprocessing


class Classifier(nn.Module):
    """Resize, crop, normalise, network, temperature, softmax.

    Args:
        network: Copied in eval mode, float32, on the CPU; whatever its head.
        preprocessing: From photo to input.
        temperature: What logits are divided by.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, network: StagedNetwork, preprocessing: Preprocessing, temperature: float) -> None:
        super().__init__()
        self.network = plain(network)
        self.steps, self.temperature = preprocessing, temperature
        # As in `Preprocessing.normalise`.
        self.register_buffer(
            "mean", torch.tensor([255 * value for value in preprocessing.mean]).view(3, 1, 1)
        )
        self.register_buffer("scale", torch.tensor([1 / (255 * v) for v in preprocessing.std]).view(3, 1, 1))

    def forward(self, photos: Tensor) -> Tensor:
        """Upright RGB photos, uint8 (N, H, W, 3), to probabilities, float32 (N, classes)."""
        logits = self.network(self.pixels(photos))
        return torch.softmax(logits / self.temperature, 1)

    def pixels(self, photos: Tensor) -> Tensor:
        """What the network sees of photos, uint8 (N, H, W, 3): float32 (N, 3, crop, crop)."""
        steps = self.steps
        images = _without_ends(photos).permute(0, 3, 1, 2)  # (N, 3, H, W), channels last
        height, width = images.shape[2:]
        short = torch.sym_min(height, width)
        # Sizes are symbols while the graph is exported.
        size: Any = (steps.resize * height // short, steps.resize * width // short)
        images = nn.functional.interpolate(images, size, mode=steps.interpolation, antialias=True)
        if steps.resize < steps.crop:
            images = _padded(images, steps.crop)
        for axis in (2, 3):
            begin = _half_to_even(images.shape[axis] - steps.crop)
            images = images.index_select(axis, torch.arange(steps.crop) + begin)
        return (images.float() - self.mean) * self.scale


def plain(network: StagedNetwork) -> nn.Sequential:
    """A copy of stages and head in a row, from pixels to logits, in eval mode, float32, on the CPU."""
    row = copy.deepcopy(split(network, 0)[1])
    return row.cpu().float().eval().requires_grad_(False)


def _without_ends(photos: Tensor) -> Tensor:
    """The middle of photos that are too long for their width, as ``Preprocessing.shrink`` has it."""
    kept = LONGEST_RATIO * torch.sym_min(photos.shape[1], photos.shape[2])
    for axis in (1, 2):
        side = photos.shape[axis]
        length = torch.sym_min(side, kept)
        # Not `narrow`, whose strides would tie the graph to photos of the example's kind.
        photos = photos.index_select(axis, torch.arange(length) + (side - length) // 2)
    return photos


def _half_to_even(number: int) -> int:
    """``round(number / 2)`` in whole numbers, which a graph with open sizes can hold; for numbers from 0 on."""
    return number // 2 + (number % 4) // 3


def _padded(images: Tensor, size: int) -> Tensor:
    """Black around pictures (N, 3, h, w) that are smaller than ``size``."""
    pads: list[Any] = []
    for axis in (3, 2):
        missing = torch.sym_max(0, size - images.shape[axis])
        pads += [missing // 2, missing - missing // 2]
    return nn.functional.pad(images, pads)
