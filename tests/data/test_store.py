from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms._presets import ImageClassification

from tl_app.data import preprocessing as preprocessing_module
from tl_app.data.store import PhotoStore, Preprocessing, default_budget_bytes
from tl_app.errors import Interrupted, PhotoError, UsageError

Picture = Callable[..., Image.Image]
Encoded = Callable[..., bytes]
Fill = Callable[..., Path]

SMALL = Preprocessing(resize=16, crop=12)


def _noise(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(width * height)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


# --- preprocessing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("resize", "crop"), [(256, 224), (232, 224), (342, 299), (64, 64)])
@pytest.mark.parametrize("size", [(640, 480), (333, 500), (300, 300), (100, 77), (257, 256), (2000, 400)])
def test_the_same_numbers_as_torchvision(
    size: tuple[int, int], resize: int, crop: int, interpolation: str
) -> None:
    image = _noise(*size)
    ours = Preprocessing(resize, crop, interpolation=interpolation)
    theirs = ImageClassification(
        crop_size=crop, resize_size=resize, interpolation=InterpolationMode(interpolation)
    )
    shrunk = ours.shrink(np.array(image))
    assert shrunk.dtype == torch.uint8 and shrunk.stride() == (1, 3 * shrunk.shape[2], 3)
    assert min(shrunk.shape[1:]) == resize and shrunk.shape[:0:-1] == ours.shrunk_size(*size)
    steps = (
        (ours.normalise(ours.center(shrunk)) - theirs(image)).abs()
        * 255
        * torch.tensor(ours.std).view(3, 1, 1)
    )
    # Pillow rounds at other places: a step in 255, and two in pure noise made larger with a bicubic filter.
    assert steps.max() < (1.01 if interpolation == "bilinear" else 2.01)
    assert (steps > 1.01).float().mean() < 1e-4 and (steps > 0.5).float().mean() < 0.12


def test_normalising_a_batch_and_other_types() -> None:
    mean, std = (0.5, 0.4, 0.3), (0.5, 0.25, 0.125)
    preprocessing = Preprocessing(mean=mean, std=std)
    batch = torch.full((2, 3, 4, 5), 51, dtype=torch.uint8)
    numbers = preprocessing.normalise(batch)
    assert numbers.dtype == torch.float32 and numbers.shape == batch.shape
    expected = torch.tensor([(0.2 - m) / s for m, s in zip(mean, std, strict=True)])
    assert torch.allclose(numbers[1, :, 2, 3], expected)
    half = preprocessing.normalise(batch, torch.bfloat16)
    assert half.dtype == torch.bfloat16 and torch.equal(half, numbers.to(torch.bfloat16))
    assert batch.dtype == torch.uint8 and int(batch.max()) == 51


def test_very_long_photos_stay_small() -> None:
    preprocessing = Preprocessing(64, 56)
    strip = preprocessing.shrink(np.full((20_000, 2, 3), 7, np.uint8))
    assert strip.shape == (3, 512, 64) and preprocessing.shrunk_size(2, 20_000) == (64, 512)
    assert preprocessing.shrink(np.zeros((2, 20_000, 3), np.uint8)).shape == (3, 64, 512)
    assert preprocessing.center(strip).shape == (3, 56, 56)
    middle = Image.new("RGB", (800, 10), "black")
    middle.paste("white", (395, 0, 405, 10))
    assert int(preprocessing.shrink(np.array(middle))[0, 32, 256]) > 200  # the middle stays in the middle


def test_photos_smaller_than_the_crop_get_a_black_edge() -> None:
    centred = Preprocessing(8, 12).center(torch.full((3, 8, 9), 255, dtype=torch.uint8))
    assert centred.shape == (3, 12, 12)
    assert int((centred[0] > 0).sum()) == 72 and int(centred[0, 0].max()) == 0
    assert bool((centred[:, 2:10, 1:10] == 255).all()) and centred.stride() == (1, 36, 3)


def test_round_trip_through_json() -> None:
    preprocessing = Preprocessing(232, 224, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bicubic")
    assert Preprocessing.from_dict(json.loads(json.dumps(preprocessing.to_dict()))) == preprocessing


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"interpolation": "nearest"}, "Interpolation is 'nearest'.*bicubic, bilinear"),
        ({"resize": 0}, "resizes to 0"),
        ({"mean": [0.1, 0.2]}, "cannot be read"),
        ({"std": [0.1, 0.2, 0]}, "above 0"),
        ({"crop": "x"}, "cannot be read"),
        ({"crop": None}, "cannot be read"),
    ],
)
def test_values_that_are_not_allowed(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Preprocessing.from_dict(Preprocessing().to_dict() | change)
    with pytest.raises(UsageError, match="cannot be read"):
        Preprocessing.from_dict({})


def test_another_image_size_keeps_the_share_cut_off() -> None:
    assert Preprocessing(256, 224).at(112) == Preprocessing(128, 112)
    assert Preprocessing(224, 224).at(448) == Preprocessing(448, 448)
    assert Preprocessing(232, 224).at(224) == Preprocessing(232, 224)


def test_a_file_its_bytes_and_an_open_picture_are_the_same(
    tmp_path: Path, picture: Picture, encoded: Encoded
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(picture(), "JPEG", exif=exif))
    expected = SMALL.load(path)
    assert expected.shape == (3, 24, 16)
    assert torch.equal(SMALL.load(path.read_bytes()), expected)
    with Image.open(path) as image:
        assert torch.equal(SMALL.load(image), expected)
    with open(path, "rb") as file:
        assert torch.equal(SMALL.load(file), expected)


# --- the store -----------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, fill: Fill) -> Path:
    return fill(tmp_path / "x", {"a": 6, "b": 6, "a/bad.jpg": b"<html>"})


def _paths(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("?.jpg"))


def test_the_same_pixels_whether_held_or_not(folder: Path) -> None:
    paths = _paths(folder)
    one = 3 * 16 * 24
    stores = [PhotoStore(folder, SMALL, budget_bytes=budget) for budget in (0, one, 4 * one + 1, 10**6)]
    for store in stores:
        assert store.prepare(paths) == {}
    assert [store.held_bytes // one for store in stores] == [0, 1, 4, 12]
    for path in paths:
        expected = SMALL.load(folder / path)
        for store in stores:
            assert torch.equal(store.get(path), expected) and torch.equal(store.get(path), expected)
    assert all(store.held_bytes <= store.budget_bytes for store in stores)


def test_held_photos_are_not_read_again(folder: Path) -> None:
    store = PhotoStore(folder, SMALL)
    first = store.get("a/0.jpg")
    (folder / "a/0.jpg").unlink()
    assert store.get("a/0.jpg") is first
    with pytest.raises(PhotoError, match="not there"):
        PhotoStore(folder, SMALL).get("a/0.jpg")


@pytest.mark.usefixtures("one_by_one")
def test_prepare_says_which_photos_fail(folder: Path, encoded: Encoded) -> None:
    content = bytearray(encoded(_noise(64, 64), "PNG"))
    content[len(content) // 2] ^= 0xFF  # whole in structure, damaged in its pixels: only decoding tells
    (folder / "a" / "spoilt.png").write_bytes(content)
    seen: list[tuple[int, int]] = []
    store = PhotoStore(folder, SMALL)
    failed = store.prepare(
        [*_paths(folder), "a/bad.jpg", "a/spoilt.png", "b/gone.jpg", "a/0.jpg"],
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert failed.keys() == {"a/bad.jpg", "a/spoilt.png", "b/gone.jpg"}
    assert "web page" in failed["a/bad.jpg"] and "damaged" in failed["a/spoilt.png"]
    assert "not there" in failed["b/gone.jpg"]
    assert seen[-1] == (15, 15) and [done for done, _ in seen] == list(range(1, 16))
    assert store.prepare([]) == {}


@pytest.mark.usefixtures("one_by_one")
def test_prepare_can_be_stopped(folder: Path) -> None:
    answers = iter([False] * 3)
    with pytest.raises(Interrupted, match="stopped"):
        PhotoStore(folder, SMALL).prepare(_paths(folder), should_stop=lambda: next(answers, True))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_errors_of_our_own_are_not_taken_for_bad_photos(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(preprocessing_module, "open_pixels", broken)
    with pytest.raises(ZeroDivisionError):
        PhotoStore(folder, SMALL).prepare(_paths(folder))


def test_many_threads_and_a_tight_budget(folder: Path) -> None:
    paths = _paths(folder)
    expected = {path: SMALL.load(folder / path) for path in paths}
    store = PhotoStore(folder, SMALL, budget_bytes=5 * 3 * 16 * 24)

    def work(number: int) -> bool:
        order = np.random.default_rng(number).permutation(len(paths))
        return all(torch.equal(store.get(paths[i]), expected[paths[i]]) for i in order)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(16)))
    assert store.held_bytes == store.budget_bytes


def test_the_budget_follows_the_machine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Memory:
        available = 4 * 10**9

    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory)
    assert default_budget_bytes() == 10**9
    Memory.available = 10**12
    assert default_budget_bytes() == 2 * 2**30
    assert PhotoStore(folder, SMALL).budget_bytes == 2 * 2**30
