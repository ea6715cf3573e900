from __future__ import annotations

import copy
import itertools
import warnings

import pytest
import torch
from torch import nn
from torchvision import models

from tl_app.backbones import staged
from tl_app.backbones.catalogue import BackboneSpec, get_backbone, list_backbones
from tl_app.backbones.weightless import ValuelessMode
from tl_app.errors import UsageError

NAMES = [spec.name for spec in list_backbones()]


@pytest.mark.parametrize("name", NAMES)
def test_stages_and_head_cover_every_parameter_exactly_once(name: str) -> None:
    network = staged.build_weightless(name)
    views = [*(stage.module for stage in network.stages), network.head]
    covered = [id(parameter) for view in views for parameter in view.parameters()]
    assert len(covered) == len(set(covered))
    assert set(covered) == {id(parameter) for parameter in network.net.parameters()}
    assert all(parameter.is_meta for parameter in network.net.parameters())

    buffers = [id(buffer) for view in views for buffer in view.buffers()]
    assert sorted(buffers) == sorted(id(buffer) for buffer in network.net.buffers())
    leaves = [id(m) for view in views for m in view.modules() if not list(m.children()) and _has_mode(m)]
    assert len(leaves) == len(set(leaves)), "a layer with a mode belongs to two stages"


def _has_mode(module: nn.Module) -> bool:
    return isinstance(module, nn.BatchNorm2d | nn.Dropout)


@pytest.mark.parametrize("name", NAMES)
def test_stages_are_few_and_named(name: str) -> None:
    network = staged.build_weightless(name)
    names = [stage.name for stage in network.stages]
    assert 4 <= len(names) <= 12
    assert len(set(names)) == len(names)
    assert all(name == name.strip() and 2 <= len(name) <= 18 for name in names)
    assert all(sum(p.numel() for p in stage.module.parameters()) for stage in network.stages)


@pytest.mark.parametrize("name", NAMES)
def test_parameter_counts(name: str) -> None:
    counts = staged.stage_parameters(name)
    network = staged.build_weightless(name)
    assert [label for label, _ in counts] == [*(stage.name for stage in network.stages), "head"]
    assert staged.head_parameters(name, 1000) == counts[-1][1]
    if name not in ("inception_v3", "bundled"):  # published with an auxiliary head, and with another head
        assert sum(count for _, count in counts) == get_backbone(name).parameters

    staged.replace_head(network, 7)
    head = sum(parameter.numel() for parameter in network.head_parameters())
    assert staged.head_parameters(name, 7) == head
    covered = itertools.chain(*(s.module.parameters() for s in network.stages), network.head_parameters())
    assert {id(p) for p in covered} == {id(p) for p in network.net.parameters()}
    assert next(network.classifier.parameters()).shape[0] == 7


