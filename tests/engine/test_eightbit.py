"""Dense networks in 8-bit whole numbers give what they gave in float32, to about a percent."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from tests.engine.test_fusing import shaken
from tl_app.backbones.catalogue import list_backbones
from tl_app.backbones.staged import build, build_weightless, split
from tl_app.data.preprocessing import Preprocessing
from tl_app.data.typical import bold_photos
from tl_app.engine import eightbit
from tl_app.engine.eightbit import EightBitConv, Scale, in_eight_bits, suits
from tl_app.engine.fusing import fold_batchnorm

PREPROCESSING = Preprocessing(crop=64, resize=72, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))


def _photos(count: int = 6, size: int = 64) -> Tensor:
    """Coarse noise on a gradient, each with a brightness of its own."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(count, 3, 5, 5, generator=generator) + torch.rand(count, 1, 1, 1, generator=generator)
    return nn.functional.interpolate(coarse, size, mode="bilinear").mul(127).to(torch.uint8)


def _error(result: Tensor, expected: Tensor) -> float:
    return ((result - expected).norm() / expected.norm()).item()


def _made(network: nn.Module, photos: Tensor | None = None) -> tuple[nn.Module, Tensor]:
    """The network in 8 bits, and what it gave before for ``photos``."""
    network = network.eval().requires_grad_(False)
    photos = _photos() if photos is None else photos
    with torch.inference_mode():
        expected = network(PREPROCESSING.normalise(photos))
    return in_eight_bits(fold_batchnorm(copy.deepcopy(network)), PREPROCESSING, photos), expected


@torch.inference_mode()
@pytest.mark.parametrize(
    "name", ["resnet18", "resnet50", "vgg11_bn", "alexnet", "squeezenet1_1", "densenet121"]
)
def test_dense_networks_stay_what_they_were(name: str) -> None:
    torch.manual_seed(0)
    network = shaken(build(name)).eval()
    prefix = split(network, len(network.stages))[0]
    before, photos = copy.deepcopy(network.net.state_dict()), _photos()
    whole, expected = _made(prefix, photos)
    kept = photos.clone()
    result = whole(photos)
    assert result.dtype == torch.float32 and result.shape == expected.shape
    assert 1e-5 < _error(result, expected) < 0.03
    assert torch.equal(photos, kept), "photos are not written into"
    assert all(torch.equal(value, before[key]) for key, value in network.net.state_dict().items())
    assert not any(type(layer) is nn.Conv2d for layer in whole.modules())
    with ThreadPoolExecutor(3) as pool:
        again = list(pool.map(torch.inference_mode()(whole), [photos] * 6))
    assert all(torch.equal(each, result) for each in again)
    assert _error(whole(photos[:2]), expected[:2]) < 0.03, "in batches of any size"


@torch.inference_mode()
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_stretches_of_a_network_end_in_float32(depth: int) -> None:
    torch.manual_seed(0)
    network = shaken(build("resnet18")).eval()
    whole, expected = _made(split(network, depth)[0])
    assert expected.ndim == 4 and _error(whole(_photos()), expected) < 0.04  # no mean over places


def test_nothing_between_the_convolutions_of_a_resnet_is_float32() -> None:
    network = build("resnet18").eval()
    whole, _ = _made(split(network, len(network.stages))[0])
    convs = [layer for layer in whole.modules() if isinstance(layer, EightBitConv)]
    assert len(convs) == 20 and all(conv.made is not None for conv in convs)
    assert sum(conv.under is not None for conv in convs) == 8, "each block's sum is written over its way past"
    called = [node.target for node in whole.graph.nodes if node.op == "call_function"]
    assert called.count(eightbit._floats) == 1 and eightbit._whole not in called


