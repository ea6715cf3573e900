"""Views made of a whole batch at once are those made one by one, but for rounding; on a graphics card too, as far as
can be told without one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from tl_app.data import alone, augment, together
from tl_app.data.augment import Augmentation, Operation, View
from tl_app.data.colours import Colours
from tl_app.data.pixels import to_channels_last

SIZES = [(64, 64), (64, 86), (90, 64), (64, 512), (57, 56), (80, 73)]
ALL = {"tilt", "spread", "bits", "sharpen", "blur", "grey", "hide"}


def _photos() -> list[Tensor]:
    """Of many sizes; smooth, with an edge in them."""
    generator, made = torch.Generator().manual_seed(0), []
    for height, width in SIZES * 4:
        coarse = torch.rand(1, 3, 6, 6, generator=generator) * 255
        photo = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")[0].clamp(0, 255)
        photo[:, height // 3 :, width // 4 : width // 2] *= 0.6
        made.append(to_channels_last(photo.to(torch.uint8)))
    return made


def _views(level: str, photos: Sequence[Tensor], size: int, **choices: object) -> list[View]:
    how = Augmentation(level, **choices)  # type: ignore[arg-type]
    return [
        augment.drawn(*photo.shape[-2:], how=how, size=size, rng=np.random.default_rng(number))
        for number, photo in enumerate(photos)
    ]


def _both(photos: Sequence[Tensor], views: Sequence[View], size: int) -> tuple[Tensor, Tensor]:
    one_by_one = torch.stack([alone.made(*each, size) for each in zip(photos, views, strict=True)])
    return together.made(together.packed(photos, views), views, size), one_by_one


def _far(ours: Tensor, theirs: Tensor) -> tuple[float, float]:
    """The largest mean distance of a photo's pixels, in levels, and the share of pixels more than two levels off."""
    apart = (ours.int() - theirs.int()).abs().float()
    return apart.mean((1, 2, 3)).max().item(), (apart > 2).float().mean().item()


@pytest.mark.parametrize("level", ["crop", "light", "strong"])
@pytest.mark.parametrize(
    "choices", [{}, {"flip": "both", "rotation": 25.0, "erasing": 0.5}, {"flip": "vertical"}]
)
@pytest.mark.parametrize("size", [56, 40, 96])
def test_a_batch_is_what_its_photos_are_alone(level: str, choices: dict[str, object], size: int) -> None:
    photos = _photos()
    before = [photo.clone() for photo in photos]
    views = _views(level, photos, size, **choices)
    ours, theirs = _both(photos, views, size)
    assert ours.shape == (len(photos), 3, size, size) and ours.dtype == torch.uint8
    assert ours.is_contiguous(memory_format=torch.channels_last)
    mean, share = _far(ours, theirs)
    assert mean < 0.8 and share < 0.01
    assert all(torch.equal(*pair) for pair in zip(photos, before, strict=True))


def test_every_operation_alone() -> None:
    photos = _photos()[:6]
    whole = [(0, 0, *photo.shape[-2:]) for photo in photos]
    values: dict[str, list[object]] = {
        "tilt": [-15.0, 15.0, 4.0, 0.0, 90.0, -33.0],
        "spread": [None] * 6,
        "bits": [3, 4, 5, 3, 4, 5],
        "sharpen": [0.2, 2.5, 1.0, 0.7, 1.5, 2.0],
        "blur": [0.3, 1.5, 1.0, 0.5, 0.8, 1.2],
        "grey": [None] * 6,
        "hide": [
            (0, 0, 10, 56),
            (20, 30, 8, 9),
            (46, 46, 10, 10),
            (1, 1, 1, 1),
            (0, 0, 56, 56),
            (5, 0, 20, 3),
        ],
    }
    assert values.keys() == ALL == together._OPERATIONS.keys()
    for name, each in values.items():
        views = [
            View(box, operations=(Operation(name, value),)) for box, value in zip(whole, each, strict=True)
        ]
        mean, share = _far(*_both(photos, views, 56))
        # A pixel on the border of two steps of eight or more levels may fall to the other one.
        assert (mean, share) < ((0.8, 0.05) if name == "bits" else (0.5, 0.01)), name


def test_members_of_a_batch_have_operations_of_their_own() -> None:
    photos = _photos()[:4]
    box = [(0, 0, *photo.shape[-2:]) for photo in photos]
    tilt, hide = Operation("tilt", 10.0), Operation("hide", (3, 4, 20, 30))
    views = [
        View(box[0], operations=(tilt, hide)),
        View(box[1]),
        View(box[2], sideways=True, operations=(hide, tilt)),
        View(box[3], over=True, operations=(hide,)),
    ]
    ours, theirs = _both(photos, views, 48)
    assert _far(ours, theirs)[0] < 0.5
    assert torch.equal(
        ours[3, :, 3:23, 4:34].flatten(1).unique(dim=1).flatten(), torch.tensor([124, 116, 104])
    )


def test_a_part_of_its_own_size_is_itself() -> None:
    """To the bit: evaluation's view is one of these."""
    photos = _photos()[:6]
    views = [View((3, 2, 40, 40)) for _ in photos]
    ours = together.made(together.packed(photos, views), views, 40)
    assert torch.equal(ours, torch.stack([photo[:, 3:43, 2:42] for photo in photos]))
    mirrored = [View((3, 2, 40, 40), sideways=True, over=True) for _ in photos]
    assert torch.equal(together.made(together.packed(photos, mirrored), mirrored, 40), ours.flip(2, 3))


def test_what_lies_outside_of_the_corners_is_not_seen() -> None:
    photos = _photos()[:6]
    views = _views("light", photos, 32)
    canvas = together.packed(photos, views)
    expected = together.made(canvas, views, 32)
    for value in (0, 255):
        filled = torch.full_like(canvas, value)
        for place, packed, view in zip(filled, canvas, views, strict=True):
            place[: view.box[2], : view.box[3]] = packed[: view.box[2], : view.box[3]]
        assert torch.equal(together.made(filled, views, 32), expected)


def test_it_is_antialiased() -> None:
    stripes = torch.zeros(3, 640, 640, dtype=torch.uint8)
    stripes[:, :, ::2] = 255
    view = View((0, 0, 640, 640))
    made = together.made(together.packed([stripes], [view]), [view], 64)
    assert made.float().std() < 3


def test_all_of_it_stays_on_the_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """On tensors without numbers that say where they are: mixing devices would be an error."""
    views = [
        View((0, 0, 60, 50), colours=Colours(1.1, 0.9, 1.2, 0.1), operations=(Operation(name, value),))
        for name, value in {
            "spread": None,
            "grey": None,
            "tilt": 3.0,
            "bits": 3,
            "sharpen": 1.5,
            "blur": 1.0,
        }.items()
    ]
    views.append(
        View((0, 0, 60, 50), colours=Colours(1, 1, 1, 0), operations=(Operation("hide", (1, 2, 3, 4)),))
    )
    assert {view.operations[0].name for view in views} == ALL

    def sent(values: object, device: torch.device) -> Tensor:
        return torch.as_tensor(values).to(device)

    monkeypatch.setattr(together, "_sent", sent)  # memory cannot be pinned without a card
    with torch.backends.cudnn.flags(enabled=False), FakeTensorMode(allow_non_fake_inputs=True):
        canvas = torch.empty(len(views), 60, 50, 3, dtype=torch.uint8, device="cuda")
        made = together.made(canvas, views, 32)
    assert made.device.type == "cuda" and made.shape == (len(views), 3, 32, 32)
