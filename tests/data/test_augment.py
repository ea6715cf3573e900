from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F  # noqa: N812

from tl_app.backbones.staged import GENERATOR_LOCK
from tl_app.choices import AUGMENTATIONS
from tl_app.data import alone, augment, colours, policies
from tl_app.data.augment import Augmentation, View
from tl_app.data.colours import Colours
from tl_app.data.opencv import opencv
from tl_app.data.pixels import from_rows, middle, to_channels_last, to_rows
from tl_app.data.store import Preprocessing
from tl_app.errors import UsageError

PHOTO = torch.randint(0, 256, (3, 64, 86), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def _view(level: str, seed: int, photo: Tensor = PHOTO, size: int = 56, **choices: Any) -> Tensor:
    how = Augmentation(level, **choices)
    if level == "none":
        return middle(photo, size)
    view = augment.drawn(*photo.shape[-2:], how=how, size=size, rng=np.random.default_rng(seed))
    return alone.made(photo, view, size)


def _as_before_there_were_choices(level: str, seed: int) -> View:
    """Crop, flip, colours and, for strong, one more operation: nothing else, and each draw in this order."""
    rng, strong = np.random.default_rng(seed), level == "strong"
    box = augment.crop_box(64, 86, 0.2 if strong else 0.5, rng)
    sideways = rng.random() < 0.5
    turns, amount = strong and rng.random() < 0.5, 0.4 if strong else 0.2
    factors = rng.uniform(1 - amount, 1 + amount, size=3).tolist()
    changed = Colours(*factors, float(rng.uniform(-0.3, 0.3)) if turns else 0.0)
    return View(
        box, sideways, colours=changed, operations=tuple(augment._distortions(56, rng)) if strong else ()
    )


@pytest.mark.parametrize("level", ["light", "strong"])
def test_choices_left_alone_change_no_draw(level: str) -> None:
    for seed in range(30):
        view = augment.drawn(64, 86, how=Augmentation(level), size=56, rng=np.random.default_rng(seed))
        assert view == _as_before_there_were_choices(level, seed)
    assert Augmentation(level).text == level, "activations kept by earlier runs are found again"


RAMP = torch.arange(86, dtype=torch.uint8).expand(3, 64, 86).clone()
STAIRS = torch.arange(64, dtype=torch.uint8)[:, None].expand(64, 86).expand(3, 64, 86).clone()


@pytest.mark.parametrize("level", [name for name in AUGMENTATIONS if name in ("light", "trivial")])
@pytest.mark.parametrize(
    ("flip", "sideways", "over"), [("none", 0, 0), ("horizontal", 1, 0), ("vertical", 0, 1), ("both", 1, 1)]
)
def test_only_the_flips_that_are_allowed(level: str, flip: str, sideways: int, over: int) -> None:
    def mirrored(photo: Tensor, axis: int) -> int:
        means = [_view(level, seed, photo, flip=flip).float().mean(0).mean(1 - axis) for seed in range(60)]
        return sum(bool(each[10:20].mean() > each[-20:-10].mean()) for each in means)

    # TrivialAugment turns a few views far enough, or inverts what is bright, to look mirrored.
    least, rare = (15, 0) if level == "light" else (12, 8)
    for photo, axis, allowed in ((RAMP, 1, sideways), (STAIRS, 0, over)):
        found = mirrored(photo, axis)
        assert (least < found < 45) if allowed else found <= rare, (flip, axis, found)


def test_a_flip_forbidden_changes_nothing_else() -> None:
    for seed in range(20):
        plain, flipped = _view("light", seed, flip="none"), _view("light", seed)
        assert torch.equal(plain, flipped) or torch.equal(plain.flip(2), flipped)


def test_rotation_turns_to_either_side_within_its_bounds() -> None:
    half = torch.zeros(3, 96, 96, dtype=torch.uint8)
    half[:, 48:] = 200
    angles = []
    for seed in range(80):
        view = _view("light", seed, half, size=96, rotation=20.0, flip="none")[0].float()
        left, right = ((view[:, column] < 100).sum().item() for column in (36, 60))
        if 0 < left < 96 and 0 < right < 96:
            angles.append(np.degrees(np.arctan2(right - left, 24)))
    assert len(angles) > 40
    assert -23 < min(angles) < -12 and 12 < max(angles) < 23
    still = [_view("light", seed, half, size=96, flip="none")[0, :, 40] for seed in range(5)]
    assert torch.equal(still[0], _view("light", 0, half, size=96, flip="none", rotation=0.0)[0, :, 40])


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (0.3, 15, 45), (1.0, 100, 100)])
def test_erasing_blanks_a_rectangle_in_its_share_of_views(share: float, low: int, high: int) -> None:
    erased = 0
    for seed in range(100):
        view, plain = _view("light", seed, erasing=share), _view("light", seed)
        changed = (view != plain).any(0)
        if changed.any():
            erased += 1
            assert view[:, changed].unique(dim=1).flatten().tolist() == [124, 116, 104]
    assert low <= erased <= high


