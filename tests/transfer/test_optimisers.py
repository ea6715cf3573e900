from __future__ import annotations

import pytest
import torch
from torch import nn

from tl_app.transfer.optimisers import build_optimizer, clip_gradients, set_rates


def network() -> nn.Sequential:
    """Three stages with a filter and a bias each, and a head."""
    return nn.Sequential(*(nn.Linear(2, 2) for _ in range(4)))


def rates(net: nn.Sequential, optimizer: torch.optim.Optimizer) -> list[float]:
    """The base rate of each stage's filter, and the head's."""
    found = {id(p): group["base_lr"] for group in optimizer.param_groups for p in group["params"]}
    return [found[id(layer.weight)] for layer in net]  # type: ignore[arg-type]


def built(net: nn.Sequential, name: str = "sgd", **settings: float | bool) -> torch.optim.Optimizer:
    plain = {"lr_head": 0.5, "lr_backbone": 0.08, "weight_decay": 0.01}
    return build_optimizer(name, net, net[3], stages=list(net[:3]), **{**plain, **settings})  # type: ignore[arg-type]


def test_each_stage_has_a_share_of_the_next_ones_rate() -> None:
    net = network()
    assert rates(net, built(net, layer_decay=0.5)) == pytest.approx([0.02, 0.04, 0.08, 0.5])
    optimizer = built(net, layer_decay=0.5)
    set_rates(optimizer, 0.1)
    assert sorted({group["lr"] for group in optimizer.param_groups}) == pytest.approx(
        [0.002, 0.004, 0.008, 0.05]
    )


def test_frozen_stages_change_no_rates_behind_them() -> None:
    net = network()
    net[0].requires_grad_(False)
    optimizer = built(net, layer_decay=0.5)
    assert sorted({group["base_lr"] for group in optimizer.param_groups}) == pytest.approx([0.04, 0.08, 0.5])


def test_without_decay_groups_are_as_few_as_ever_and_rates_exact() -> None:
    net = network()
    plain = build_optimizer("sgd", net, net[3], lr_head=0.5, lr_backbone=0.08, weight_decay=0.01)
    for optimizer in (plain, built(net)):
        assert [(group["base_lr"], group["weight_decay"]) for group in optimizer.param_groups] == [
            (0.08, 0.01),
            (0.08, 0.0),
            (0.5, 0.01),
            (0.5, 0.0),
        ]
        assert [len(group["params"]) for group in optimizer.param_groups] == [3, 3, 1, 1]


def test_a_backbone_that_is_pulled_elsewhere_has_no_weight_decay() -> None:
    net = network()
    optimizer = built(net, backbone_decays=False)
    assert [(g["base_lr"], g["weight_decay"]) for g in optimizer.param_groups if g["weight_decay"]] == [
        (0.5, 0.01)
    ]


@pytest.mark.parametrize(("largest", "length"), [(0.0, 13.0), (20.0, 13.0), (1.3, 1.3)])
def test_clipping_shortens_all_gradients_together(largest: float, length: float) -> None:
    net = network()
    optimizer = built(net)
    net[0].weight.grad = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    net[3].bias.grad = torch.tensor([0.0, 12.0])
    clip_gradients(optimizer, largest)
    assert net[0].weight.grad.norm().item() / net[3].bias.grad.norm().item() == pytest.approx(5 / 12)
    both = torch.cat([net[0].weight.grad.flatten(), net[3].bias.grad])
    assert both.norm().item() == pytest.approx(length, rel=1e-4)


def test_a_gradient_that_is_no_number_stays_one() -> None:
    net = network()
    net[0].weight.grad = torch.full((2, 2), float("nan"))
    clip_gradients(built(net), 1.0)
    assert torch.isnan(net[0].weight.grad).all()
