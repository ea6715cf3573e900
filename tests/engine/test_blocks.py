from __future__ import annotations

import pytest
import torch
from torch import nn

from tl_app.backbones.staged import build
from tl_app.engine.blocks import Window, activations, blocks_of, compared, random_window, stride_of


@pytest.mark.parametrize(
    ("name", "least"),
    [("mobilenet_v2", 19), ("resnet18", 9), ("shufflenet_v2_x0_5", 5), ("vit_b_32", 1), ("squeezenet1_1", 8)],
)
def test_blocks_one_after_the_other_are_the_network(name: str, least: int) -> None:
    network = build(name).eval()
    size = network.image_size
    blocks, photos = blocks_of(network), torch.randn(1, 3, size, size)
    assert len(blocks) >= least
    with torch.no_grad():
        torch.testing.assert_close(network.head(activations(blocks, photos)[-1]), network(photos))
    of_blocks = sum(p.numel() for number in compared(blocks) for p in blocks[number].parameters())
    assert of_blocks == sum(p.numel() for stage in network.stages for p in stage.module.parameters())


def test_a_window_computed_alone_is_that_of_the_whole() -> None:
    torch.manual_seed(0)
    block = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU()).eval()
    given = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        found = block(given)
        assert stride_of(block, given, found) == 2
        seen = set()
        for _ in range(200):
            window = random_window(found, 2)
            seen.add((window.top, window.left))
        assert min(min(at) for at in seen) == 0 and max(max(at) for at in seen) == 28 and len(seen) > 100
        for window in (Window(0, 0, 2), Window(28, 28, 2), Window(3, 11, 2)):
            alone = window.inside(block(window.of_input(given)))
            torch.testing.assert_close(alone, window.of_output(found))


class _Squeezed(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * x.mean((2, 3), keepdim=True)


@pytest.mark.parametrize(
    "block", [_Squeezed(), nn.Conv2d(3, 3, 9, padding=4), nn.Flatten(1), nn.MaxPool2d(8)]
)
def test_what_sees_the_whole_map_or_is_too_small_gets_no_window(block: nn.Module) -> None:
    given = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert stride_of(block, given, block(given)) is None