@pytest.mark.parametrize("name", policies.NAMES)
def test_the_policies_are_torchvisions(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every operation of its table comes up, and torchvision's own forward makes the same of the same choices."""
    policy, used = policies._policy(name), []
    real = policy._apply_image_or_video_transform

    def noted(image: Tensor, operation: str, strength: float, **rest: Any) -> Tensor:
        used.append((operation, strength))
        return real(image, operation, strength, **rest)

    monkeypatch.setattr(policy, "_apply_image_or_video_transform", noted)
    for seed in range(150):
        _view(name, seed)
    assert {operation for operation, _ in used} == set(policy._AUGMENTATION_SPACE)
    assert len(used) == 150 * (2 if name == "randaugment" else 1)
    theirs = []
    monkeypatch.setattr(
        policy, "_apply_image_or_video_transform", lambda _, o, s, **__: theirs.append((o, s)) or PHOTO
    )
    with GENERATOR_LOCK:
        torch.manual_seed(0)
        for _ in range(6000):
            policy(PHOTO[:, :56, :56])  # as large as the views above
    assert set(used) <= set(theirs) | {(o, -s) for o, s in theirs}, "strengths are those of torchvision"


def test_what_changes_a_view_is_in_its_name() -> None:
    names = [
        Augmentation(*each).text
        for each in [("light",), ("strong",), ("light", "none"), ("light", "both"), ("light", "none", 10.0)]
    ]
    names += [Augmentation(rotation=each).text for each in (10.0, 10.5)]
    names += [Augmentation(erasing=each).text for each in (0.1, 0.2)]
    assert len(set(names)) == len(names)


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


@pytest.mark.parametrize("level", AUGMENTATIONS[1:])
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


def test_crops_and_flips_alone_leave_colours_as_they_are() -> None:
    plain = torch.tensor([200, 30, 90], dtype=torch.uint8)[:, None, None].expand(3, 64, 86).clone()
    views = [_view("crop", seed, plain) for seed in range(20)]
    assert all(torch.equal(view, plain[:, :56, :56]) for view in views)
    assert not torch.equal(_view("crop", 0), _view("crop", 1)), "parts differ"


@pytest.mark.parametrize(("level", "smallest"), [("crop", 0.08), ("light", 0.5), ("strong", 0.2)])
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
    assert (_transformed(grey, colours.hue_matrix(0.3)).int() - grey.int()).abs().max() <= 1
    red = torch.tensor([150, 60, 60], dtype=torch.uint8).view(3, 1, 1)
    luma = torch.tensor([0.299, 0.587, 0.114])
    for radians in (-0.3, 0.3):
        turned = _transformed(red, colours.hue_matrix(radians))
        assert (turned.int() - red.int()).abs().max() > 10
        assert abs(float(luma @ turned.float().flatten()) - float(luma @ red.float().flatten())) < 1.5


@pytest.mark.parametrize("factors", [(1.2, 1, 1), (1, 0.8, 1), (1, 1, 1.3), (0.9, 1.1, 0), (1.1, 0.9, 1.2)])
def test_colours_in_one_go_are_as_one_after_the_other(factors: tuple[float, float, float]) -> None:
    mild = PHOTO // 3 + 80  # nothing reaches 0 or 255, where it would be cut off half way
    brightness, contrast, saturation = factors
    expected = F.adjust_saturation(
        F.adjust_contrast(F.adjust_brightness(mild, brightness), contrast), saturation
    )
    ours = _transformed(mild, colours.colour_matrix(alone.mean_grey(to_rows(mild)), *factors))
    difference = (ours.int() - expected.int()).float()
    # torchvision rounds down after each of the three.
    assert difference.abs().max() <= 3 and -0.2 < difference.mean() < 1.6


def test_operations_are_torchvisions() -> None:
    mild = PHOTO // 2 + 40
    rows = to_rows(mild)
    blurred = opencv().GaussianBlur(rows, (5, 5), 1.2)
    for ours, theirs, tolerance in (
        (alone._sharpen(rows, 2.2), F.adjust_sharpness(mild, 2.2), 2),
        (alone._sharpen(rows, 0.3), F.adjust_sharpness(mild, 0.3), 2),
        (alone._spread_values(rows), F.autocontrast(mild), 1),
        (blurred, F.gaussian_blur(mild, [5, 5], [1.2, 1.2]), 1),
    ):
        assert (from_rows(ours).int() - theirs.int()).abs().max() <= tolerance
    tilted = from_rows(alone._tilt(rows, 9.0))
    rotated = F.rotate(mild, 9.0, interpolation=F.InterpolationMode.BILINEAR, fill=[124, 116, 104])
    assert (tilted.int() - rotated.int()).abs().float().mean() < 1.5
    plain = np.full((8, 8, 3), 7, np.uint8)
    assert np.array_equal(alone._spread_values(plain), plain)


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
    with pytest.raises(
        UsageError, match=r"'extreme'.*Allowed: none, crop, light, strong, trivial, randaugment"
    ):
        _view("extreme", 0)
