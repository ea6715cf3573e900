"""The preprocessing inside an ONNX file gives the app's own pixels, to the last bit."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from tl_app.backbones.staged import build
from tl_app.data.preprocessing import Preprocessing
from tl_app.export.contract import PHOTOS
from tl_app.export.graph import Classifier
from tl_app.export.shrinking import preprocessing_graph

STEPS = [
    Preprocessing(64, 64),
    Preprocessing(73, 64, interpolation="bicubic"),
    Preprocessing(50, 64),  # black around it
    Preprocessing(40, 65, (0.5, 0.5, 0.5), (0.2, 0.3, 0.4), "bicubic"),
]
SIZES = [(1, 1), (1, 200), (300, 3), (64, 64), (73, 137), (137, 73), (8, 64), (65, 520), (3, 25), (50, 50)]


def photos(steps: Preprocessing) -> list[np.ndarray]:
    rng = np.random.default_rng(steps.resize)
    sizes = [*SIZES, *rng.integers(5, 400, (15, 2)).tolist()]
    noise = [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for height, width in sizes]
    # Black and white is where bicubic's overshoot has to be cut off.
    return [np.where(each > 127, 255, 0).astype(np.uint8) if i % 2 else each for i, each in enumerate(noise)]


def expected(steps: Preprocessing, photo: np.ndarray) -> torch.Tensor:
    return steps.normalise(steps.center(steps.shrink(photo.copy())))


@pytest.mark.parametrize("steps", STEPS, ids=lambda steps: f"{steps.resize} {steps.crop}")
def test_onnx_gives_the_same_pixels(steps: Preprocessing) -> None:
    session = onnxruntime.InferenceSession(preprocessing_graph(steps).SerializeToString())
    for photo in photos(steps):
        (pixels,) = session.run(None, {PHOTOS: photo[None]})
        assert np.array_equal(pixels[0], expected(steps, photo)), photo.shape


@pytest.mark.parametrize("steps", STEPS, ids=lambda steps: f"{steps.resize} {steps.crop}")
def test_torch_gives_the_same_pixels(steps: Preprocessing) -> None:
    module = Classifier(build("mobilenet_v3_small", num_classes=2, image_size=64), steps, 1.0)
    for photo in photos(steps):
        assert torch.equal(module.pixels(torch.from_numpy(photo)[None])[0], expected(steps, photo))


def test_photos_of_a_size_go_together() -> None:
    steps = Preprocessing(73, 64)
    several = np.random.default_rng(0).integers(0, 256, (3, 90, 131, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(preprocessing_graph(steps).SerializeToString())
    (pixels,) = session.run(None, {PHOTOS: several})
    assert np.array_equal(pixels, torch.stack([expected(steps, each) for each in several]))