def test_stage_names_read_well() -> None:
    def names(name: str) -> list[str]:
        return [label for label, _ in staged.stage_parameters(name)]

    assert names("resnet18") == ["stem", "layer1", "layer2", "layer3", "layer4", "head"]
    assert names("mobilenet_v2")[:4] == ["stem", "block 1", "block 2-3", "block 4-6"]
    assert names("vit_l_16")[:3] == ["patches", "encoder 0-2", "encoder 3-5"]
    assert names("vgg16")[4:] == ["conv5", "fc6", "fc7", "head"]


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_heads_are_left_out_and_nothing_warns(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network = staged.build(name)
    assert not any("aux" in key.lower() for key in network.net.state_dict())
    assert network.net.transform_input  # as with torchvision's pretrained weights
    network.train()
    assert network.net(torch.randn(2, 3, 80, 80)).shape == (2, 1000)


@pytest.mark.parametrize("name", ["resnet18", "googlenet", "vit_b_32", "squeezenet1_1"])
def test_state_keys_are_torchvisions(name: str) -> None:
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    expected = models.get_model(name, **options).state_dict()
    assert list(staged.build_weightless(name).net.state_dict()) == list(expected)


@pytest.mark.parametrize("name", ["resnet18", "vit_b_32", "squeezenet1_1", "mobilenet_v3_small"])
def test_views_share_what_the_network_has(name: str) -> None:
    size = 64
    network = staged.build(name, num_classes=2, image_size=size if name == "vit_b_32" else None)
    photos = torch.randn(2, 3, size, size)

    network.to(torch.float64).to(memory_format=torch.channels_last)
    assert all(p.dtype == torch.float64 for stage in network.stages for p in stage.module.parameters())
    network.float()
    with torch.no_grad():
        for parameter in network.net.parameters():
            parameter.mul_(1.5)
    for mode in (True, False):
        network.train(mode)
        views = [*(stage.module for stage in network.stages), network.head]
        assert all(module.training is mode for view in views for module in view.modules())
    with torch.no_grad():
        assert torch.equal(network(photos), network.net(photos))


@pytest.mark.parametrize("name", ["resnet18", "vit_b_32"])
def test_deep_copies_are_whole_and_apart(name: str) -> None:
    network = staged.build(name, num_classes=2, image_size=64 if name == "vit_b_32" else None).eval()
    photos = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = network(photos)
        twin = copy.deepcopy(network)
        for parameter in network.parameters():
            parameter.zero_()
        assert torch.equal(twin(photos), expected)
        assert torch.equal(twin.net(photos), expected)
    covered = [p for stage in twin.stages for p in stage.module.parameters()] + list(twin.head_parameters())
    assert {id(p) for p in covered} == {id(p) for p in twin.net.parameters()}
    assert not {id(p) for p in covered} & {id(p) for p in network.parameters()}


def test_views_follow_parameters_that_a_move_replaces() -> None:
    network = staged.build_weightless("vit_b_32")
    network.to_empty(device="cpu")  # makes new Parameter objects
    covered = {id(p) for stage in network.stages for p in stage.module.parameters()}
    assert id(network.net.class_token) in covered
    assert id(network.net.encoder.pos_embedding) in covered


def test_a_head_in_training_leaves_the_features_alone() -> None:
    # Torchvision's dropout works in place, which would change a cached boundary.
    for name in ("efficientnet_b0", "mnasnet0_5", "mobilenet_v3_small"):
        network = staged.build(name, num_classes=2).train()
        features = torch.randn(4, next(network.classifier.parameters()).shape[1])
        before = features.clone()
        network.head(features)
        assert torch.equal(features, before)


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0", "mnasnet0_5", "squeezenet1_1", "maxvit_t"])
def test_a_fresh_head_starts_close_to_even_and_changes_nothing_else(name: str) -> None:
    network = staged.build(name)
    before = {key: value.clone() for key, value in network.net.state_dict().items()}
    staged.replace_head(network, 2)
    classifier = network.classifier
    assert float(next(classifier.parameters()).detach().std()) == pytest.approx(0.01, rel=0.2)
    prefix = staged.layout_of(name).classifier
    after = network.net.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], before[key]) for key in before if not key.startswith(f"{prefix}."))
    assert all(parameter.requires_grad for parameter in classifier.parameters())


def test_a_head_takes_over_type_and_mode() -> None:
    network = staged.build("resnet18").to(torch.bfloat16).eval()
    staged.replace_head(network, 3)
    assert network.classifier.weight.dtype == torch.bfloat16
    assert not network.classifier.training
    with pytest.raises(UsageError, match="head for 0 classes.*at least one"):
        staged.replace_head(network, 0)


def test_depth_is_checked() -> None:
    network = staged.build_weightless("resnet18")
    for k in (-1, 6):
        with pytest.raises(UsageError, match=rf"depth {k} does not go with resnet18.*0 to 5.*layer4"):
            staged.split(network, k)


def test_image_size_is_checked_and_used() -> None:
    assert staged.build("vit_b_32", image_size=64, num_classes=2).net.image_size == 64
    with pytest.raises(UsageError, match=r"Image size 225 does not go with vit_b_16.*multiple of 16.*224"):
        staged.build("vit_b_16", image_size=225)
    with pytest.raises(UsageError, match="no backbone 'resnet19'.*resnet18"):
        staged.build("resnet19")


@pytest.mark.parametrize("spec", [s for s in list_backbones() if s.family == "ViT"], ids=lambda s: s.name)
def test_transformer_steps_are_their_patches(spec: BackboneSpec) -> None:
    assert staged.build_weightless(spec.name).net.patch_size == spec.image_size_step


def test_maxvit_takes_twice_its_size() -> None:
    network = staged.build("maxvit_t", num_classes=2, image_size=448).eval()
    with torch.no_grad():
        assert network(torch.randn(1, 3, 448, 448)).shape == (1, 2)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "swin_t", "convnext_tiny", "vgg11", "vit_b_32"])
def test_a_network_without_values_takes_those_that_are_loaded(name: str) -> None:
    """Every parameter and statistic comes from the file, and none was drawn."""
    torch.manual_seed(0)
    full = staged.build(name, num_classes=3)
    state = torch.get_rng_state()
    with ValuelessMode():
        empty = staged.build(name, num_classes=3)
    assert torch.equal(torch.get_rng_state(), state), "no chance was used up"
    assert all(torch.isfinite(parameter).all() for parameter in empty.net.parameters())
    for parameter in empty.net.parameters():
        parameter.data.fill_(torch.nan)
    empty.net.load_state_dict(full.net.state_dict())
    size = 224 if name == "vit_b_32" else 64
    photos = torch.randn(2, 3, size, size)
    assert torch.equal(empty.eval()(photos), full.eval()(photos))
    assert not torch.equal(torch.get_rng_state(), state), "only within"
