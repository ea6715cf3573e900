from __future__ import annotations

from typing import Any

import pytest

from tl_app.choices import RECIPES, SCHEDULES
from tl_app.config import TrainConfig
from tl_app.errors import UsageError
from tl_app.transfer.recipes import Phase, default_depth, plan, resolve
from tl_app.transfer.schedules import lr_factor


def phase_of(stages: int = 8, photos: int = 100, **values: Any) -> Phase:
    (phase,) = phases_of(stages, photos, **values)
    return phase


def phases_of(stages: int = 8, photos: int = 100, **values: Any) -> list[Phase]:
    return plan(resolve(TrainConfig(**values), stages, photos), stages)


@pytest.mark.parametrize(("recipe", "depth"), [("head", 8), ("partial", 6), ("full", 0), ("scratch", 0)])
def test_each_recipe_freezes_what_it_says(recipe: str, depth: int) -> None:
    phase = phase_of(recipe=recipe, epochs=7)
    assert (phase.frozen_stages, phase.epochs) == (depth, 7)
    assert default_depth(recipe, 8) == depth


def test_pretrained_stages_move_slower_than_the_head_but_random_ones_do_not() -> None:
    full, scratch, head = (phase_of(recipe=recipe) for recipe in ("full", "scratch", "head"))
    assert full.lr_backbone == pytest.approx(full.lr_head / 20)
    assert scratch.lr_backbone == scratch.lr_head
    assert head.lr_head == pytest.approx(4 * full.lr_head)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize(("recipe", "share"), [("lp-ft", 0.1), ("gradual", 0.05)])
def test_a_head_that_begins_alone_says_nothing_about_the_rate_behind_it(
    recipe: str, share: float, optimizer: str
) -> None:
    asked = {"recipe": recipe, "optimizer": optimizer, "epochs": 10}
    first, *usual = phases_of(**asked)
    fast, *rest = phases_of(**asked, lr_head=0.02)
    assert (fast.lr_head, rest) == (0.02, usual)
    assert first.lr_backbone == usual[0].lr_backbone == share * (1e-3 if optimizer == "adamw" else 1e-2)


def test_a_partial_recipe_takes_any_depth_there_is() -> None:
    for depth in range(9):
        assert phase_of(recipe="partial", freeze=depth).frozen_stages == depth
    assert phase_of(recipe="partial", freeze=8) == phase_of(recipe="head")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"recipe": "partial", "freeze": 9}, "has 8 stages. Allowed: 0 .* to 8"),
        ({"recipe": "head", "freeze": 3}, "freezes all 8 stages, but freezing depth 3"),
        ({"recipe": "lp-ft", "freeze": 8}, "ends with unfrozen stages, but freezing depth 8 leaves none"),
        ({"recipe": "lp-ft", "epochs": 5, "probe_epochs": 5}, "leave none of 5 .* Allowed: 1 to 4"),
        ({"recipe": "gradual", "epochs": 1}, "has two parts at least, but epochs is 1. Allowed: 2 or more"),
    ],
)
def test_a_depth_that_is_not_there(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        phase_of(**values)


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name != "auto"])
def test_given_values_are_kept(recipe: str) -> None:
    first, *_ = phases = phases_of(recipe=recipe, lr_head=0.3, lr_backbone=0.2, epochs=3)
    assert (first.lr_head, first.lr_backbone) == (0.3, 0.2)
    assert sum(phase.epochs for phase in phases) == 3


def test_a_probe_comes_before_fine_tuning_and_is_not_driven_to_the_end() -> None:
    probe, tuned = phases_of(recipe="lp-ft", epochs=10)
    assert (probe.frozen_stages, probe.epochs) == (8, 1) and (tuned.frozen_stages, tuned.epochs) == (0, 9)
    full = phase_of(recipe="full")
    assert tuned.lr_head < probe.lr_head == full.lr_head < phase_of(recipe="head").lr_head
    assert full.lr_backbone < tuned.lr_backbone < tuned.lr_head
    assert phases_of(recipe="lp-ft", freeze=5)[1].frozen_stages == 5
    assert [phase.epochs for phase in phases_of(recipe="lp-ft", epochs=2)] == [1, 1]
    assert [phase.epochs for phase in phases_of(recipe="lp-ft", epochs=9, probe_epochs=6)] == [6, 3]
    gentle = phases_of(recipe="lp-ft", epochs=9, lr_backbone=1e-5)[1]
    assert (gentle.lr_head, gentle.lr_backbone) == (pytest.approx(5e-5), 1e-5)


@pytest.mark.parametrize(
    ("epochs", "freeze", "depths", "shares"),
    [
        (9, None, [8, 7, 6, 5, 4, 3, 2, 1, 0], [1] * 9),
        (20, None, [8, 7, 6, 5, 4, 3, 2, 1, 0], [2] * 7 + [3] * 2),
        (5, None, [8, 6, 4, 2, 0], [1] * 5),
        (4, 6, [8, 7, 6], [1, 1, 2]),
        (2, 6, [8, 6], [1, 1]),
    ],
)
def test_stages_are_unfrozen_one_after_the_other(
    epochs: int, freeze: int | None, depths: list[int], shares: list[int]
) -> None:
    phases = phases_of(recipe="gradual", epochs=epochs, freeze=freeze)
    assert [phase.frozen_stages for phase in phases] == depths
    assert [phase.epochs for phase in phases] == shares
    assert phases[0].lr_head > phases[1].lr_head == phases[-1].lr_backbone


def test_block_wise_epochs_come_first() -> None:
    blockwise, rest = phases_of(recipe="pretrain", teacher="backbone:x", blockwise_epochs=3, epochs=5)
    assert blockwise.blockwise and not rest.blockwise and (blockwise.epochs, rest.epochs) == (3, 5)


def test_more_photos_get_fewer_epochs() -> None:
    epochs = [phase_of(photos=photos).epochs for photos in (1, 1000, 1001, 10_000, 10_001, 10**6)]
    assert epochs == [20, 20, 10, 10, 5, 5]


def test_photos_are_varied_slightly_unless_something_else_was_chosen() -> None:
    levels = [
        resolve(TrainConfig(augmentation=asked), 8, 100).augmentation for asked in ("auto", "none", "strong")
    ]
    assert levels == ["light", "none", "strong"]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("total", [1, 2, 7, 1000])
def test_factors_stay_in_range(schedule: str, total: int) -> None:
    factors = [lr_factor(schedule, step, total) for step in range(total)]
    assert all(0 < factor <= 1 for factor in factors)


def test_the_shapes_of_the_schedules() -> None:
    def at(schedule: str) -> list[float]:
        return [lr_factor(schedule, step, 1000) for step in (0, 49, 299, 500, 999)]

    assert at("constant") == [1, 1, 1, 1, 1]
    assert at("step")[2:] == pytest.approx([1, 0.1, 0.01])
    warm, top, _, middle, end = at("cosine")
    assert warm < 0.02 and top == pytest.approx(1, abs=0.02) and 0.4 < middle < 0.6 and end < 1e-4
    assert at("one-cycle")[0] == pytest.approx(0.04, abs=1e-3)
    assert at("one-cycle")[2] == pytest.approx(1, abs=1e-3)
    assert at("one-cycle")[4] == pytest.approx(1e-4, abs=1e-3)
