"""A view of one photo, made by OpenCV: uint8 from end to end. Knows nothing of chance, files or networks."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from tl_app.data import policies
from tl_app.data.augment import Operation, View
from tl_app.data.colours import LUMA, MEAN_COLOUR, Colours, recolouring
from tl_app.data.opencv import opencv
from tl_app.data.pixels import from_rows, resized, to_rows


def made(image: Tensor, view: View, size: int) -> Tensor:
    """A view of one photo.

    Args:
        image: uint8, (3, H, W), fastest when channels last; it is not changed.
        view: From :func:`drawn` for a photo of that size.
        size: Side of the result, in pixels.

    Returns:
        uint8, (3, size, size), channels last.
    """
    top, left, height, width = view.box
    rows = to_rows(resized(image[:, top : top + height, left : left + width], size, size))  # (size, size, 3)
    if view.sideways or view.over:
        rows = opencv().flip(rows, -1 if view.sideways and view.over else 0 if view.over else 1)
    if view.colours is not None:
        rows = _recolour(rows, view.colours)
    for operation in view.operations:
        rows = _changed(rows, operation)
    return from_rows(rows)


def mean_grey(rows: np.ndarray) -> float:
    """Mean luma of a picture (h, w, 3), 0 to 255."""
    return float(LUMA @ opencv().mean(rows)[:3])


def _recolour(rows: np.ndarray, colours: Colours) -> np.ndarray:
    recoloured: np.ndarray = opencv().transform(rows, recolouring(colours, mean_grey(rows)))
    return recoloured


def _changed(rows: np.ndarray, operation: Operation) -> np.ndarray:
    cv2, (name, value) = opencv(), operation
    if name == "tilt":
        return _tilt(rows, value)
    if name == "spread":
        return _spread_values(rows)
    if name == "bits":
        return rows & np.uint8(256 - (1 << value))
    if name == "sharpen":
        return _sharpen(rows, value)
    if name == "hide":
        top, left, height, width = value
        rows[top : top + height, left : left + width] = MEAN_COLOUR
        return rows
    if name in policies.NAMES:
        return to_rows(policies.changed(from_rows(rows), name, *value))
    found: np.ndarray = (
        cv2.transform(rows, np.tile(LUMA, (3, 1)))
        if name == "grey"
        else cv2.GaussianBlur(rows, (5, 5), value)
    )
    return found


def _tilt(rows: np.ndarray, degrees: float) -> np.ndarray:
    cv2 = opencv()
    height, width = rows.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    tilted: np.ndarray = cv2.warpAffine(rows, matrix, (width, height), borderValue=MEAN_COLOUR)
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
