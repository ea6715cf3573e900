"""Every architecture, every freezing depth: the split is exact, and frozen means frozen."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from tl_app.backbones.catalogue import BackboneSpec, get_backbone, list_backbones
from tl_app.backbones.staged import StagedNetwork, build, split
from tl_app.transfer.freezing import set_depth, train_mode

# Larger ones take seconds for their weights alone; of more than the latter, training steps take minutes.
_GIANT_PARAMETERS, _TRAINED_PARAMETERS = 100e6, 150e6
_SMALLEST = {spec.family: spec.name for spec in sorted(list_backbones(), key=lambda spec: -spec.parameters)}
ORDINARY = [
    spec.name
    for spec in list_backbones()
    if spec.parameters <= _GIANT_PARAMETERS or spec.name in _SMALLEST.values()
]
GIANTS = [spec.name for spec in list_backbones() if spec.name not in ORDINARY]

# Building and running a network must not warn the user; what other tests left behind is not its doing.
pytestmark = [
    pytest.mark.filterwarnings("error"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.mark.parametrize("name", ORDINARY)
def test_split_equals_the_whole_and_frozen_stages_stay_as_they_are(name: str) -> None:
    network, photos = _small(get_backbone(name))
    _check_splits(network, photos)
    _check_freezing(network, photos)


@pytest.mark.slow
@pytest.mark.parametrize("name", GIANTS)
def test_split_of_a_giant_equals_the_whole(name: str) -> None:
    spec = get_backbone(name)
    network, photos = _small(spec)
    _check_splits(network, photos)
    if spec.parameters <= _TRAINED_PARAMETERS:
        _check_freezing(network, photos)


def _small(spec: BackboneSpec) -> tuple[StagedNetwork, Tensor]:
    """The network with three classes, and two photos of noise that are as small as it can see."""
    torch.manual_seed(0)
    if spec.family == "ViT":
        size = 2 * spec.image_size_step
        network = build(spec.name, num_classes=3, image_size=size)
    else:
        network = build(spec.name, num_classes=3)
        # Swin's published smallest size is that of its training; it pads smaller ones.
        size = 64 if spec.family.startswith("Swin") else max(64, spec.min_image_size)
    return network, torch.randn(2, 3, size, size)


@torch.no_grad()
def _check_splits(network: StagedNetwork, photos: Tensor) -> None:
    network.eval()
    expected = network.net(photos)  # torchvision's own forward
    assert expected.shape == (2, 3)
    assert expected.any()
    assert torch.equal(network(photos), expected)
    boundary = photos
    for k in range(len(network.stages) + 1):
        prefix, suffix = split(network, k)
        assert list(prefix) == [stage.module for stage in network.stages[:k]]  # so prefix(photos) is boundary
        before = boundary.clone()
        assert torch.equal(suffix(boundary), expected), k
        assert torch.equal(boundary, before), f"the suffix writes into its input at {k}"
        if k < len(network.stages):
            boundary = network.stages[k].module(boundary)


def _check_freezing(network: StagedNetwork, photos: Tensor) -> None:
    start = {key: value.clone() for key, value in network.net.state_dict().items()}
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, weight_decay=0.1)
    # From the head down, so that the stages below k were never trained.
    for k in range(len(network.stages), -1, -1):
        set_depth(network, k)
        train_mode(network, k)
        optimizer.zero_grad()
        batches = _batches_seen(network, k)
        nn.functional.cross_entropy(network(photos), torch.tensor([0, 1])).backward()
        optimizer.step()

        frozen = [parameter for stage in network.stages[:k] for parameter in stage.module.parameters()]
        trained = [stage.module.parameters() for stage in network.stages[k:]]
        assert all(parameter.grad is None for parameter in frozen), k
        assert all(
            parameter.grad is not None for parameter in itertools.chain(*trained, network.head_parameters())
        ), k
        _check_unmoved(network, k, start)
        assert _batches_seen(network, k) == [seen + 1 for seen in batches], k
    moved = network.net.state_dict()
    assert any(not torch.equal(moved[key], start[key]) for key in dict(network.net.named_parameters()))


def _check_unmoved(network: StagedNetwork, k: int, start: dict[str, Tensor]) -> None:
    """The first ``k`` stages have the parameters and the buffers (BatchNorm's statistics) of the start."""
    by_identity = {id(value): key for key, value in network.net.state_dict(keep_vars=True).items()}
    for stage in network.stages[:k]:
        for value in stage.module.state_dict(keep_vars=True).values():
            key = by_identity[id(value)]
            assert torch.equal(value, start[key]), f"{key} moved at depth {k}"


def _batches_seen(network: StagedNetwork, k: int) -> list[int]:
    """How many batches each BatchNorm layer of the trained stages has taken statistics from."""
    modules = itertools.chain.from_iterable(stage.module.modules() for stage in network.stages[k:])
    return [int(module.num_batches_tracked) for module in modules if isinstance(module, nn.BatchNorm2d)]
