from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F  # noqa: N812

from tl_app.config import AUGMENTATIONS
from tl_app.data import augment
from tl_app.data.opencv import opencv
from tl_app.data.pixels import from_rows, to_channels_last, to_rows
from tl_app.data.store import Preprocessing
from tl_app.errors import UsageError

PHOTO = torch.randint(0, 256, (3, 64, 86), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def _view(level: str, seed: int, photo: Tensor = PHOTO, size: int = 56) -> Tensor:
    return augment.apply(photo, level=level, size=size, rng=np.random.default_rng(seed))


@pytest.mark.parametrize("level", AUGMENTATIONS)
@pytest.mark.parametrize("shape", [(64, 64), (64, 86), (512, 64), (64, 512), (56, 56), (64, 57)])
def test_shape_and_type(level: str, shape: tuple[int, int]) -> None:
    photo = torch.randint(0, 256, (3, *shape), dtype=torch.uint8)
    kept = photo.clone()
    for seed in range(12):
        view = _view(level, seed, photo)
        assert view.shape == (3, 56, 56) and view.dtype == torch.uint8
        assert torch.equal(view, _view(level, seed, to_channels_last(photo)))
        assert level == "none" or view.stride() == (1, 168, 3)
    assert torch.equal(photo, kept)


def test_none_is_a_view_of_the_photo() -> None:
    photo = to_channels_last(PHOTO)
    assert _view("none", 0, photo).untyped_storage().data_ptr() == photo.untyped_storage().data_ptr()


def test_none_is_what_evaluation_sees() -> None:
    assert torch.equal(_view("none", 0), Preprocessing(64, 56).center(PHOTO))
    assert torch.equal(_view("none", 0), _view("none", 1))


@pytest.mark.parametrize("level", ["light", "strong"])
def test_all_chance_comes_from_the_generator(level: str) -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    expected = [_view(level, seed) for seed in range(40)]
    torch.manual_seed(2)
    np.random.seed(2)
    with ThreadPoolExecutor(8) as pool:
        again = list(pool.map(lambda seed: _view(level, seed), range(40)))
    assert all(torch.equal(*pair) for pair in zip(expected, again, strict=True))
    assert len({view.numpy().tobytes() for view in expected}) == 40
    state = torch.random.get_rng_state()
    _view(level, 3)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(("level", "smallest"), [("light", 0.5), ("strong", 0.2)])
def test_crops_keep_their_bounds(level: str, smallest: float) -> None:
    rng = np.random.default_rng(0)
    areas = []
    for _ in range(500):
        top, left, height, width = augment.crop_box(256, 341, smallest, rng)
        assert top >= 0 and left >= 0 and top + height <= 256 and left + width <= 341
        assert 0.73 < width / height < 1.36
        areas.append(height * width / (256 * 341))
    assert smallest - 0.01 <= min(areas) < smallest + 0.1 and max(areas) > 0.85
    assert augment.crop_box(10, 1000, smallest, rng) == (0, 493, 10, 13)
    assert augment.crop_box(1000, 10, smallest, rng) == (493, 0, 13, 10)


def test_half_of_the_views_are_flipped() -> None:
    ramp = torch.arange(86, dtype=torch.uint8).expand(3, 64, 86).clone()
    flipped = [
        bool(view[0, 28, 5] > view[0, 28, -5]) for view in (_view("light", seed, ramp) for seed in range(200))
    ]
    assert 70 < sum(flipped) < 130


def test_light_is_milder_than_strong() -> None:
    grey = torch.full((3, 64, 86), 128, dtype=torch.uint8)
    spread = {
        level: np.std([_view(level, seed, grey).float().mean().item() for seed in range(60)])
        for level in ("light", "strong")
    }
    assert 5 < spread["light"] < 20 < spread["strong"]


def _transformed(image: Tensor, matrix: np.ndarray) -> Tensor:
    return from_rows(opencv().transform(to_rows(image), matrix))


def test_turning_the_hue_keeps_greys_and_brightness() -> None:
    grey = torch.arange(256, dtype=torch.uint8).expand(3, 1, 256)
    assert (_transformed(grey, augment.hue_matrix(0.3)).int() - grey.int()).abs().max() <= 1
    red = torch.tensor([150, 60, 60], dtype=torch.uint8).view(3, 1, 1)
    luma = torch.tensor([0.299, 0.587, 0.114])
    for radians in (-0.3, 0.3):
        turned = _transformed(red, augment.hue_matrix(radians))
        assert (turned.int() - red.int()).abs().max() > 10
        assert abs(float(luma @ turned.float().flatten()) - float(luma @ red.float().flatten())) < 1.5


@pytest.mark.parametrize("factors", [(1.2, 1, 1), (1, 0.8, 1), (1, 1, 1.3), (0.9, 1.1, 0), (1.1, 0.9, 1.2)])
def test_colours_in_one_go_are_as_one_after_the_other(factors: tuple[float, float, float]) -> None:
    mild = PHOTO // 3 + 80  # nothing reaches 0 or 255, where it would be cut off half way
    brightness, contrast, saturation = factors
    expected = F.adjust_saturation(
        F.adjust_contrast(F.adjust_brightness(mild, brightness), contrast), saturation
    )
    ours = _transformed(mild, augment.colour_matrix(augment.mean_grey(to_rows(mild)), *factors))
    difference = (ours.int() - expected.int()).float()
    # torchvision rounds down after each of the three.
    assert difference.abs().max() <= 3 and -0.2 < difference.mean() < 1.6


def test_operations_are_torchvisions() -> None:
    mild = PHOTO // 2 + 40
    rows = to_rows(mild)
    blurred = opencv().GaussianBlur(rows, (5, 5), 1.2)
    for ours, theirs, tolerance in (
        (augment._sharpen(rows, 2.2), F.adjust_sharpness(mild, 2.2), 2),
        (augment._sharpen(rows, 0.3), F.adjust_sharpness(mild, 0.3), 2),
        (augment._spread_values(rows), F.autocontrast(mild), 1),
        (blurred, F.gaussian_blur(mild, [5, 5], [1.2, 1.2]), 1),
    ):
        assert (from_rows(ours).int() - theirs.int()).abs().max() <= tolerance
    tilted = from_rows(augment._tilt(rows, 9.0))
    rotated = F.rotate(mild, 9.0, interpolation=F.InterpolationMode.BILINEAR, fill=[124, 116, 104])
    assert (tilted.int() - rotated.int()).abs().float().mean() < 1.5
    plain = np.full((8, 8, 3), 7, np.uint8)
    assert np.array_equal(augment._spread_values(plain), plain)


def test_crops_are_antialiased() -> None:
    """A pattern finer than the view's pixels becomes grey rather than stripes."""
    stripes = torch.zeros(3, 640, 640, dtype=torch.uint8)
    stripes[:, :, ::2] = 255
    view = _view("light", 5, to_channels_last(stripes), size=64).float()
    assert view[:, 2:-2, 2:-2].std() < 12


def test_a_view_takes_a_fraction_of_a_millisecond() -> None:
    photo = to_channels_last(torch.randint(0, 256, (3, 256, 341), dtype=torch.uint8))
    for level, milliseconds in (("light", 1.5), ("strong", 3.0)):  # 0.14 and 0.27 on an idle core
        seconds = []
        for seed in range(40):
            started = time.thread_time()
            _view(level, seed, photo, 224)
            seconds.append(time.thread_time() - started)
        assert 1000 * np.median(seconds) < milliseconds


def test_a_level_that_does_not_exist() -> None:
    with pytest.raises(UsageError, match=r"Augmentation is 'extreme'.*Allowed: none, light, strong"):
        _view("extreme", 0)
