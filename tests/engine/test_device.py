from __future__ import annotations

import pytest
import torch

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
    assert device.resolve_precision("auto", cpu) == torch.float32
    assert device.resolve_precision("bf16", cpu) == torch.bfloat16


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
