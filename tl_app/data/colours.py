"""Changes of colour as matrices from a pixel to its new one. Knows nothing of pictures, but for their mean grey."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

MEAN_COLOUR = (124, 116, 104)  # of ImageNet; fills what a rotation or erasing leaves bare
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_SAME, _GREY = np.eye(3), np.tile(LUMA, (3, 1))
# Luma and the two colour axes of YIQ (NTSC 1953), in which a turn of the colour plane is a change of hue.
_TO_YIQ = np.array([LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_FROM_YIQ = np.linalg.inv(_TO_YIQ)


class Colours(NamedTuple):
    """Factors of brightness, contrast and saturation, and the turn of the hue in radians."""

    brightness: float
    contrast: float
    saturation: float
    hue: float


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


def recolouring(colours: Colours, grey: float) -> np.ndarray:
    """Brightness, contrast, saturation and hue in one matrix, (3, 4); ``grey`` as for :func:`colour_matrix`.

    As torchvision's ``adjust_…`` one after another, but rounded and clipped once, at the end.
    """
    matrix = colour_matrix(grey, *colours[:3])
    return hue_matrix(colours.hue) @ matrix if colours.hue else matrix
