"""What whoever writes an exported ONNX file and whoever reads it agree on. Knows neither of them."""

from __future__ import annotations

PHOTOS = "photos"  # the input: uint8 (N, H, W, 3), upright RGB, of any size
PROBABILITIES = "probabilities"  # the output: float32 (N, classes), calibrated
KEY = "tl_app"  # the name of the description among the file's metadata
FORMAT = 1  # of that description
