from __future__ import annotations

import pytest
import torch

from tl_app.data import crops
from tl_app.data.pixels import middle

NUMBERED = torch.arange(40 * 50).remainder(251).byte().view(1, 40, 50).expand(3, -1, -1)


def test_middle_mirror_and_corners() -> None:
    centre, mirrored, *corners = crops.views(NUMBERED, 32, "horizontal")
    assert torch.equal(centre, middle(NUMBERED, 32)) and torch.equal(mirrored, centre.flip(2))
    boxes = [(0, 0), (0, 18), (8, 0), (8, 18)]
    expected = [NUMBERED[:, top : top + 32, left : left + 32] for top, left in boxes]
    assert len(corners) == 4
    assert all(any(torch.equal(corner, box) for corner in corners) for box in expected)


@pytest.mark.parametrize(
    ("flip", "axes"), [("none", []), ("horizontal", [[2]]), ("vertical", [[1]]), ("both", [[2], [1], [1, 2]])]
)
def test_only_mirror_images_that_mean_the_same(flip: str, axes: list[list[int]]) -> None:
    views = crops.views(NUMBERED, 32, flip)
    assert len(views) == crops.count(flip) == 5 + len(axes)
    for view, flipped in zip(views[1:], axes, strict=False):
        assert torch.equal(view, views[0].flip(flipped))


def test_a_photo_without_room_for_corners_has_none() -> None:
    assert [view.shape for view in crops.views(NUMBERED, 44, "none")] == [(3, 44, 44)]
