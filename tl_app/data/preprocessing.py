"""How a photo becomes a network's input, the same for training, evaluation, prediction and exports.

Knows nothing of labels, splits, networks or augmentation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tl_app.data.decode import LONGEST_RATIO, open_pixels, upright_rgb
from tl_app.data.pixels import from_rows, middle, resized, to_channels_last
from tl_app.errors import UsageError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_FILTERS = ("bicubic", "bilinear")


@dataclass(frozen=True)
class Preprocessing:
    """How a photo becomes a network's input; the same steps as torchvision's ``ImageClassification``.

    Args:
        resize: Length that the shorter side is brought to, in pixels.
        crop: Side of the middle square that is cut out, in pixels.
        mean: Per channel (red, green, blue), subtracted from values in 0 to 1.
        std: Per channel, divides after the subtraction.
        interpolation: Filter used to resize, ``bilinear`` or ``bicubic``; always antialiased.

    Raises:
        UsageError: A value is not allowed.
    """

    resize: int = 256
    crop: int = 224
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        """Check the values."""
        if self.resize < 1 or self.crop < 1:
            raise UsageError(
                f"Preprocessing resizes to {self.resize} and crops {self.crop} pixels.",
                "Both must be at least 1.",
            )
        if self.interpolation not in _FILTERS:
            raise UsageError(f"Interpolation is '{self.interpolation}'.", f"Allowed: {', '.join(_FILTERS)}.")
        if len(self.mean) != 3 or len(self.std) != 3 or not all(value > 0 for value in self.std):
            raise UsageError(
                f"Mean is {self.mean} and standard deviation is {self.std}.",
                "Both need three values, and every standard deviation must be above 0.",
            )

    def to_dict(self) -> dict[str, Any]:
        """The description as plain JSON values."""
        fields = dataclasses.asdict(self)
        return {**fields, "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """The description that :meth:`to_dict` wrote.

        Raises:
            UsageError: A value is missing or not allowed.
        """
        try:
            red, green, blue = (float(value) for value in values["mean"])
            red_std, green_std, blue_std = (float(value) for value in values["std"])
            return cls(
                resize=int(values["resize"]),
                crop=int(values["crop"]),
                mean=(red, green, blue),
                std=(red_std, green_std, blue_std),
                interpolation=str(values["interpolation"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"The preprocessing {dict(values)!r} cannot be read: {error!r}.") from error

    def at(self, size: int) -> Preprocessing:
        """The same steps for a network input of ``size`` pixels, with the same share cut off at the edges."""
        return dataclasses.replace(self, crop=size, resize=max(size, round(self.resize * size / self.crop)))

    def pixels_depend_on(self) -> str:
        """What :meth:`load` depends on besides the photo; two with the same text give the same pixels."""
        return f"{self.resize} {self.interpolation} {LONGEST_RATIO}"

    def shrunk_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height, in pixels, that :meth:`shrink` gives a photo of ``width`` x ``height``."""
        short = min(width, height)
        width, height = min(width, short * LONGEST_RATIO), min(height, short * LONGEST_RATIO)
        # Rounded down like torchvision's resize.
        long = int(self.resize * max(width, height) / short)
        return (self.resize, long) if width <= height else (long, self.resize)

    def shrink(self, pixels: np.ndarray) -> Tensor:
        """Resize so that the shorter side is ``resize``; of photos longer than 8 : 1 only the middle is kept.

        Args:
            pixels: uint8, (height, width, 3), any size.

        Returns:
            uint8, (3, h, w), channels last.
        """
        height, width = pixels.shape[:2]
        new_width, new_height = self.shrunk_size(width, height)
        kept = min(height, width) * LONGEST_RATIO
        top, left = max(0, (height - kept) // 2), max(0, (width - kept) // 2)
        image = from_rows(pixels)[:, top : top + kept, left : left + kept]
        if image.shape[1:] == (new_height, new_width):
            return to_channels_last(image)
        return resized(image, new_height, new_width, self.interpolation)

    def load(self, source: Path | bytes | BinaryIO | Image.Image) -> Tensor:
        """Open a photo and :meth:`shrink` it; training, evaluation and prediction all come through here.

        A JPEG at least eight times as large as ``resize`` is decoded at a fraction of its size (never below
        four times ``resize``), which is faster and changes the result by less than a JPEG's own noise.

        Args:
            source: A file, its content, a stream, or a picture that is open already.

        Returns:
            uint8, (3, h, w), channels last.

        Raises:
            PhotoError: It cannot be used; the message says why.
        """
        if isinstance(source, Image.Image):
            return self.shrink(np.array(upright_rgb(source)))
        return self.shrink(open_pixels(source, shorter_side=self.resize))

    def center(self, image: Tensor) -> Tensor:
        """The middle ``crop`` x ``crop`` square; black is added where the photo is smaller.

        Args:
            image: uint8, (3, h, w).

        Returns:
            uint8, (3, crop, crop).
        """
        return middle(image, self.crop)

    def normalise(self, batch: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """The numbers the network takes, computed in float32 on the batch's own device.

        Args:
            batch: uint8, (B, 3, H, W) or (3, H, W).
            dtype: What the result is cast to.

        Returns:
            ``dtype``, same shape, channels last.
        """
        photos = batch.movedim(-3, -1).contiguous()  # (…, H, W, 3)
        mean = torch.tensor([255 * value for value in self.mean], device=batch.device)
        scale = torch.tensor([1 / (255 * value) for value in self.std], device=batch.device)
        # Whole rows of pixels at a time: a channel dimension of 3 is too short for vector instructions.
        width = photos.shape[-2]
        rows = photos.flatten(-2).float().sub_(mean.repeat(width)).mul_(scale.repeat(width))  # (…, H, W * 3)
        return rows.to(dtype).view(photos.shape).movedim(-1, -3)
