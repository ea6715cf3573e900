"""Photos as the network sees them: shrunk once, kept in memory up to a budget, decoded again past it.

:class:`Preprocessing` is the one description of how a photo becomes numbers, used by training, evaluation,
prediction and exports alike. Knows nothing of labels, splits, networks or augmentation.
"""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import psutil
import torch
from PIL import Image
from torch import Tensor

from tl_app.data.decode import open_photo, upright_rgb
from tl_app.errors import Interrupted, PhotoError, UsageError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
# A 1 x 10,000 strip would grow to 256 x 2,560,000; only its middle can reach the network anyway.
_LONGEST_RATIO = 8


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
            raise UsageError(
                f"Interpolation is '{self.interpolation}'.", f"Allowed: {', '.join(sorted(_FILTERS))}."
            )
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

    def shrunk_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height, in pixels, that :meth:`shrink` gives a photo of ``width`` x ``height``."""
        short = min(width, height)
        width, height = min(width, short * _LONGEST_RATIO), min(height, short * _LONGEST_RATIO)
        # Rounded down like torchvision's resize.
        long = int(self.resize * max(width, height) / short)
        return (self.resize, long) if width <= height else (long, self.resize)

    def shrink(self, image: Image.Image) -> Tensor:
        """Resize so that the shorter side is ``resize``; of photos longer than 8 : 1 only the middle is kept.

        Args:
            image: Any size, mode RGB.

        Returns:
            uint8, (3, h, w).
        """
        size = self.shrunk_size(image.width, image.height)
        kept = min(image.size) * _LONGEST_RATIO
        if max(image.size) > kept:
            left, top = max(0, (image.width - kept) // 2), max(0, (image.height - kept) // 2)
            image = image.crop((left, top, left + min(image.width, kept), top + min(image.height, kept)))
        if image.size != size:
            image = image.resize(size, _FILTERS[self.interpolation])
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()  # (h, w, 3) -> (3, h, w)

    def load(self, source: Path | bytes | BinaryIO | Image.Image) -> Tensor:
        """Open a photo and :meth:`shrink` it; training, evaluation and prediction all come through here.

        A JPEG at least eight times as large as ``resize`` is decoded at a fraction of its size (never below
        four times ``resize``), which is faster and changes the result by less than a JPEG's own noise.

        Args:
            source: A file, its content, a stream, or a picture that is open already.

        Returns:
            uint8, (3, h, w).

        Raises:
            PhotoError: It cannot be used; the message says why.
        """
        if isinstance(source, Image.Image):
            return self.shrink(upright_rgb(source))
        return self.shrink(open_photo(source, shorter_side=self.resize))

    def center(self, image: Tensor) -> Tensor:
        """The middle ``crop`` x ``crop`` square; black is added where the photo is smaller.

        Args:
            image: uint8, (3, h, w).

        Returns:
            uint8, (3, crop, crop).
        """
        missing_height, missing_width = (max(0, self.crop - side) for side in image.shape[-2:])
        if missing_height or missing_width:
            left, top = missing_width // 2, missing_height // 2
            padding = (left, missing_width - left, top, missing_height - top)
            image = torch.nn.functional.pad(image, padding)
        height, width = image.shape[-2:]
        # round() of halves goes to even, as in torchvision's center_crop.
        top, left = round((height - self.crop) / 2.0), round((width - self.crop) / 2.0)
        return image[..., top : top + self.crop, left : left + self.crop]

    def normalise(self, batch: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """The numbers the network takes, computed in float32 on the batch's own device.

        Args:
            batch: uint8, (B, 3, H, W) or (3, H, W).
            dtype: What the result is cast to.

        Returns:
            ``dtype``, same shape.
        """
        mean = torch.tensor(self.mean, dtype=torch.float32, device=batch.device).view(3, 1, 1)
        std = torch.tensor(self.std, dtype=torch.float32, device=batch.device).view(3, 1, 1)
        return batch.to(torch.float32).div_(255).sub_(mean).div_(std).to(dtype)


def default_budget_bytes() -> int:
    """How much memory photos may take when nothing else is asked for: 2 GiB, or a quarter of what is free."""
    return min(2 * 2**30, int(psutil.virtual_memory().available) // 4)


class PhotoStore:
    """Shrunk photos by path: kept in memory up to a budget, read from disk again past it.

    Every method may be called from several threads.

    Args:
        root: The folder that paths start from.
        preprocessing: How photos are shrunk.
        budget_bytes: Memory for photos; :func:`default_budget_bytes` where left out.
    """

    def __init__(self, root: Path, preprocessing: Preprocessing, budget_bytes: int | None = None) -> None:
        """An empty store; nothing is read yet."""
        self.root = root
        self.preprocessing = preprocessing
        self.budget_bytes = default_budget_bytes() if budget_bytes is None else budget_bytes
        self.held_bytes = 0
        self._held: dict[str, Tensor] = {}
        self._lock = threading.Lock()

    def get(self, path: str) -> Tensor:
        """One photo, not to be written into.

        Args:
            path: Relative to the root, with ``/`` between folders.

        Returns:
            uint8, (3, h, w), the shorter side ``preprocessing.resize``.

        Raises:
            PhotoError: It cannot be used.
        """
        held = self._held.get(path)
        if held is not None:
            return held
        photo = self.preprocessing.load(self.root / path)
        with self._lock:
            if path not in self._held and self.held_bytes + photo.nbytes <= self.budget_bytes:
                self._held[path] = photo
                self.held_bytes += photo.nbytes
        return photo

    def prepare(
        self,
        paths: Iterable[str],
        on_progress: Callable[[int, int], None] | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> dict[str, str]:
        """Decode photos ahead of training, in parallel, so that no bad one turns up in the middle of it.

        Args:
            paths: Relative to the root.
            on_progress: Called with photos done and photos in all, from this thread.
            should_stop: Asked after each photo.

        Returns:
            For each photo that cannot be decoded, why.

        Raises:
            Interrupted: ``should_stop`` said so.
        """
        wanted = list(dict.fromkeys(paths))
        failed: dict[str, str] = {}
        # Pillow decodes without the interpreter's lock.
        pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="decode")
        try:
            for done, (path, reason) in enumerate(
                zip(wanted, pool.map(self._reason, wanted), strict=True), 1
            ):
                if reason:
                    failed[path] = reason
                if on_progress is not None:
                    on_progress(done, len(wanted))
                if should_stop():
                    raise Interrupted("Reading the photos was stopped.")
        finally:
            pool.shutdown(cancel_futures=True)
        return failed

    def _reason(self, path: str) -> str:
        try:
            self.get(path)
        except PhotoError as error:
            return str(error)
        return ""
