"""What is given beside a preset: it wins, and takes along what depends on something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tl_app import beside, presets
from tl_app.config import TrainConfig
from tl_app.errors import UsageError


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"recipe": "partial", "freeze": 3, "weights": "W", "epochs": 9}),
        ({"epochs": 2, "seed": None}, {"recipe": "partial", "freeze": 3, "weights": "W", "epochs": 2}),
        ({"recipe": "full"}, {"recipe": "full", "weights": "W", "epochs": 9}),
        ({"freeze": "head"}, {"recipe": "head", "weights": "W", "epochs": 9}),
        ({"freeze": "1"}, {"recipe": "partial", "freeze": 1, "weights": "W", "epochs": 9}),
        ({"backbone": "b"}, {"recipe": "partial", "freeze": 3, "weights": "W", "epochs": 9}),
        ({"backbone": "c"}, {"recipe": "partial", "freeze": 3, "epochs": 9}),
        ({"backbone": "c", "weights": "V"}, {"recipe": "partial", "freeze": 3, "weights": "V", "epochs": 9}),
    ],
)
def test_what_is_given_beside_a_preset_wins(given: dict[str, Any], expected: dict[str, Any]) -> None:
    settings = {"backbone": "b", "recipe": "partial", "freeze": 3, "weights": "W", "epochs": 9}
    found = beside.merged(presets.Preset("", "", "", settings), given)
    assert found == {"backbone": given.get("backbone", "b")} | expected


LP = {"recipe": "lp-ft", "epochs": 9, "probe_epochs": 6}
FUSED = {"recipe": "head", "fuse_stages": 3, "fuse_backbone": "resnet18", "weight_decay": 0.1}
DENSE = {"recipe": "head", "head": "mlp", "hidden": 64, "pooling": "flatten"}
TAUGHT = {
    "recipe": "full",
    "teacher": "run:a",
    "imitation": 0.0,
    "soft_labels": 0.5,
    "weights": "W",
    "l2_sp": 1.0,
}
TURNED = {"recipe": "full", "augmentation": "strong", "rotation": 9.0, "flip": "both"}


@pytest.mark.parametrize(
    ("settings", "given", "gone"),
    [
        (LP, {"recipe": "full"}, {"probe_epochs"}),
        (LP, {"recipe": "auto"}, set()),
        (LP, {"epochs": 3}, {"probe_epochs"}),
        (LP, {"freeze": "head"}, {"probe_epochs"}),
        ({"recipe": "full", "resize_from": 96}, {"recipe": "lp-ft"}, {"resize_from"}),
        (FUSED, {"recipe": "full"}, {"fuse_stages", "fuse_backbone"}),
        (FUSED, {"pooling": "flatten", "head": "mlp"}, {"fuse_stages", "fuse_backbone"}),
        (DENSE, {"head": "linear"}, {"pooling"}),
        (DENSE, {"recipe": "full"}, set()),
        (TAUGHT, {"recipe": "head"}, {"teacher", "imitation", "soft_labels"}),
        (TAUGHT, {"recipe": "scratch"}, {"weights", "l2_sp"}),
        (TAUGHT, {"imitation": 1.0}, set()),
        (TURNED, {"augmentation": "none"}, {"rotation", "flip"}),
        ({"recipe": "scratch", "weights": "random"}, {"recipe": "lp-ft"}, {"weights"}),
    ],
)
def test_what_depends_on_something_given_otherwise_goes_with_it(
    settings: dict[str, Any], given: dict[str, Any], gone: set[str], tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    presets.save(presets.Preset("", "Mine", "", settings), file)
    depth = {"recipe": given.get("recipe"), "freeze": given.get("freeze")}
    others = {name: value for name, value in given.items() if name not in depth}
    said: list[Any] = []
    found = beside.fields(file, **depth, settings=others, on_event=said.append)
    assert settings.keys() - found.keys() == gone and others.items() <= found.items()
    TrainConfig.from_dict(found)
    assert len(said) == bool(gone)
    assert not gone or set(said[0].text.rstrip(".").split(": ")[1].split(", ")) == gone


def test_a_contradiction_of_the_persons_own_is_told_beside_a_preset_too() -> None:
    for given in ({"recipe": "full", "probe_epochs": 3}, {"epochs": -1}, {"resize_from": 96}):
        with pytest.raises(UsageError, match="no such part|epochs is -1|Photos that grow from 96"):
            TrainConfig.from_dict(beside.merged(presets.Preset("", "", "", LP), given))
