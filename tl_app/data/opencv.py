"""OpenCV, imported when the first photo needs it, and without threads of its own.

Photos are worked on by threads of ours, one photo each; threads that OpenCV adds per call would only get in their way.
"""

from __future__ import annotations

import functools
from types import ModuleType


@functools.cache
def opencv() -> ModuleType:
    """The module ``cv2``."""
    import cv2

    cv2.setNumThreads(0)
    module: ModuleType = cv2
    return module
