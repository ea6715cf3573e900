from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch

from tl_app.engine import boundary
from tl_app.engine.boundary import BoundaryStore, key_of, weights_hash


def rows(first: int, count: int) -> torch.Tensor:
    return torch.arange(first, first + count).float()[:, None].repeat(1, 3).half()


def names(first: int, count: int) -> list[str]:
    return [f"photo{number}" for number in range(first, first + count)]


def mapped(store: BoundaryStore) -> int:
    return sum(shard is not None for shard in store._open)


def filled(folder: Path | None) -> BoundaryStore:
    store = BoundaryStore(folder)
    store.append(names(0, 5), rows(0, 5))
    store.append(names(5, 2), rows(5, 2))
    store.flush()
    return store


def test_rows_are_found_again_by_content(tmp_path: Path) -> None:
    filled(tmp_path)
    again = BoundaryStore(tmp_path)
    assert again.missing([*names(5, 4), "photo7"]) == ["photo7", "photo8"]
    assert torch.equal(again.gather(["photo6", "photo0"]), torch.stack([rows(6, 1)[0], rows(0, 1)[0]]))


def test_photos_added_later_are_appended(tmp_path: Path) -> None:
    filled(tmp_path)
    later = BoundaryStore(tmp_path)
    later.append(["photo7"], rows(7, 1))
    later.flush()
    assert BoundaryStore(tmp_path).gather(names(0, 8)).equal(rows(0, 8))


def test_without_a_folder_rows_stay_in_memory(tmp_path: Path) -> None:
    store = filled(None)
    assert store.gather(names(0, 7)).equal(rows(0, 7))
    assert not list(tmp_path.iterdir())


def test_rows_move_to_the_disk_in_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boundary, "SHARD_BYTES", 10)
    monkeypatch.setattr(boundary, "_MAPPED_BYTES", 20)  # pages are given back after every few rows
    store = BoundaryStore(tmp_path)
    for number in range(12):
        store.append(names(number, 1), rows(number, 1))
    store.flush()
    assert len(list(tmp_path.glob("*.safetensors"))) >= 6
    for _ in range(3):
        assert store.gather(names(0, 12)).equal(rows(0, 12))


def test_what_is_mapped_is_counted_over_all_stores_of_a_phase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size_bytes = rows(0, 1).nbytes
    monkeypatch.setattr(boundary, "_MAPPED_BYTES", 10 * size_bytes)
    monkeypatch.setattr(boundary, "_MAPS", boundary._Maps())
    for name in "ab":
        (tmp_path / name).mkdir()
        filled(tmp_path / name)
    stores = [BoundaryStore(tmp_path / name) for name in "ab"]
    for store in stores:
        store.gather(names(0, 5))
    assert [mapped(store) for store in stores] == [1, 1]
    assert stores[1].row("photo6").equal(rows(6, 1)[0])  # the eleventh
    assert [mapped(store) for store in stores] == [0, 0]


def test_rows_are_gathered_into_a_given_tensor_and_the_maps_rest(tmp_path: Path) -> None:
    filled(tmp_path)
    store, out = BoundaryStore(tmp_path), torch.empty(7, 3).half()
    assert store.gather(names(0, 7), out=out) is out
    assert out.equal(rows(0, 7))
    assert mapped(store) == 1
    store.rest()
    assert mapped(store) == 0
    assert out.equal(rows(0, 7))


def test_a_damaged_shard_and_a_half_written_one_are_never_read(tmp_path: Path) -> None:
    filled(tmp_path)
    (whole,) = tmp_path.glob("*.safetensors")
    half = tmp_path / ".abc.safetensors.1.tmp"
    half.write_bytes(whole.read_bytes()[:50])
    os.utime(half, (time.time() - 4000,) * 2)
    whole.write_bytes(whole.read_bytes()[:-2])
    again = BoundaryStore(tmp_path)
    assert again.missing(names(0, 7)) == names(0, 7)
    assert not list(tmp_path.iterdir())


def test_what_another_process_is_writing_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probe in the page and a command may fill the same store."""
    real = os.fsync

    def beside(handle: int) -> None:
        BoundaryStore(tmp_path)  # opened while a shard has not got its name yet
        real(handle)

    monkeypatch.setattr(os, "fsync", beside)
    filled(tmp_path)
    assert not BoundaryStore(tmp_path).missing(names(0, 7))


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), RuntimeError("unable to open file")])
def test_a_shard_that_cannot_be_opened_now_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    filled(tmp_path)

    def failing(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(boundary, "safe_open", failing)
        assert BoundaryStore(tmp_path).missing(names(0, 7)) == names(0, 7)
    assert not BoundaryStore(tmp_path).missing(names(0, 7))


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(boundary, "write_tensors", full)
    store = BoundaryStore(tmp_path)
    store.append(names(0, 1), rows(0, 1))
    with pytest.raises(OSError, match="No space left"):
        store.flush()


def test_keys_and_hashes_hold_everything_that_changes_the_result() -> None:
    assert key_of({"stages": 3, "view": None}) == key_of({"view": None, "stages": 3})
    assert key_of({"stages": 3, "view": None}) != key_of({"stages": 3, "view": ["light", 0, 1]})
    layer = torch.nn.BatchNorm1d(2)
    before = weights_hash(layer)
    assert weights_hash(layer) == before
    layer.running_mean[0] += 1e-3  # type: ignore[index]
    assert weights_hash(layer) != before
    pair = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)])
    assert weights_hash(pair) != weights_hash(torch.nn.ModuleList(reversed(pair))), "in their order"
