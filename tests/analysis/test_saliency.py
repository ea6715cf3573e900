"""Every architecture says which places spoke for a class, and asking changes nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from tests.backbones.test_split import GIANTS, ORDINARY
from tl_app.analysis.saliency import saliency
from tl_app.backbones.catalogue import get_backbone
from tl_app.backbones.staged import StagedNetwork, build
from tl_app.data.preprocessing import Preprocessing
from tl_app.transfer.heads import Head
from tl_app.transfer.heads import build as build_with_head


class QuickStart(TorchFunctionMode):
    """Fills large weights with a few thousand random numbers over and over: drawing all takes most of the time."""

    _DRAWN = ("normal_", "uniform_", "trunc_normal_", "erfinv_")

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name not in self._DRAWN or not args or not isinstance(args[0], Tensor) or args[0].numel() < 10_000:
            return func(*args, **(kwargs or {}))
        weights, flat = args[0], args[0].detach().view(-1)
        spread = (2 / max(1, weights[0].numel())) ** 0.5
        pattern = torch.randn(4099) * spread  # a prime, so that rows differ
        whole = len(flat) // len(pattern) * len(pattern)
        flat[:whole].view(-1, len(pattern)).copy_(pattern)
        flat[whole:] = pattern[: len(flat) - whole]
        return weights


@pytest.mark.filterwarnings("error")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("name", ORDINARY)
def test_every_architecture_gives_a_map(name: str) -> None:
    _check_map(name)


def test_the_map_of_a_transformer_is_more_than_rounding() -> None:
    """LayerNorm takes a token's length away, so that a token times its gradient is 0: no map can be made of that."""
    torch.manual_seed(0)
    with QuickStart():
        network = build("vit_b_16", num_classes=3, image_size=48)
    network.eval().requires_grad_(False)
    photo = _photo(48)
    before = saliency(network, Preprocessing(crop=48, resize=48), photo)
    for parameter in network.head.parameters():
        parameter.mul_(3)  # all logits are three times as large; the map is none the wiser
    after = saliency(network, Preprocessing(crop=48, resize=48), photo)
    torch.testing.assert_close(after, before, rtol=0, atol=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", GIANTS)
def test_a_giant_gives_a_map(name: str) -> None:
    _check_map(name)


def _check_map(name: str) -> None:
    spec = get_backbone(name)
    torch.manual_seed(0)
    with QuickStart():
        if spec.family == "ViT":
            size = 3 * spec.image_size_step
            network = build(name, num_classes=3, image_size=size)
        else:
            network = build(name, num_classes=3)
            size = 64 if spec.family.startswith("Swin") else max(64, spec.min_image_size)
    network.eval().requires_grad_(False)  # frozen or not makes no difference
    heat = saliency(network, Preprocessing(crop=size, resize=size), _photo(size))
    assert heat.shape == (size, size) and heat.dtype == torch.float32
    assert heat.isfinite().all() and heat.min() >= 0 and heat.max() == 1
    assert heat.std() > 0.01, "a constant map explains nothing"


def _photo(size: int) -> Tensor:
    return torch.randint(256, (3, size, size), dtype=torch.uint8)


def test_the_heat_is_where_the_class_is() -> None:
    """A network whose class 1 asks for red gives a map of the red corner, the other one does not."""
    network = _red_or_not()
    for down, right in ((0, 0), (0, 48), (48, 48)):
        photo = torch.zeros(3, 64, 64, dtype=torch.uint8)
        photo[0, down : down + 16, right : right + 16] = 255
        heat = saliency(network, _plain(64), photo, 1)
        inside = heat[down : down + 16, right : right + 16].sum() / heat.sum()
        assert inside > 0.5, "the corner is a sixteenth of the photo"
        against = saliency(network, _plain(64), photo, 0)
        assert against[down : down + 16, right : right + 16].max() < 0.1


def test_nothing_spoke_for_it() -> None:
    assert not saliency(_red_or_not(), _plain(64), torch.zeros(3, 64, 64, dtype=torch.uint8), 1).any()


def _red_or_not() -> StagedNetwork:
    """A SqueezeNet whose first layer and last layer alone do anything: places pass through, red is counted."""
    network = build("squeezenet1_1", num_classes=2).eval()
    for stage in network.stages:
        for module in stage.module.modules():
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.zeros_(module.weight)
                assert module.bias is not None
                torch.nn.init.zeros_(module.bias)
                middle = module.kernel_size[0] // 2
                module.weight.data[0, 0, middle, middle] = 1
    classifier = network.classifier
    assert isinstance(classifier, torch.nn.Conv2d) and classifier.bias is not None
    torch.nn.init.zeros_(classifier.weight)
    classifier.weight.data[1, 0] = 1
    torch.nn.init.constant_(classifier.bias, 0.1)
    return network


def _plain(size: int) -> Preprocessing:
    return Preprocessing(size, size, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    "head", [Head("mlp", 8), Head("mlp", 8, pooling="flatten"), Head("cosine")], ids=lambda head: str(head)
)
def test_other_heads_have_maps_too(head: Head) -> None:
    torch.manual_seed(0)
    network = build_with_head("vgg11", head, num_classes=3, image_size=64).eval()
    heat = saliency(network, _plain(64), _photo(64), 2)
    assert heat.isfinite().all() and heat.min() >= 0 and heat.std() > 0


def test_asking_changes_nothing_and_any_thread_may_ask() -> None:
    torch.manual_seed(0)
    network, photo = build("mobilenet_v3_small", num_classes=3).eval(), _photo(64)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    maps = [saliency(network, _plain(64), photo, number) for number in range(3)]
    assert not torch.equal(maps[0], maps[1])
    with ThreadPoolExecutor(3) as pool:
        again = list(pool.map(lambda number: saliency(network, _plain(64), photo, number), range(3)))
    assert all(torch.equal(one, other) for one, other in zip(maps, again, strict=True))
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(saliency(network, _plain(64), photo.clone(), 1), maps[1])
    assert not network.training and all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    given = int(network(_plain(64).normalise(photo[None])).argmax())
    assert torch.equal(saliency(network, _plain(64), photo), maps[given])
