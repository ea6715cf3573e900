"""All architectures: BatchNorm is gone, and the fused network gives what the network gave."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tl_app.backbones.catalogue import get_backbone, list_backbones
from tl_app.backbones.staged import StagedNetwork, build, build_weightless, split
from tl_app.engine.fusing import OneDnnConv, fold_batchnorm, use_onednn
from tl_app.engine.surgery import NO_ACTIVATION

# One of each family, small ones.
FAMILIES = [
    *(
        "alexnet",
        "vgg11_bn",
        "resnet18",
        "resnext50_32x4d",
        "densenet121",
        "efficientnet_b0",
        "efficientnet_v2_s",
    ),
    *("mobilenet_v2", "mobilenet_v3_small", "mnasnet0_5", "squeezenet1_1", "shufflenet_v2_x0_5", "googlenet"),
    *("inception_v3", "regnet_y_400mf", "convnext_tiny", "swin_t", "swin_v2_t", "maxvit_t", "vit_b_32"),
]


@pytest.mark.parametrize("name", [spec.name for spec in list_backbones()])
def test_batchnorm_is_folded_in_every_architecture(name: str) -> None:
    """Without weights: what is left are the norms with no convolution in front of them."""
    network = whole(build_weightless(name))
    before = _count(network, nn.BatchNorm2d)
    folded = fold_batchnorm(network)
    left = _count(folded, nn.BatchNorm2d)
    if name.startswith(
        "densenet"
    ):  # normalises before it convolves: the stem and the middle of each layer fold
        layers = sum(type(module).__name__ == "_DenseLayer" for module in network.modules())
        assert before - left == layers + 1
    elif name == "maxvit_t":
        assert left == sum(type(module).__name__ == "MBConv" for module in network.modules())
    else:
        assert left == 0
    assert _count(network, nn.BatchNorm2d) == before


@pytest.mark.parametrize("name", FAMILIES)
def test_a_fused_network_gives_the_same(name: str) -> None:
    network, photos = small(name)
    expected = network(photos)
    folded = fold_batchnorm(network)
    _check_close(folded(photos), expected)
    fused = use_onednn(copy.deepcopy(folded), torch.float32)
    _check_close(fused(photos), expected)
    _check_close(fused(photos[:1]), expected[:1])  # packed for another batch
    _check_close(network(photos), expected)  # as it was
    assert not _count(fused, nn.Conv2d) and _count(fused, OneDnnConv) == _count(network, nn.Conv2d)


def test_activations_are_taken_in() -> None:
    """Whatever follows a convolution alone; what follows a sum stays."""
    network, _ = small("resnet18")
    assert _count(use_onednn(fold_batchnorm(network), torch.float32), nn.ReLU) == 8
    for name in ("mobilenet_v3_small", "efficientnet_b0", "mobilenet_v2"):
        network, _ = small(name)
        fused = use_onednn(fold_batchnorm(network), torch.float32)
        kinds = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.Sigmoid)
        after_linear = 1 if name == "mobilenet_v3_small" else 0
        assert sum(_count(fused, kind) for kind in kinds) == after_linear


@pytest.mark.parametrize(
    "activation",
    [nn.ReLU(), nn.ReLU6(), nn.Hardswish(), nn.Hardsigmoid(), nn.SiLU(), nn.Sigmoid(), nn.GELU(), nn.ELU()],
)
def test_an_activation_is_the_same_over_its_whole_range(activation: nn.Module) -> None:
    """Those that oneDNN does not have, or not with the same numbers, stay behind the convolution."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 1), activation).requires_grad_(False)
    photos = torch.randn(2, 3, 9, 9) * 30
    expected = network(photos)
    fused = use_onednn(fold_batchnorm(network), torch.float32)
    assert bool(_count(fused, type(activation))) == isinstance(activation, nn.GELU | nn.ELU)
    torch.testing.assert_close(fused(photos), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("sizes", [[1, 5, 1], [5, 1, 5]])
def test_pooled_layers_take_one_photo_and_several(sizes: list[int], dtype: torch.dtype) -> None:
    """Whichever comes first; and each number of photos has weights that were packed for it."""
    torch.manual_seed(0)
    conv = nn.Conv2d(72, 288, 1).requires_grad_(False)
    pooled = OneDnnConv(conv, dtype, NO_ACTIVATION)
    for size in sizes:
        x = torch.randn(size, 72, 1, 1)
        _check_near(pooled(x.to(dtype)), conv(x), dtype)
    assert len(pooled._packed) == 2
    larger = torch.randn(2, 72, 3, 3)
    _check_near(pooled(larger.to(dtype)), conv(larger), dtype)
    assert pooled._plain is None and list(pooled._packed) == [False]  # one layout does for all from here on
    _check_near(pooled(x.to(dtype)), conv(x), dtype)


def _check_near(result: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    allowed = 1e-5 if dtype == torch.float32 else 1e-2
    assert result.dtype == dtype and (result.float() - expected).norm() < allowed * expected.norm()


class _Odd(nn.Module):
    """Convolutions whose results go to two places, or which run twice, or which pad by reflection."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.twice, self.twice_norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.mirror = nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")
        self.same = nn.Conv2d(4, 4, 3, padding="same")

    def forward(self, x: Tensor) -> Tensor:
        before = self.first(x)
        x = self.norm(before) + before
        x = self.twice_norm(self.twice(self.twice(x)))
        return torch.relu_(self.same(torch.relu(self.mirror(x))) + x)


def test_only_what_belongs_to_one_convolution_is_folded_into_it() -> None:
    torch.manual_seed(0)
    network = shaken(_Odd()).eval()
    photos = torch.rand(2, 3, 9, 9)
    expected = network(photos)
    folded = fold_batchnorm(network)
    assert _count(folded, nn.BatchNorm2d) == 1
    _check_close(folded(photos), expected)
    fused = use_onednn(folded, torch.float32)
    assert _count(fused, nn.Conv2d) == 2
    _check_close(fused(photos), expected)


def small(name: str) -> tuple[nn.Module, Tensor]:
    """A network with BatchNorm statistics as if trained, and two photos as small as it can see."""
    spec = get_backbone(name)
    torch.manual_seed(0)
    size = 2 * spec.image_size_step if spec.family == "ViT" else max(64, spec.min_image_size)
    size = 64 if spec.family.startswith("Swin") else size
    network = build(name, num_classes=3, image_size=size if spec.family == "ViT" else None)
    return whole(shaken(network)), torch.randn(2, 3, size, size)


def whole(network: StagedNetwork) -> nn.Module:
    """All its stages and the head in a row, without gradients."""
    return split(network, 0)[1].eval().requires_grad_(False)


def shaken(network: nn.Module) -> Any:
    """Fresh BatchNorm does nothing, so that folding it would prove nothing."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return network


def _count(network: nn.Module, kind: type[nn.Module]) -> int:
    """Different layers of a kind, whether they are called once or more often."""
    return sum(isinstance(module, kind) for module in network.modules())


def _check_close(result: Tensor, expected: Tensor) -> None:
    assert ((result - expected).norm() / expected.norm()).item() < 1e-5
