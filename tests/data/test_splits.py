from __future__ import annotations

import random
from collections import Counter

import pytest

from tl_app.data.splits import stratified
from tl_app.errors import UsageError

LABELS = ["ant"] * 50 + ["bee"] * 10 + ["fly"] * 2 + ["wasp"]
KEYS = [f"content {number}" for number in range(len(LABELS))]


def _val(labels: list[str], keys: list[str], **options: float) -> set[str]:
    splits = stratified(labels, options.get("val_fraction", 0.2), int(options.get("seed", 0)), keys)
    return {key for key, split in zip(keys, splits, strict=True) if split == "val"}


def test_each_class_gives_its_share() -> None:
    splits = stratified(LABELS, 0.2, 0)
    counts = Counter(zip(LABELS, splits, strict=True))
    assert counts["ant", "val"] == 10 and counts["bee", "val"] == 2
    assert counts["fly", "val"] == 1 and counts["fly", "train"] == 1
    assert counts["wasp", "train"] == 1 and counts["wasp", "val"] == 0


@pytest.mark.parametrize("fraction", [0.01, 0.05, 0.33, 0.5, 0.99])
@pytest.mark.parametrize("count", [2, 3, 7])
def test_no_class_is_left_without_either(fraction: float, count: int) -> None:
    assert set(stratified(["x"] * count, fraction, 1)) == {"train", "val"}


def test_the_order_of_listing_does_not_matter() -> None:
    expected = _val(LABELS, KEYS)
    pairs = list(zip(LABELS, KEYS, strict=True))
    for seed in range(5):
        random.Random(seed).shuffle(pairs)
        assert _val([label for label, _ in pairs], [key for _, key in pairs]) == expected


def test_the_choice_is_the_same_on_every_machine() -> None:
    keys = [f"{number:02d}" for number in range(20)]
    assert sorted(_val(["x"] * 20, keys, seed=7)) == ["02", "11", "15", "16"]


def test_another_seed_chooses_others() -> None:
    assert _val(LABELS, KEYS, seed=1) != _val(LABELS, KEYS, seed=2)


def test_one_more_photo_moves_next_to_nothing() -> None:
    keys = [f"content {number}" for number in range(100)]
    before, after = _val(["x"] * 100, keys), _val(["x"] * 101, [*keys, "new"])
    assert len(before - after) <= 1


def test_the_same_content_stays_together() -> None:
    for seed in range(40):
        keys = ["a", "a", "b", "c", "c", "c", "d", "e", "f", "g"]
        splits = stratified(["x"] * 10, 0.3, seed, keys)
        assert len({split for key, split in zip(keys, splits, strict=True) if key == "a"}) == 1
        assert len({split for key, split in zip(keys, splits, strict=True) if key == "c"}) == 1
        assert set(splits) == {"train", "val"}
    assert set(stratified(["x"] * 4, 0.3, 0, ["a"] * 4)) == {"train", "val"}  # nothing else is possible


@pytest.mark.parametrize("fraction", [0, 1, -0.2, 1.5, float("nan")])
def test_a_fraction_out_of_range(fraction: float) -> None:
    with pytest.raises(UsageError, match=r"val_fraction is .*Allowed: above 0 and below 1"):
        stratified(["x", "x"], fraction, 0)


def test_nothing_gives_nothing() -> None:
    assert stratified([], 0.2, 0) == []
