"""The photos whose features point the same way as one photo's. Knows nothing of photos but their features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ROWS = 4096  # of features in float32 at a time: 33 MB for 2,048 features


def nearest(
    features: NDArray[np.float16], of: NDArray[np.float16], most: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The nearest photos by cosine similarity, the most similar first.

    Args:
        features: (N, D), those to choose from.
        of: (D,), one photo's.
        most: How many at the most.

    Returns:
        Their places, and their similarities, -1 to 1; 0 where a photo has no features at all.
    """
    wanted = of.astype(np.float32)
    wanted /= max(float(np.linalg.norm(wanted)), 1e-12)
    similarity = np.empty(len(features), np.float32)
    for start in range(0, len(features), _ROWS):
        part = features[start : start + _ROWS].astype(np.float32)
        lengths = np.maximum(np.linalg.norm(part, axis=1), 1e-12)
        similarity[start : start + _ROWS] = part @ wanted / lengths
    order = np.argsort(-similarity, kind="stable")[:most]
    return order, similarity[order]
