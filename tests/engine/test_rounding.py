from __future__ import annotations

import copy

import torch
from torch import nn

from tests.engine.test_fusing import small
from tl_app.engine.fusing import fold_batchnorm
from tl_app.engine.rounding import round_weights


def test_the_means_of_channels_stay_where_they_were() -> None:
    """Also in a depthwise layer, whose few weights cannot make up for each other's rounding."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.Conv2d(8, 8, 3, groups=8, bias=True))
    network.requires_grad_(False)
    images = torch.rand(4, 3, 12, 12) + 2
    exact = network(images)
    naive, careful = copy.deepcopy(network), copy.deepcopy(network)
    naive.bfloat16().float()
    round_weights(careful, lambda: careful(images))
    for layer in careful:
        assert torch.equal(layer.weight, layer.weight.bfloat16().float())
        assert not layer.bias.requires_grad
    off = [(each(images) - exact).mean((0, 2, 3)).abs().max() for each in (naive, careful)]
    assert off[1] < 0.1 * off[0]
    assert not any(module._forward_hooks for module in careful.modules())


def test_a_deep_network_is_closer_to_itself() -> None:
    network, photos = small("mobilenet_v2")
    exact = network(photos)
    careful = fold_batchnorm(copy.deepcopy(network))
    naive = copy.deepcopy(careful).bfloat16().float()
    other = torch.randn(photos.shape)
    round_weights(careful, lambda: careful(other))
    errors = [((each(photos) - exact).norm() / exact.norm()).item() for each in (naive, careful)]
    assert errors[1] < 0.7 * errors[0] < 0.05
