from __future__ import annotations

import copy
import gc
import re
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.engine.test_fusing import shaken
from tl_app.backbones.staged import StagedNetwork, build, split
from tl_app.data.preprocessing import Preprocessing
from tl_app.engine import eightbit, forms, inference
from tl_app.engine.fusing import OneDnnConv
from tl_app.engine.inference import Forward, compile_forward
from tl_app.errors import ResourceError, UsageError

CPU = torch.device("cpu")
PREPROCESSING = Preprocessing(crop=64, resize=72, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))


@pytest.fixture
def network() -> StagedNetwork:
    torch.manual_seed(0)
    network: StagedNetwork = shaken(build("mobilenet_v3_small", num_classes=3))
    return network.eval()


@pytest.fixture
def photos() -> Tensor:
    """Bright up to their borders, where a normalisation that is not exact shows."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(100, 256, (5, 3, 64, 64), dtype=torch.uint8, generator=generator)


def compiled(module: nn.Module, **options: Any) -> Forward:
    return compile_forward(module, PREPROCESSING, **{"device": CPU, "engine": "torch", **options})


def error(result: Tensor, expected: Tensor) -> float:
    return ((result.float() - expected).norm() / expected.norm()).item()


@torch.no_grad()
@pytest.mark.parametrize("k", [0, 1, 4, 8])
def test_it_gives_what_normalised_photos_give(network: StagedNetwork, photos: Tensor, k: int) -> None:
    prefix = split(network, k)[0]
    expected = prefix(PREPROCESSING.normalise(photos))
    forward = compiled(prefix, precision="fp32")
    assert (forward.precision, forward.engine, forward.device, forward.note) == (
        torch.float32,
        "torch",
        CPU,
        "",
    )
    for strided in (photos, photos.contiguous(memory_format=torch.channels_last), photos.flip(0).flip(0)):
        result = forward(strided)
        assert result.dtype == torch.float32 and error(result, expected) < 1e-5
    borders = error(forward(photos)[..., 0:1, :], expected[..., 0:1, :]) if k == 1 else 0.0
    assert borders < 1e-5


@torch.no_grad()
def test_a_whole_network_works_too(network: StagedNetwork, photos: Tensor) -> None:
    expected = network(PREPROCESSING.normalise(photos))
    assert error(compiled(network, precision="fp32")(photos), expected) < 1e-5


@torch.no_grad()
def test_bf16_is_near(network: StagedNetwork, photos: Tensor) -> None:
    expected = network(PREPROCESSING.normalise(photos))
    forward = compiled(network, precision="bf16")
    result = forward(photos)
    assert result.dtype == forward.precision == torch.bfloat16
    assert 1e-4 < error(result, expected) < 0.03


def test_the_network_is_left_alone(network: StagedNetwork, photos: Tensor) -> None:
    """Its modes, gradients and hooks stay as they are, and training goes on without moving the copy."""
    network.train()
    network(torch.randn(2, 3, 64, 64)).sum().backward()
    before = copy.deepcopy(network.net.state_dict())
    gradients = [parameter.grad.clone() for parameter in network.parameters()]
    prefix = split(network, 8)[0]
    with torch.no_grad():
        expected = copy.deepcopy(prefix).eval()(PREPROCESSING.normalise(photos))
    forwards = [compiled(prefix, precision=precision) for precision in ("fp32", "bf16")]
    results = [forward(photos) for forward in forwards]
    assert error(results[0], expected) < 1e-5
    assert all(torch.equal(value, before[key]) for key, value in network.net.state_dict().items())
    assert all(module.training for module in network.modules())
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(p.grad, g) for p, g in zip(network.parameters(), gradients, strict=True))
    assert not any(module._forward_hooks for module in network.modules())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    for forward, result in zip(forwards, results, strict=True):
        assert torch.equal(forward(photos), result)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_same_batch_gives_the_same_bits(network: StagedNetwork, photos: Tensor, precision: str) -> None:
    """From several threads, and when it is compiled anew."""
    first = compiled(network, precision=precision)
    expected = first(photos)
    with ThreadPoolExecutor(4) as pool:
        assert all(torch.equal(result, expected) for result in pool.map(first, [photos] * 12))
    torch.manual_seed(5)
    state = torch.get_rng_state()
    assert torch.equal(compiled(network, precision=precision, sample=photos[:2])(photos), expected)
    assert torch.equal(torch.get_rng_state(), state)


def test_several_cores_give_the_same(network: StagedNetwork, photos: Tensor) -> None:
    """Each computes a part of the batch, whether there is one photo or more than cores."""
    alone = compiled(network, precision="fp32")
    torch.set_num_threads(2)
    try:
        shared = compiled(network, precision="fp32")
        for batch in (photos, photos[:1]):
            assert error(shared(batch), alone(batch)) < 1e-5
            assert torch.equal(shared(batch), shared(batch))
    finally:
        torch.set_num_threads(1)


def test_what_is_no_longer_needed_is_let_go(
    network: StagedNetwork, photos: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compiled network holds one copy of the weights, not the forms that it was compared with."""
    sources: list[weakref.ref[object]] = []
    real = inference.source_of

    def source_of(*arguments: Any) -> Any:
        found = real(*arguments)
        sources.append(weakref.ref(found.plain))
        return found

    monkeypatch.setattr(inference, "source_of", source_of)
    forward = compiled(network)
    gc.collect()
    assert sources[0]() is None
    assert len(forward(photos)) == 5


