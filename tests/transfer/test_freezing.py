from __future__ import annotations

import pytest
import torch
from torch import nn

from tl_app.backbones.staged import StagedNetwork, build
from tl_app.errors import UsageError
from tl_app.transfer.freezing import evaluation_mode, set_depth, train_mode


@pytest.fixture(scope="module")
def network() -> StagedNetwork:
    torch.manual_seed(0)
    return build("mobilenet_v3_small", num_classes=2)


def _trainable(network: StagedNetwork) -> list[bool]:
    views = [*(stage.module for stage in network.stages), network.head]
    states = [{parameter.requires_grad for parameter in view.parameters()} for view in views]
    assert all(len(state) == 1 for state in states), "a stage is half frozen"
    return [state.pop() for state in states]


@pytest.mark.parametrize("k", [0, 3, 8])
def test_depth_freezes_exactly_the_first_stages(network: StagedNetwork, k: int) -> None:
    assert len(network.stages) == 8
    set_depth(network, 8 - k)  # whatever was frozen before
    set_depth(network, k)
    assert _trainable(network) == [False] * k + [True] * (9 - k)
    train_mode(network, k)
    modes = [{module.training for module in stage.module.modules()} for stage in network.stages]
    assert modes == [{False}] * k + [{True}] * (8 - k)
    assert network.head.training


def test_freezing_alone_puts_frozen_stages_in_eval_mode(network: StagedNetwork) -> None:
    network.train()
    set_depth(network, 2)
    assert [stage.module.training for stage in network.stages] == [False] * 2 + [True] * 6


def test_frozen_statistics_stay_while_trained_ones_move(network: StagedNetwork) -> None:
    set_depth(network, 2)
    train_mode(network, 2)
    before = {key: value.clone() for key, value in network.net.state_dict().items() if "running" in key}
    network(torch.randn(4, 3, 64, 64))
    after = network.net.state_dict()
    moved = {int(key.split(".")[1]) for key in before if not torch.equal(after[key], before[key])}
    assert min(moved) == 2  # features.0 is the stem, features.1 the first block
    assert max(moved) == 12


@pytest.mark.parametrize("k", [-1, 9])
def test_depths_the_network_does_not_have_are_refused(network: StagedNetwork, k: int) -> None:
    for call in (set_depth, train_mode):
        with pytest.raises(UsageError, match=f"depth {k} does not go with mobilenet_v3_small.*0 to 8"):
            call(network, k)


def test_kept_statistics_stay_everywhere_and_scales_are_still_trained(network: StagedNetwork) -> None:
    set_depth(network, 2)
    train_mode(network, 2, keep_statistics=True)
    before = {key: value.clone() for key, value in network.net.state_dict().items() if "running" in key}
    network(torch.randn(4, 3, 64, 64)).sum().backward()
    after = network.net.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert network.net.features[12][1].weight.grad is not None  # type: ignore[index, union-attr]
    assert network.head.training


def test_statistics_that_adapt_forget_what_they_began_with_within_a_small_folders_steps() -> None:
    slow = build("mobilenet_v3_small", num_classes=2)
    norms = [module for module in slow.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert {norm.momentum for norm in norms} == {0.01}
    norms[-1].momentum = None
    train_mode(slow, 0, keep_statistics=True)
    assert {norm.momentum for norm in norms} == {0.01, None}
    train_mode(slow, 0)
    assert {norm.momentum for norm in norms} == {0.1, None}


def test_evaluation_gives_each_layer_its_mode_back() -> None:
    module = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm2d(2).eval(), nn.BatchNorm2d(2)))
    before = [layer.training for layer in module.modules()]
    with pytest.raises(KeyError), evaluation_mode(module):
        assert not any(layer.training for layer in module.modules())
        raise KeyError
    assert [layer.training for layer in module.modules()] == before
    assert before.count(False) == 1
