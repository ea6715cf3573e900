from __future__ import annotations

import json
from typing import Any

import pytest

from tl_app.config import TrainConfig
from tl_app.engine.setup import resolve
from tl_app.errors import UsageError
from tl_app.transfer.extensions import Extension, extend, phases_of
from tl_app.transfer.resizing import describe, sides


@pytest.mark.parametrize(
    ("first", "last", "epochs", "expected"),
    [
        (128, 224, 9, [128, 128, 160, 160, 192, 192, 224, 224, 224]),
        (128, 224, 3, [128, 192, 224]),
        (64, 224, 2, [64, 224]),
        (200, 224, 6, [200, 200, 200, 200, 224, 224]),
        (100, 101, 3, [100, 100, 101]),
        (128, 224, 1, [224]),
    ],
)
def test_photos_grow_in_steps_and_end_at_full_size(
    first: int, last: int, epochs: int, expected: list[int]
) -> None:
    assert list(sides(first, last, epochs)) == expected


def test_sides_never_shrink_and_are_multiples_of_32_between() -> None:
    for first in (32, 65, 100, 130, 208):
        for epochs in range(2, 40):
            found = sides(first, 224, epochs)
            assert len(found) == epochs and list(found) == sorted(found)
            assert found[0] == first and found[-1] == 224 and len(set(found)) <= 4
            assert all(side % 32 == 0 for side in set(found) - {first})


def test_the_sentence_names_every_step() -> None:
    assert describe((128, 128, 160, 224, 224)) == (
        "Training photos grow: 128 px in epochs 1 to 2, 160 px in epoch 3, 224 px in epochs 4 to 5; "
        "validation is at 224 px always."
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"recipe": "head"}, "trained as a whole, but recipe 'head'.*full, scratch, pretrain"),
        ({"recipe": "auto", "weights": "default"}, "but recipe 'auto' was asked for"),
        ({"recipe": "partial", "freeze": 0}, "but recipe 'partial' was asked for"),
        ({"head": "mlp", "pooling": "flatten"}, "built for maps of one size. Choose pooling 'pool'"),
        ({"teacher": "backbone:x"}, "compared at one size. Leave out the teacher"),
        (
            {"backbone": "vit_b_32"},
            "with vit_b_32: it is built for photos of one size.*Leave out resize_from",
        ),
        ({"backbone": "maxvit_t"}, "insist on one size: vit_… and maxvit_…"),
        ({"resize_from": 16}, "resize_from is 16. Allowed: from 32 to 1024"),
        ({"resize_from": 128}, "from 128 to 128 pixels. Allowed: resize_from below the image size, 128"),
        ({"epochs": 1}, "cannot grow within 1 epoch"),
        ({"backbone": "inception_v3", "resize_from": 64}, "Image size 64 does not go with inception_v3"),
    ],
)
def test_what_cannot_grow_says_so(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        chosen = {"backbone": "resnet18", "recipe": "full", "weights": "random", "resize_from": 96}
        size = None if settings.get("backbone") else 128
        resolve(TrainConfig(**{**chosen, "image_size": size, **settings}), 100)


def test_an_extension_goes_on_at_full_size() -> None:
    config = TrainConfig(backbone="resnet18", recipe="full", weights="random", resize_from=96, epochs=3)
    filled, _ = resolve(config, 100)
    phases = phases_of(filled, 5)
    assert [phase.sides for phase in phases] == [(96, 160, 224)]
    more = extend(phases, stages=5, optimizer="adamw", after=2, begun=1)
    assert more.phase.sides == () and more.phase.continues
    assert Extension.from_dict(json.loads(json.dumps(more.to_dict()))) == more
