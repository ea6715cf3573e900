from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from tl_app.backbones.staged import build_weightless
from tl_app.cores import one_core_pool
from tl_app.engine import device
from tl_app.errors import ResourceError, UsageError


def test_auto_takes_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.resolve_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert device.resolve_device("auto") == torch.device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device.resolve_device("auto") == torch.device("cuda", 0)
    assert device.resolve_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ResourceError, match=r"Device 'cuda:2' is not there: 2 CUDA device"):
        device.resolve_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "cpu:1", "cuda:x", "", "mps:0"])
def test_names_that_are_no_devices(name: str) -> None:
    with pytest.raises(UsageError, match="Allowed: auto, cpu, cuda, cuda:N, mps"):
        device.resolve_device(name)


def test_bf16_where_the_card_is_good_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    card, cpu = torch.device("cuda", 0), torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    assert device.resolve_precision("auto", card) == torch.bfloat16
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    assert device.resolve_precision("auto", card) == torch.float32
    with pytest.raises(ResourceError, match="'bf16' does not work on cuda:0"):
        device.resolve_precision("bf16", card)
    assert device.resolve_precision("bf16", cpu) == torch.bfloat16


def test_bf16_on_processors_with_units_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for avx512, amx in ((False, False), (True, False), (False, True)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda avx512=avx512: avx512)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx)
        expected = torch.bfloat16 if avx512 or amx else torch.float32
        assert device.resolve_precision("auto", cpu) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("resnet18", torch.bfloat16), ("convnext_tiny", torch.bfloat16), ("mobilenet_v3_small", torch.float32)],
)
def test_depthwise_networks_train_in_float32_on_a_processor(
    monkeypatch: pytest.MonkeyPatch, name: str, expected: torch.dtype
) -> None:
    monkeypatch.setattr(device, "has_bf16_units", lambda _: True)
    network, cpu = build_weightless(name), torch.device("cpu")
    assert device.training_precision("auto", cpu, network) == expected
    assert device.training_precision("bf16", cpu, network) == torch.bfloat16
    assert device.training_precision("fp32", cpu, network) == torch.float32


def test_one_thread_is_given_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with device.one_thread(False):
            assert torch.get_num_threads() == 3
        with pytest.raises(ValueError, match="broken"), device.one_thread(True):
            assert torch.get_num_threads() == 1
            raise ValueError("broken")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_one_thread_is_for_the_calling_thread_alone() -> None:
    before, found = torch.get_num_threads(), []
    torch.set_num_threads(3)
    try:
        with device.one_thread(True):
            elsewhere = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
            elsewhere.start()
            elsewhere.join()
            assert torch.get_num_threads() == 1
        assert found == [3]
    finally:
        torch.set_num_threads(before)


def test_one_thread_in_a_thread_of_one_core_leaves_later_threads_alone() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)

    def nested() -> int:
        with device.one_thread(True):
            return torch.get_num_threads()

    try:
        with one_core_pool(1, "one") as pool:
            assert pool.submit(nested).result() == 1
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == 3
    finally:
        torch.set_num_threads(before)


def test_seeding_gives_the_same_chance() -> None:
    device.seed_generator(7, torch.device("cpu"))
    drawn = torch.rand(3)
    torch.manual_seed(7)
    assert torch.equal(drawn, torch.rand(3))


@pytest.mark.parametrize(("photos", "expected"), [(1, 4), (40, 4), (245, 16), (500, 32), (10**6, 32)])
def test_the_batch_follows_the_folder(photos: int, expected: int) -> None:
    assert device.auto_batch_size(photos, torch.device("cpu")) == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
            True,
        ),
        (RuntimeError("shapes do not match"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(error: BaseException, expected: bool) -> None:
    assert device.is_out_of_memory(error) is expected
