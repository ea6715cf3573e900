from __future__ import annotations

import pytest
import torch
from torch import nn

from tl_app.backbones import staged
from tl_app.backbones.pieces import Dropout


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(3, 50_021), (5, 10, 100, 20)])
def test_dropout_leaves_out_its_share_anywhere_and_keeps_the_mean(
    share: float, shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    x = torch.ones(shape, requires_grad=True)
    y = Dropout(share)(x)
    assert y.shape == x.shape and y.unique().tolist() == [0, pytest.approx(1 / (1 - share), rel=1e-3)]
    # Also of each fourth number: they come out of one word.
    for some in (y, *(y.flatten()[place::4] for place in range(4))):
        assert (some == 0).float().mean().item() == pytest.approx(share, abs=0.01)
    assert y.mean().item() == pytest.approx(1, abs=0.02)
    y.sum().backward()
    assert x.grad is not None and torch.equal(x.grad, y.detach())


def test_dropout_draws_what_its_seed_says_and_neighbours_do_not_go_together() -> None:
    x, layer = torch.ones(64, 1000), Dropout(0.5)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(layer(x))
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    left_out = (draws[0] == 0).double()
    together = torch.corrcoef(torch.stack([left_out[:, :-1].flatten(), left_out[:, 1:].flatten()]))[0, 1]
    assert abs(together.item()) < 0.02


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_dropout_of_nothing_and_of_everything(share: float) -> None:
    x = torch.randn(4, 5)
    assert torch.equal(Dropout(share)(x), x * (1 - share))


def test_dropout_does_nothing_in_evaluation_and_keeps_the_type_while_training() -> None:
    x = torch.randn(4, 5, dtype=torch.bfloat16)
    layer = Dropout(0.5)
    assert layer(x).dtype == x.dtype
    assert layer.eval()(x) is x


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "squeezenet1_1", "vgg11"])
def test_the_dropout_of_a_head_is_never_in_place(name: str) -> None:
    network = staged.build(name, num_classes=2)
    found = [module for module in network.head.modules() if isinstance(module, nn.Dropout)]
    assert found and all(type(module) is Dropout and not module.inplace for module in found)
    assert {id(module) for module in found} <= {id(module) for module in network.net.modules()}
    features = torch.randn(2, *{"squeezenet1_1": (512, 13, 13), "vgg11": (4096,)}.get(name, (1024,)))
    before = features.clone()
    network.train().head(features)
    assert torch.equal(features, before)
