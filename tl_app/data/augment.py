"""Random changes to training photos, so that each epoch sees slightly different ones.

All chance comes from the generator that is passed in: the same photo and generator state give the same
pixels, in any thread. Works on one uint8 photo at a time; knows nothing of files or networks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from tl_app.choices import AUGMENTATIONS
from tl_app.data import policies
from tl_app.data.opencv import opencv
from tl_app.data.pixels import from_rows, middle, resized, to_rows
from tl_app.errors import UsageError

# The smallest share of a photo's area that a crop keeps. `crop` is torchvision's RandomResizedCrop as it is.
_SMALLEST = {"crop": 0.08, "light": 0.5}
_SMALLEST_ELSE = 0.2
_RATIO = (3 / 4, 4 / 3)  # of a crop's sides, as in torchvision's RandomResizedCrop
_MEAN_COLOUR = (124, 116, 104)  # of ImageNet; fills what a rotation or erasing leaves bare
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_SAME, _GREY = np.eye(3), np.tile(_LUMA, (3, 1))
# Luma and the two colour axes of YIQ (NTSC 1953), in which a turn of the colour plane is a change of hue.
_TO_YIQ = np.array([_LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_FROM_YIQ = np.linalg.inv(_TO_YIQ)


@dataclass(frozen=True)
class Augmentation:
    """How training photos are varied.

    Attributes:
        level: One of ``choices.AUGMENTATIONS``; with ``none`` the others have no effect.
        flip: One of ``choices.FLIPS``: about which axes half of the views are mirrored.
        rotation: Largest turn to either side, in degrees.
        erasing: Share of views with a blank rectangle, 0 to 1.

    Raises:
        UsageError: There is no such level.
    """

    level: str = "light"
    flip: str = "horizontal"
    rotation: float = 0.0
    erasing: float = 0.0

    def __post_init__(self) -> None:
        """Check the level."""
        if self.level not in AUGMENTATIONS:
            raise UsageError(f"Augmentation is '{self.level}'.", f"Allowed: {', '.join(AUGMENTATIONS)}.")

    @property
    def text(self) -> str:
        """All that changes a view: the level, and what differs from its defaults. Kept activations are named by it."""
        extra = (
            "" if self.flip == "horizontal" else f" flip={self.flip}",
            f" rotation={self.rotation:g}" if self.rotation else "",
            f" erasing={self.erasing:g}" if self.erasing else "",
        )
        return self.level + "".join(extra)


PLAIN = Augmentation("none")  # every view is what evaluation sees


def apply(image: Tensor, *, how: Augmentation, size: int, rng: np.random.Generator) -> Tensor:
    """One training view of a photo.

    ``none`` cuts out the middle, which is what evaluation sees. ``crop`` takes a random part of at least 8 % of the
    area and flips half of them, as the classic tutorials do. ``light`` takes a random part of at least half the area,
    flips half of them, and changes brightness, contrast and colour a little. ``strong`` takes parts down to a fifth,
    changes colours more and hue too, tilts, and applies one more operation or hides a patch. ``trivial`` and
    ``randaugment`` take such parts too, and apply the operations of :mod:`tl_app.data.policies`. Rotation and erasing
    come last.

    Args:
        image: uint8, (3, H, W), fastest when channels last; it is not changed.
        how: Level and choices.
        size: Side of the result, in pixels.
        rng: Where all chance comes from; its state moves.

    Returns:
        uint8, (3, size, size), channels last.
    """
    if how.level == "none":
        return middle(image, size)
    rows = to_rows(
        _random_crop(image, _SMALLEST.get(how.level, _SMALLEST_ELSE), size, rng)
    )  # (size, size, 3)
    rows = _flipped(rows, how.flip, rng)
    if how.level != "crop":
        rows = _varied(rows, how.level, rng)
    if how.rotation:
        rows = _tilt(rows, float(rng.uniform(-how.rotation, how.rotation)))
    if rng.random() < how.erasing:
        _hide(rows, rng)
    return from_rows(rows)


def _flipped(rows: np.ndarray, flip: str, rng: np.random.Generator) -> np.ndarray:
    """Mirrored about each axis that ``flip`` allows in half of the cases."""
    # Drawn in any case: whatever comes after it is then the same with and without flips.
    sideways = rng.random() < 0.5 and flip in ("horizontal", "both")
    over = flip in ("vertical", "both") and rng.random() < 0.5
    if not (sideways or over):
        return rows
    found: np.ndarray = opencv().flip(rows, -1 if sideways and over else 0 if over else 1)
    return found


def _varied(rows: np.ndarray, level: str, rng: np.random.Generator) -> np.ndarray:
    """Colours changed, and whatever else the level has."""
    if level in policies.NAMES:
        return to_rows(policies.apply(from_rows(rows), level, rng))
    strong = level == "strong"
    rows = _recolour(rows, 0.4 if strong else 0.2, rng, turn_hue=strong and rng.random() < 0.5)
    return _distort(rows, rng) if strong else rows


def _random_crop(image: Tensor, smallest: float, size: int, rng: np.random.Generator) -> Tensor:
    top, left, height, width = crop_box(image.shape[-2], image.shape[-1], smallest, rng)
    return resized(image[:, top : top + height, left : left + width], size, size)


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


def _recolour(rows: np.ndarray, amount: float, rng: np.random.Generator, *, turn_hue: bool) -> np.ndarray:
    """Brightness, contrast, saturation and hue, each by a random factor, in one go over the pixels.

    As torchvision's ``adjust_…`` one after another, but rounded and clipped once, at the end.
    """
    brightness, contrast, saturation = rng.uniform(1 - amount, 1 + amount, size=3)
    turn = hue_matrix(rng.uniform(-0.3, 0.3)) if turn_hue else None
    matrix = colour_matrix(mean_grey(rows), brightness, contrast, saturation)
    recoloured: np.ndarray = opencv().transform(rows, matrix if turn is None else turn @ matrix)
    return recoloured


def mean_grey(rows: np.ndarray) -> float:
    """Mean luma of a picture (h, w, 3), 0 to 255."""
    return float(_LUMA @ opencv().mean(rows)[:3])


def colour_matrix(grey: float, brightness: float, contrast: float, saturation: float) -> np.ndarray:
    """What takes a pixel (red, green, blue, 1) to its new colour, as (3, 4).

    Args:
        grey: Mean luma of the picture, around which contrast changes.
        brightness: Factor.
        contrast: Factor.
        saturation: Factor; 0 is grey.
    """
    matrix = np.empty((3, 4))
    matrix[:, :3] = contrast * brightness * (saturation * _SAME + (1 - saturation) * _GREY)
    matrix[:, 3] = (1 - contrast) * brightness * grey  # grey: saturation leaves it as it is
    return matrix


def hue_matrix(radians: float) -> np.ndarray:
    """A turn of the colour plane that keeps luma, (3, 3)."""
    cos, sin = math.cos(radians), math.sin(radians)
    turned: np.ndarray = _FROM_YIQ @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ _TO_YIQ
    return turned


def _distort(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    cv2 = opencv()
    if rng.random() < 0.5:
        rows = _tilt(rows, float(rng.uniform(-15, 15)))
    choice = int(rng.integers(8))
    if choice == 0:
        rows = _spread_values(rows)
    elif choice == 1:
        dropped_bits = int(rng.integers(3, 6))
        rows = rows & np.uint8(256 - (1 << dropped_bits))
    elif choice == 2:
        rows = _sharpen(rows, float(rng.uniform(0.2, 2.5)))
    elif choice == 3:
        rows = cv2.GaussianBlur(rows, (5, 5), float(rng.uniform(0.3, 1.5)))
    elif choice == 4:
        rows = cv2.transform(rows, np.tile(_LUMA, (3, 1)))
    elif choice in (5, 6):
        _hide(rows, rng)
    return rows


def _tilt(rows: np.ndarray, degrees: float) -> np.ndarray:
    cv2 = opencv()
    height, width = rows.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    tilted: np.ndarray = cv2.warpAffine(rows, matrix, (width, height), borderValue=_MEAN_COLOUR)
    return tilted


def _spread_values(rows: np.ndarray) -> np.ndarray:
    """Each colour stretched to 0 to 255."""
    low, high = (
        rows.min(0).min(0).astype(float),
        rows.max(0).max(0).astype(float),
    )  # 70 times as fast as min((0, 1))
    scale = np.where(high > low, 255 / np.maximum(high - low, 1), 1)
    offset = np.where(high > low, -low * scale, 0)
    spread: np.ndarray = opencv().transform(rows, np.hstack([np.diag(scale), offset[:, None]]))
    return spread


def _sharpen(rows: np.ndarray, factor: float) -> np.ndarray:
    """Less or more than 1: blurred, sharpened; the outermost pixels stay as they are.

    As Pillow and torchvision do it, who blur with 1 1 1, 1 5 1, 1 1 1: nine parts of the mean of nine and four of the
    pixel itself.
    """
    cv2 = opencv()
    blurred_share = (1 - factor) * 9 / 13
    changed: np.ndarray = cv2.addWeighted(rows, 1 - blurred_share, cv2.blur(rows, (3, 3)), blurred_share, 0)
    for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        changed[edge] = rows[edge]
    return changed


def _hide(rows: np.ndarray, rng: np.random.Generator) -> None:
    side = rows.shape[0]
    height, width = (int(value * side) for value in rng.uniform(0.15, 0.4, size=2))
    top, left = int(rng.integers(0, side - height + 1)), int(rng.integers(0, side - width + 1))
    rows[top : top + height, left : left + width] = _MEAN_COLOUR
