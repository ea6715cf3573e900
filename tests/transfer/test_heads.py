from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tl_app.backbones import staged
from tl_app.backbones.catalogue import get_backbone, list_backbones
from tl_app.backbones.families import LAYOUTS
from tl_app.backbones.pieces import Dropout
from tl_app.config import TrainConfig
from tl_app.errors import UsageError
from tl_app.transfer import heads
from tl_app.transfer.freezing import set_depth, train_mode
from tl_app.transfer.heads import Cosine, Head

MLP, FLAT, COSINE = Head("mlp", hidden=32), Head("mlp", hidden=32, pooling="flatten"), Head("cosine")
KINDS = {"linear": heads.LINEAR, "cosine": COSINE, "mlp": MLP, "flat": FLAT}


def _smallest(family: str) -> str:
    ours = [spec for spec in list_backbones() if spec.family == family and spec.name != "bundled"]
    return min(ours, key=lambda spec: spec.parameters).name


def _size(name: str) -> int:
    spec = get_backbone(name)
    return 2 * spec.image_size_step if spec.family == "ViT" else max(64, spec.min_image_size)


@pytest.mark.parametrize("family", LAYOUTS)
def test_every_family_with_every_head(family: str) -> None:
    name = _smallest(family)
    size = _size(name)
    torch.manual_seed(0)
    network = staged.build(name, image_size=size)
    for kind, head in KINDS.items():
        if kind == "flat" and family == "ViT":
            with pytest.raises(UsageError, match="no feature map.*Choose pooling 'pool'"):
                heads.put_head(network, head, 3)
            continue
        heads.put_head(network, head, 3)
        _check_parts(network, head)
        features = _check_split(network, size)
        is_map = kind == "flat" or (family, kind) == ("SqueezeNet", "linear")
        assert features.ndim == (4 if is_map else 2)
        assert tuple(features.shape[1:]) == heads.feature_shape(name, network.ending, size)
        _check_step(network, features)


def _check_parts(network: staged.StagedNetwork, head: Head) -> None:
    """Stages and head have every parameter once, and the sizes and names are those said beforehand."""
    name, size = network.name, network.image_size
    views = [*(stage.module for stage in network.stages), network.head]
    covered = [id(parameter) for view in views for parameter in view.parameters()]
    assert sorted(covered) == sorted(id(parameter) for parameter in network.net.parameters())
    own = sum(parameter.numel() for parameter in network.head_parameters())
    assert own == heads.parameters(name, head, 3, size)
    names = [label for label, _ in staged.stage_parameters(name, heads.ending_for(head, name))]
    assert names == [*(stage.name for stage in network.stages), "head"]


@torch.no_grad()
def _check_split(network: staged.StagedNetwork, size: int) -> Tensor:
    """Head and stages apart give what they give together; returns the features of two photos."""
    photos = torch.randn(2, 3, size, size)
    prefix, suffix = staged.split(network.eval(), len(network.stages))
    features = prefix(photos)
    before, logits = features.clone(), suffix(features)
    assert logits.shape == (2, 3) and torch.equal(logits, network(photos))
    assert torch.equal(features, before), "the head writes into its input"
    if isinstance(network.classifier, nn.Linear | nn.Conv2d):
        torch.testing.assert_close(network.net(photos), logits)
    return before


def _check_step(network: staged.StagedNetwork, features: Tensor) -> None:
    """A step on the head alone moves all of it and nothing else."""
    start = {key: value.clone() for key, value in network.net.state_dict().items()}
    depth = len(network.stages)
    set_depth(network, depth)
    train_mode(network, depth)
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1.0)
    nn.functional.cross_entropy(network.head(torch.randn_like(features)), torch.tensor([0, 1])).backward()
    optimizer.step()
    moved = {key for key, value in network.net.state_dict().items() if not torch.equal(value, start[key])}
    of_head = {key for key, p in network.net.named_parameters() if p.requires_grad}
    assert moved == of_head and len(moved) == len(list(network.head_parameters()))


def test_vgg16_with_the_dense_head_of_the_tutorials() -> None:
    """Flatten (512 x 7 x 7), dense 1024, ReLU, dropout 0.5, softmax; or the 512 means instead."""
    assert heads.feature_shape("vgg16", "map", 224) == (512, 7, 7)
    assert heads.parameters("vgg16", Head("mlp", pooling="flatten"), 10) == 25_088 * 1024 + 1024 + 10_250
    assert heads.parameters("vgg16", Head("mlp"), 10) == 512 * 1024 + 1024 + 10_250
    network = heads.build("vgg11", Head("mlp", pooling="flatten"), num_classes=3, image_size=64)
    assert [stage.name for stage in network.stages][-1] == "conv5"
    layers = list(network.classifier.children())
    assert [type(layer) for layer in layers] == [nn.Flatten, nn.Linear, nn.ReLU, Dropout, nn.Linear]
    assert isinstance(layers[1], nn.Linear) and (layers[1].in_features, layers[1].out_features) == (
        2048,
        1024,
    )
    assert layers[3].p == 0.5
    photos = torch.randn(2, 3, 64, 64)
    network.eval()
    with torch.no_grad():
        expected = nn.Sequential(network.net.features, *layers)(photos)  # type: ignore[arg-type]
        assert torch.equal(network(photos), expected)