def _broken(*_: object) -> nn.Module:
    raise RuntimeError("no such operation")


def _wrong(folded: nn.Module, dtype: torch.dtype) -> nn.Module:
    return nn.Sequential(folded, nn.Dropout(), nn.LayerNorm(3))


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "replacement"),
    [("forms.use_onednn", _broken), ("forms.use_onednn", _wrong), ("fusing.fold_batchnorm", _broken)],
)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_rewrite_that_fails_or_is_wrong_is_not_used(
    network: StagedNetwork,
    photos: Tensor,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    replacement: Callable[..., nn.Module],
    precision: str,
) -> None:
    monkeypatch.setattr(f"tl_app.engine.{name}", replacement)
    expected = network(PREPROCESSING.normalise(photos))
    assert error(compiled(network, precision=precision)(photos), expected) < 0.05


@pytest.mark.parametrize(
    ("units", "quick", "limit", "expected", "note"),
    [
        (False, True, 0.05, torch.float32, ""),
        (True, False, 0.05, torch.float32, ""),
        (True, True, 0.05, torch.bfloat16, ""),
        (True, True, 0.0001, torch.float32, "float32: bf16 is not within 0% for this network"),
    ],
)
def test_bf16_is_chosen_where_it_is_fast_and_good_enough(
    network: StagedNetwork,
    photos: Tensor,
    monkeypatch: pytest.MonkeyPatch,
    units: bool,
    quick: bool,
    limit: float,
    expected: torch.dtype,
    note: str,
) -> None:
    monkeypatch.setattr(inference, "has_bf16_units", lambda device: units)
    monkeypatch.setattr(inference, "_is_faster", lambda *_: quick)
    monkeypatch.setattr(inference, "_LARGEST_ROUNDING_ERROR", limit)
    forward = compiled(network, sample=photos)
    assert forward.precision == forward(photos).dtype == expected
    assert note in forward.note and bool(note) == bool(forward.note)


def test_which_is_faster_is_asked_once(network: StagedNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "has_bf16_units", lambda device: True)
    answers = iter([True])
    monkeypatch.setattr(inference, "_is_faster", lambda *_: next(answers))
    assert compiled(network).precision == compiled(network).precision == torch.bfloat16
    with pytest.raises(StopIteration):  # another architecture
        compiled(split(network, 3)[0])


def test_the_quicker_of_two_is_found() -> None:
    """Whatever else the machine does, sleeping five times as long takes longer."""
    import time

    def sleeping(seconds: float) -> Forward:
        def run(images: Tensor) -> Tensor:
            time.sleep(seconds)
            return images

        return Forward(run, CPU, torch.float32)

    photos = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    assert inference._is_faster(sleeping(0.01), sleeping(0.05), photos)
    assert not inference._is_faster(sleeping(0.05), sleeping(0.01), photos)
    assert not inference._is_faster(sleeping(0.05), sleeping(0.05), photos)