class _Odd(nn.Module):
    """Sums that must not be written over what others still need, and steps that take no whole numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=(1, 2))
        self.convs = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(6))
        self.pool, self.ceiled = nn.MaxPool2d(2), nn.MaxPool2d(3, 2, ceil_mode=True)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        a, b, c, d, e, f = self.convs
        x = self.first(x)
        x = torch.relu(a(x) + x)  # its own input: written over, it would change under the convolution's hands
        y = b(x)
        x = y + c(x) + y  # needed twice
        x = self.norm(x).sigmoid()
        y = self.pool(torch.relu(d(x)))
        x = torch.add(e(y), y)
        return self.ceiled(f(x) - x)


@torch.inference_mode()
def test_what_is_needed_later_is_not_written_over() -> None:
    torch.manual_seed(0)
    whole, expected = _made(shaken(_Odd()))
    photos = _photos()
    result = whole(photos)
    assert _error(result, expected) < 0.03
    assert torch.equal(result, whole(photos))


@torch.inference_mode()
@pytest.mark.parametrize(
    "activation", [nn.ReLU(), nn.ReLU6(), nn.Hardswish(), nn.SiLU(), nn.Sigmoid(), nn.GELU(), nn.ELU()]
)
def test_activations(activation: nn.Module) -> None:
    torch.manual_seed(0)
    whole, expected = _made(nn.Sequential(nn.Conv2d(3, 16, 3), activation, nn.Conv2d(16, 8, 1), activation))
    assert _error(whole(_photos()), expected) < 0.03


@torch.inference_mode()
def test_photos_are_normalised_up_to_their_borders() -> None:
    """What is padded with is 0 after normalisation, and so the mean colour before it."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 32, 7, stride=2, padding=3, bias=False), nn.ReLU())
    bright = torch.full((2, 3, 64, 64), 250, dtype=torch.uint8)
    bright[1] = 3
    whole, expected = _made(network, bright)
    result = whole(bright)
    assert _error(result, expected) < 0.01
    assert _error(result[:, :, 0], expected[:, :, 0]) < 0.01
    strided = bright.flip(0).contiguous(memory_format=torch.channels_last).flip(0)
    assert torch.equal(whole(strided), result)


@torch.inference_mode()
@pytest.mark.parametrize("kernel", [2, 3, (3, 2), 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("size", [(12, 9), (7, 8)])
def test_pools_of_whole_numbers(
    kernel: int | tuple[int, int], stride: int, padding: int, size: tuple[int, int]
) -> None:
    values = torch.randint(
        0, 256, (2, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    expected = nn.functional.max_pool2d(values.float(), kernel, stride, padding).to(torch.uint8)
    sides = (eightbit._pair(kernel), (stride, stride), (padding, padding))
    assert torch.equal(eightbit._pooled(values, *sides), expected)


def test_a_scale_holds_its_values() -> None:
    values = torch.tensor([-1.0, 0.0, 0.5, 3.0])
    scale = Scale.of(values)
    exact = eightbit._floats(eightbit._whole(values, *scale), *scale)
    assert (exact - values).abs().max() <= scale.step / 2 + 1e-6 and exact[1] == 0
    assert Scale.of(torch.tensor([2.0, 4.0])).zero == 0, "0 is exact, for padding"
    beyond = eightbit._whole(torch.tensor([-9.0, 9.0]), *scale)
    assert beyond.tolist() == [0, 255]
    assert torch.isfinite(
        eightbit._floats(eightbit._whole(torch.zeros(3), *Scale.of(torch.zeros(3))), 1e-12, 0)
    ).all()


def test_which_networks_it_is_for() -> None:
    """Those of dense convolutions; not of grouped ones, transformers, or what lays maps side by side."""
    smallest = {
        spec.family: spec.name for spec in sorted(list_backbones(), key=lambda spec: -spec.parameters)
    }
    named = {"resnet50", "wide_resnet50_2", "vgg16_bn", "squeezenet1_1", "resnext50_32x4d"}
    found = {
        name
        for name in {*smallest.values(), *named}
        if suits(fold_batchnorm(split(network := build_weightless(name).eval(), len(network.stages))[0]))
    }
    assert found == {"alexnet", "resnet18", "resnet50", "wide_resnet50_2", "vgg11", "vgg16_bn"}
    assert not suits(nn.Linear(2, 2))


def test_a_network_that_begins_otherwise_is_refused() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(2 * x)

    with pytest.raises(RuntimeError, match="does not begin with a convolution"):
        _made(Scaled())


def test_the_photos_that_ship_are_bold() -> None:
    photos = bold_photos(PREPROCESSING)
    assert photos.shape == (3, 3, 64, 64) and photos.dtype == torch.uint8
    assert photos.float().flatten(1).std(1).min() > 40
    assert (photos == 0).any() and (photos == 255).any()
