from __future__ import annotations

from typing import Any

import pytest

from tl_app.config import TrainConfig
from tl_app.transfer.auto import Decision, decide
from tl_app.transfer.recipes import plan, resolve


def decided(photos: int = 200, classes: int = 4, probed: float = 0.9, **settings: Any) -> Decision:
    config = TrainConfig(recipe="auto", **settings)
    return decide(config, train_photos=photos, classes=classes, stages=8, probed=probed, image_size=224)


@pytest.mark.parametrize(
    ("photos", "probed", "recipe", "why"),
    [
        (200, 0.9, "lp-ft", "90.0% are right without any training"),
        (200, 0.999, "head", "99.9% are right already"),
        (12, 0.6, "head", "about 3 photos a class, 12 in all, are too few"),
    ],
)
def test_photos_and_probe_decide_the_recipe(photos: int, probed: float, recipe: str, why: str) -> None:
    found = decided(photos, probed=probed)
    assert found.config.recipe == recipe and why in found.reasons[0]


def test_many_classes_make_up_for_few_photos_of_each() -> None:
    found = decided(303, classes=101, probed=0.7)
    assert found.config.recipe == "lp-ft" and "303 photos, about 3 a class" in found.reasons[0]


@pytest.mark.parametrize(
    ("chosen", "recipe", "why"),
    [
        ({"epochs": 1}, "head", "one epoch leaves no time to train the backbone"),
        ({"freeze": 6}, "lp-ft", "freezing depth 6 leaves stages to train"),
        ({"freeze": 0}, "lp-ft", "freezing depth 0 leaves stages to train"),
        ({"freeze": 8}, "head", "freezing depth 8 leaves nothing else"),
        ({"freeze": 6, "epochs": 1}, "partial", "one epoch leaves no time for the head alone"),
        ({"freeze": 0, "epochs": 1}, "full", "one epoch leaves no time for the head alone"),
        ({"freeze": 8, "epochs": 1}, "head", "freezing depth 8 leaves nothing else"),
    ],
)
@pytest.mark.parametrize(("photos", "probed"), [(200, 0.8), (200, 1.0), (12, 0.6)])
def test_what_is_decided_goes_with_the_depth_and_the_epochs_that_were_chosen(
    chosen: dict[str, int], recipe: str, why: str, photos: int, probed: float
) -> None:
    found = decided(photos, probed=probed, **chosen)
    filled = resolve(found.config, 8, photos)
    assert all(getattr(filled, name) == value for name, value in chosen.items())
    assert sum(phase.epochs for phase in plan(filled, 8)) == filled.epochs
    if "freeze" in chosen or (photos, probed) == (200, 0.8):
        assert found.config.recipe == recipe and why in found.reasons[0]


def test_each_choice_has_its_sentence() -> None:
    for found in (decided(), decided(12), decided(5000), decided(probed=1.0)):
        assert len(found.reasons) == 5
        assert all(reason.endswith(".") and ":" in reason for reason in found.reasons[:4])
        assert f"{found.config.epochs} epochs" in found.reasons[1]


def test_few_photos_a_class_are_varied_more_and_many_photos_seen_less_often() -> None:
    assert decided(60).config.augmentation == "strong" and decided(600).config.augmentation == "light"
    epochs = [decided(photos).config.epochs or 0 for photos in (100, 5000, 50_000)]
    assert epochs == sorted(epochs, reverse=True) and epochs[0] > epochs[2]


def test_what_a_person_chose_stays() -> None:
    for level in ("none", "light", "strong"):
        chosen = {"epochs": 7, "image_size": 96, "augmentation": level, "lr_head": 0.1}
        for photos in (60, 600):  # which alone would be varied much, and slightly
            found = decided(photos, **chosen)
            assert found.config == TrainConfig(recipe="lp-ft", **chosen)
            assert len(found.reasons) == 1


def test_a_backbone_that_knows_the_photos_moves_little() -> None:
    known, new = decided(probed=0.95).config, decided(probed=0.7).config
    assert known.probe_epochs == 20 and known.lr_backbone == 5e-5 and known.lr_head == 4e-3
    assert (new.probe_epochs, new.lr_head, new.lr_backbone) == (None, None, None)
    short = decided(probed=0.95, epochs=2)
    assert short.config.probe_epochs is None and "usual learning rates" in short.reasons[-1]


def test_a_length_of_the_probe_stays_where_there_is_one_and_goes_with_it() -> None:
    assert decided(probe_epochs=4).config.probe_epochs == 4
    assert decided(probed=1.0, probe_epochs=4).config == decided(probed=1.0).config