def test_heads_follow_one_another() -> None:
    for name in ("resnet18", "squeezenet1_1"):
        network = staged.build(name, num_classes=5, image_size=64).eval()
        keys = list(network.net.state_dict())
        stages = [stage.name for stage in network.stages]
        photos = torch.randn(1, 3, 64, 64)
        for head in (FLAT, COSINE, MLP, heads.LINEAR):
            heads.put_head(network, head, 4)
            assert network(photos).shape == (1, 4)
            assert [stage.name for stage in network.stages] == stages
        assert list(network.net.state_dict()) == keys
        torch.testing.assert_close(network(photos), network.net(photos))


def test_layers_that_an_mlp_replaced_do_not_come_back() -> None:
    network = heads.build("mobilenet_v3_small", MLP, num_classes=2, image_size=32).eval()
    heads.put_head(network, FLAT, 3)
    for head in (heads.LINEAR, COSINE):
        with pytest.raises(UsageError, match="without its layers fc was asked .*Choose head 'mlp'"):
            heads.put_head(network, head, 3)
    assert network(torch.randn(1, 3, 32, 32)).shape == (1, 3)


def test_a_fresh_head_is_close_to_even_and_changes_no_stage() -> None:
    torch.manual_seed(0)
    for head in (MLP, FLAT, COSINE):
        network = staged.build("mobilenet_v3_small", image_size=64)
        before = {key: value.clone() for key, value in network.net.features.state_dict().items()}  # type: ignore[union-attr]
        heads.put_head(network.to(torch.float64).eval(), head, 4)
        assert network.classifier.training is False
        assert {p.dtype for p in network.parameters()} == {torch.float64}
        with torch.no_grad():
            chances = network(torch.randn(4, 3, 64, 64).double()).softmax(1)
        assert (chances - 0.25).abs().max() < 0.35
        after = network.net.features.state_dict()  # type: ignore[union-attr]
        assert all(torch.equal(after[key].to(value), value) for key, value in before.items())


@pytest.mark.parametrize("head", [MLP, FLAT, COSINE], ids=["mlp", "flat", "cosine"])
def test_deep_copies_are_whole_and_apart(head: Head) -> None:
    network = heads.build("alexnet", head, num_classes=2, image_size=64).eval()
    photos = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected, twin = network(photos), copy.deepcopy(network)
        for parameter in network.parameters():
            parameter.zero_()
        assert torch.equal(twin(photos), expected)
    covered = itertools.chain(*(s.module.parameters() for s in twin.stages), twin.head_parameters())
    assert {id(p) for p in covered} == {id(p) for p in twin.net.parameters()}


def test_cosines_by_hand() -> None:
    head = Cosine(2, 2)
    head.load_state_dict(
        {
            "weight": torch.tensor([[3.0, 0.0], [0.0, 0.5]]),
            "log_scale": torch.tensor([math.log(20.0)]),
            "centre": torch.tensor([1.0, 1.0]),
        }
    )
    logits = head(torch.tensor([[4.0, 5.0]]))  # (3, 4) behind the centre: cosines 0.6 and 0.8
    torch.testing.assert_close(logits, torch.tensor([[12.0, 16.0]]))


def test_prototypes_are_the_mean_directions() -> None:
    features = torch.tensor([[3.0, 0.0], [1.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
    labels = torch.tensor([0, 0, 1, 1])
    head = Cosine(2, 2)
    head.start_from(lambda: [(features[:3], labels[:3]), (features[3:], labels[3:])])
    centre = torch.tensor([1.0, 1.0])
    directions = nn.functional.normalize(features - centre, dim=1)
    expected = torch.stack([directions[labels == label].mean(0) for label in (0, 1)])
    torch.testing.assert_close(head.centre, centre)
    torch.testing.assert_close(head.weight.detach(), nn.functional.normalize(expected, dim=1))
    assert head(features).argmax(1).tolist() == labels.tolist()


def test_what_features_are_standardised_for() -> None:
    expected: dict[str, Any] = {
        "linear": nn.Linear,
        "mlp": nn.Linear,
        "flat": nn.Linear,
        "cosine": type(None),
    }
    for kind, type_ in expected.items():
        network = heads.build("resnet18", KINDS[kind], num_classes=2, image_size=64)
        assert type(heads.first_linear(network)) is type_
    assert heads.first_linear(staged.build("squeezenet1_1", num_classes=2)) is None
    with_head = heads.build("squeezenet1_1", MLP, num_classes=2, image_size=64)
    assert heads.first_linear(with_head) is list(with_head.classifier.children())[1]


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_only_a_hidden_layer_takes_a_whole_map(kind: str) -> None:
    with pytest.raises(UsageError, match=f"Pooling 'flatten' was asked for, but a {kind} head.*head 'mlp'"):
        TrainConfig(head=kind, pooling="flatten")
    assert heads.head_of(TrainConfig(head="mlp", pooling="flatten", hidden=7, dropout=0.1)) == Head(
        "mlp", 7, 0.1, "flatten"
    )
