from __future__ import annotations

import pytest
import torch

from tl_app.backbones.staged import ends_in_map
from tl_app.engine.tapped import Tapped
from tl_app.transfer import heads


@pytest.mark.parametrize(
    ("name", "head", "features"),
    [
        ("mobilenet_v3_small", heads.LINEAR, 1024),
        ("squeezenet1_1", heads.LINEAR, 512),  # whose head convolves a map
        ("mobilenet_v2", heads.Head("mlp", hidden=8, pooling="flatten"), 1280),
        ("resnet18", heads.Head("cosine"), 512),
    ],
)
def test_features_and_logits_come_of_one_pass(name: str, head: heads.Head, features: int) -> None:
    torch.manual_seed(0)
    network = heads.build(name, head, num_classes=3, image_size=64).eval()
    photos = torch.randn(2, 3, 64, 64)
    tapped = Tapped(network)
    with torch.inference_mode():
        both, boundary = tapped(photos), photos
        for stage in network.stages:
            boundary = stage.module(boundary)
        expected = network(photos)
    assert both.shape == (2, features + 3)
    assert ends_in_map(network) == (boundary.ndim == 4)
    torch.testing.assert_close(both[:, features:], expected)
    pooled = boundary.mean((2, 3)) if boundary.ndim == 4 else boundary
    torch.testing.assert_close(both[:, :features], pooled)
