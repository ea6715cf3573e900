from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tl_app.backbones import staged
from tl_app.backbones.fusion import Fusion, MapMean, PlaceMean
from tl_app.backbones.staged import StagedNetwork
from tl_app.engine.fusing import fold_batchnorm
from tl_app.errors import UsageError
from tl_app.transfer import heads
from tl_app.transfer.heads import Head

# Networks that are quick to compute, with the widths of their last three stages.
FAMILIES = [
    ("resnet18", 64, [128, 256, 512]),
    ("squeezenet1_1", 64, [384, 512, 512]),
    ("mobilenet_v3_small", 32, [96, 576, 1024]),
    ("shufflenet_v2_x0_5", 32, [96, 192, 1024]),
]


def built(name: str, size: int, fusion: Fusion | None, **head: Any) -> StagedNetwork:
    torch.manual_seed(0)
    return heads.build(name, Head(fusion=fusion, **head), num_classes=3, image_size=size).eval()


def features(network: StagedNetwork, photos: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = staged.split(network, len(network.stages))[0](photos)
    return found


@pytest.mark.parametrize(("name", "size", "widths"), FAMILIES, ids=[name for name, *_ in FAMILIES])
def test_the_last_stages_stand_side_by_side(name: str, size: int, widths: list[int]) -> None:
    fusion, photos = Fusion(3), torch.randn(2, 3, size, size)
    network, plain = built(name, size, fusion), built(name, size, None)
    found = features(network, photos)
    assert found.shape == (2, sum(widths)) == (2, *heads.feature_shape(name, fusion, size))
    assert len(network.stages) == len(plain.stages) - 2
    # Piece by piece what the stages of the same network give without fusion.
    boundary, at, outputs = photos, 0, []
    with torch.no_grad():
        for stage in plain.stages:
            boundary = stage.module(boundary)
            outputs.append(boundary)
    for output, width in zip(outputs[-3:], widths, strict=True):
        piece, at = found[:, at : at + width], at + width
        torch.testing.assert_close(piece, _pooled(output))
    _check_whole(network, photos)
    assert sum(p.numel() for p in network.head_parameters()) == heads.parameters(
        name, Head(fusion=fusion), 3, size
    )
    counted = staged.stage_parameters(name, fusion)
    assert [label for label, _ in counted] == [*(stage.name for stage in network.stages), "head"]
    assert network.stages[-1].name == f"{plain.stages[-3].name} to {plain.stages[-1].name}"


@pytest.mark.parametrize(
    ("name", "widths"),
    [
        ("vgg11", [512, 4096, 4096]),
        ("alexnet", [256, 4096, 4096]),
        ("densenet121", [256, 512, 1024]),
        ("efficientnet_b0", [192, 320, 1280]),
        ("googlenet", [512, 832, 1024]),
        ("inception_v3", [768, 768, 2048]),
        ("regnet_y_400mf", [104, 208, 440]),
        ("convnext_tiny", [384, 768, 768]),
        ("swin_t", [384, 768, 768]),
        ("maxvit_t", [256, 512, 512]),
        ("vit_b_32", [768, 768, 768]),
    ],
)
def test_every_kind_of_stage_becomes_a_vector(name: str, widths: list[int]) -> None:
    """Worked out on shapes alone."""
    size = staged.get_backbone(name).image_size
    assert heads.feature_shape(name, Fusion(3), size) == (sum(widths),)


def test_flattened_maps_are_averaged_by_channel() -> None:
    maps = torch.randn(2, 5, 3, 4)
    torch.testing.assert_close(PlaceMean(12)(maps.flatten(1)), MapMean((2, 3))(maps))
    torch.testing.assert_close(MapMean((1, 2))(maps.movedim(1, -1)), MapMean((2, 3))(maps))
    assert (repr(PlaceMean(12)), repr(MapMean((1, 2)))) == ("PlaceMean(12)", "MapMean((1, 2))")


def _pooled(output: Tensor) -> Tensor:
    return output.mean((2, 3)) if output.ndim == 4 else output


@torch.no_grad()
def _check_whole(network: StagedNetwork, photos: Tensor) -> None:
    """Stages and head cover the parameters once each, and a copy gives the same."""
    covered = [id(p) for stage in network.stages for p in stage.module.parameters()]
    covered += [id(p) for p in network.head_parameters()]
    assert sorted(covered) == sorted(id(p) for p in network.net.parameters())
    assert torch.equal(copy.deepcopy(network)(photos), network(photos))


@pytest.mark.parametrize(("other", "kind"), [("squeezenet1_1", "linear"), ("mobilenet_v3_small", "mlp")])
def test_a_second_network_sees_the_same_photos(other: str, kind: str) -> None:
    photos = torch.randn(2, 3, 64, 64)
    torch.manual_seed(1)
    alone = staged.build(other, image_size=64).eval()
    second = copy.deepcopy(alone)
    network = staged.build("resnet18", image_size=64)
    heads.put_head(network, Head(kind, fusion=Fusion(2, other)), 3, second)
    network.eval()
    colours = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), ((0.5, 0.4, 0.3), (0.5, 0.25, 0.2))
    staged.put_colours(network, *colours)
    found = features(network, photos)
    own, mean = torch.tensor(colours[0])[..., None, None], torch.tensor(colours[1])[..., None, None]
    recoloured = (photos * own[1] + own[0] - mean[0]) / mean[1]
    expected = features(alone, recoloured)
    if expected.ndim == 4:
        expected = expected.mean((2, 3))
    torch.testing.assert_close(found[:, 768:], expected, atol=1e-4, rtol=1e-4)
    assert [stage.name for stage in network.stages] == [f"stem to layer4 + {other}"]
    assert network(photos).shape == (2, 3)
    _check_whole(network, photos)
    # A network built anew takes all weights, colours included.
    again = built("resnet18", 64, Fusion(2, other), kind=kind)
    again.net.load_state_dict(network.net.state_dict())
    torch.testing.assert_close(again(photos), network(photos))


def test_batchnorm_is_folded_in_both_networks() -> None:
    network = built("resnet18", 64, Fusion(2, "mobilenet_v3_small"))
    photos = torch.randn(2, 3, 64, 64)
    row = staged.split(network, 0)[1]
    folded = fold_batchnorm(row)
    assert not any(isinstance(each, nn.BatchNorm2d) for each in folded.modules())
    with torch.no_grad():
        torch.testing.assert_close(folded(photos), network(photos), atol=1e-4, rtol=1e-4)


def test_what_cannot_be_fused_says_so() -> None:
    with pytest.raises(
        UsageError, match="features of 6 stages cannot be fused: resnet18 has 5. .*from 1 to 5"
    ):
        heads.ending_for(Head(fusion=Fusion(6)), "resnet18")
    with pytest.raises(UsageError, match="There is no backbone 'resnet19'"):
        heads.ending_for(Head(fusion=Fusion(1, "resnet19")), "resnet18")