def test_the_batch_is_picked_once(
    network: StagedNetwork, photos: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = compiled(split(network, 2)[0], precision="fp32")
    size, seconds = forward.pick_batch(photos)
    assert size in (8, 32, 64) and 0 < seconds < 1
    monkeypatch.setattr(Forward, "_fastest_batch", lambda *_: pytest.fail("measured again"))
    assert compiled(split(network, 2)[0], precision="fp32").pick_batch(photos[:2]) == (size, seconds)


def test_picking_a_batch_takes_a_moment_for_slow_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would take longer than the probe may is not tried; time is simulated."""
    now, tried = [0.0], []

    def run(images: Tensor) -> Tensor:
        tried.append(len(images))
        now[0] += 0.01 + 0.002 * len(images)
        return images

    monkeypatch.setattr(inference.time, "perf_counter", lambda: now[0])
    photos = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    size, seconds = Forward(run, CPU, torch.float32)._fastest_batch(photos)
    assert size == max(tried) == 32 and now[0] < 0.4
    assert seconds == pytest.approx(0.002 + 0.01 / 32)
    now[0] = 0.0
    tried.clear()

    def slow(images: Tensor) -> Tensor:
        tried.append(len(images))
        now[0] += 2.0 * len(images)
        return images

    assert Forward(slow, CPU, torch.float32)._fastest_batch(photos) == (8, 2.0)
    assert max(tried) == 1


def test_memory_that_does_not_suffice_halves_the_batch() -> None:
    sizes = []

    def run(images: Tensor) -> Tensor:
        sizes.append(len(images))
        if len(images) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return images.float().mean((1, 2, 3))

    photos = torch.arange(5, dtype=torch.uint8)[:, None, None, None].expand(5, 3, 4, 4)
    assert Forward(run, CPU, torch.float32)(photos).tolist() == [0, 1, 2, 3, 4]
    assert sizes == [5, 3, 2, 1, 2]
    with pytest.raises(ResourceError, match="does not suffice for one photo"):
        Forward(_broken_memory, CPU, torch.float32)(photos)


def _broken_memory(images: Tensor) -> Tensor:
    raise torch.OutOfMemoryError("out of memory")


def test_settings_that_do_not_exist(network: StagedNetwork) -> None:
    with pytest.raises(UsageError, match="engine is 'onnx'. Allowed: auto, torch, openvino"):
        compiled(network, engine="onnx")
    with pytest.raises(ResourceError, match="'bf16' does not work on mps"):
        compiled(network, device=torch.device("mps"), precision="bf16")


@torch.no_grad()
def test_a_network_without_numbers_does_no_harm(network: StagedNetwork, photos: Tensor) -> None:
    """All zeros, and NaN: nothing can be compared, and nothing raises."""
    for value in (0.0, float("nan")):
        nn.init.constant_(network.classifier.weight, value)
        nn.init.zeros_(network.classifier.bias)
        for precision in ("auto", "fp32", "bf16"):
            result = compiled(network, precision=precision)(photos).float()
            assert torch.equal(result.nan_to_num(7), torch.full((5, 3), 7.0 if value != 0 else 0.0))


def test_the_fused_form_is_the_one_in_use(network: StagedNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else every other test here would pass with the slow one."""
    calls: list[object] = []
    real = OneDnnConv.forward
    monkeypatch.setattr(OneDnnConv, "forward", lambda self, x: (calls.append(self), real(self, x))[1])
    forward = compiled(network, precision="fp32")
    calls.clear()
    forward(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
    assert len(calls) == sum(isinstance(module, nn.Conv2d) for module in network.net.modules())


@pytest.fixture
def dense() -> StagedNetwork:
    """A network that whole numbers suit."""
    torch.manual_seed(0)
    network: StagedNetwork = shaken(build("resnet18", num_classes=3))
    return network.eval()


@torch.no_grad()
@pytest.mark.parametrize(
    ("units", "faster", "limit", "expected"),
    [
        (True, True, 0.5, torch.int8),
        (True, False, 0.5, torch.float32),
        (True, True, 0.0, torch.float32),
        (False, True, 0.5, torch.float32),
    ],
)
def test_whole_numbers_are_used_where_they_are_faster_and_good_enough(
    dense: StagedNetwork,
    photos: Tensor,
    monkeypatch: pytest.MonkeyPatch,
    units: bool,
    faster: bool,
    limit: float,
    expected: torch.dtype,
) -> None:
    monkeypatch.setattr(forms, "has_int8_units", lambda device: units)
    monkeypatch.setattr(inference, "has_bf16_units", lambda device: False)
    monkeypatch.setattr(inference, "_is_faster", lambda *_: faster)
    monkeypatch.setattr(inference, "_LARGEST_ROUNDING_ERROR", limit)
    exact = dense(PREPROCESSING.normalise(photos))
    forward = compiled(dense, sample=photos)
    assert forward.precision == expected and forward.engine == "torch"
    result = forward(photos)
    assert result.dtype == torch.float32
    if expected == torch.int8:
        assert 1e-4 < error(result, exact) < 0.05
        assert re.search(r"8-bit whole numbers.*moves their output by \d\.\d%", forward.note)
    else:
        assert error(result, exact) < 1e-4 and not forward.note


def test_whether_whole_numbers_are_faster_is_asked_once(
    dense: StagedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forms, "has_int8_units", lambda device: True)
    answers = iter([True])
    monkeypatch.setattr(inference, "_beats_bf16", lambda *_: next(answers))
    assert compiled(dense).precision == compiled(dense).precision == torch.int8
    assert compiled(dense, precision="fp32").precision == torch.float32
    assert compiled(dense, precision="int8").precision == torch.int8, "as a run that goes on asks"


def test_whole_numbers_that_cannot_be_had_are_something_else(
    dense: StagedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine, or another release of torch."""
    monkeypatch.setattr(forms, "has_int8_units", lambda device: True)
    monkeypatch.setattr(inference, "has_bf16_units", lambda device: False)
    monkeypatch.setattr(eightbit, "_onednn", lambda: object())
    for precision in ("auto", "int8"):
        assert compiled(dense, precision=precision).precision == torch.float32


def test_bf16_is_beaten_where_float32_is_beaten_by_more_than_half(
    dense: StagedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without AMX; with it the two are compared."""
    source = forms.source_of(dense, PREPROCESSING, CPU, None)
    run = forms.whole(source)
    assert run is not None
    asked: list[float] = []
    monkeypatch.setattr(inference, "_is_faster", lambda *how: asked.append(how[3] if len(how) > 3 else 0.9))
    monkeypatch.setattr(inference, "has_amx", lambda: False)
    inference._beats_bf16(run, source)
    monkeypatch.setattr(inference, "has_amx", lambda: True)
    inference._beats_bf16(run, source)
    assert asked == [0.45, 0.9]


@pytest.fixture
def compiles(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The CPU as if it were a card that networks are compiled for, at no cost; the shapes that the graphs are given."""
    shapes: list[tuple[int, ...]] = []

    def recorded(form: nn.Module) -> Callable[[Tensor], Tensor]:
        buffer: list[Tensor] = []

        def graphs(images: Tensor) -> Tensor:
            shapes.append(tuple(images.shape))
            result = form(images)
            if not buffer:
                buffer.append(result.clone())
            return buffer[0].copy_(result)  # as CUDA graphs do: the same memory each time

        return graphs

    monkeypatch.setattr(forms, "_recorded", recorded)
    monkeypatch.setattr(inference, "_COMPILES", ("cpu",))
    monkeypatch.setattr(inference, "_BATCHES", (4,))
    monkeypatch.setattr(inference, "_COMPILE_SECONDS", 0.001)
    return shapes


@torch.no_grad()
def test_a_compiled_network_gives_the_same_in_batches_of_one_size(
    network: StagedNetwork, photos: Tensor, compiles: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "_is_faster", lambda *_: True)
    expected = network(PREPROCESSING.normalise(photos))
    for precision, limit in (("fp32", 1e-5), ("bf16", 0.03)):
        compiles.clear()
        forward = compiled(network, precision=precision, images=10**6)
        many = torch.cat([photos, photos])  # 4, 4 and 2 of 10
        assert error(forward(many), torch.cat([expected, expected])) < limit
        assert set(compiles) == {(4, 3, 64, 64)}


def test_compiling_has_to_pay(
    network: StagedNetwork, photos: Tensor, compiles: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "_is_faster", lambda *_: True)
    compiled(network, precision="fp32", images=1)
    compiled(network, precision="fp32")
    assert not compiles, "too little to do, or nobody knows how much"
    monkeypatch.setattr(inference, "_is_faster", lambda *_: False)
    forward = compiled(network, precision="fp32", images=10**6)
    compiles.clear()
    forward(photos)
    assert not compiles, "tried, and no faster"


def test_a_network_that_cannot_be_compiled_is_used_as_it_is(
    network: StagedNetwork, photos: Tensor, compiles: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(form: nn.Module) -> Callable[[Tensor], Tensor]:
        raise RuntimeError("No working C compiler was found.\nTried gcc.")

    monkeypatch.setattr(forms, "_recorded", broken)
    forward = compiled(network, precision="fp32", images=10**6)
    assert forward.note == "The network is not compiled: No working C compiler was found."
    assert forward(photos).shape == (5, 3)
