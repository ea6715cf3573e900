"""What a finished run is extended by."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tl_app.config import TrainConfig
from tl_app.errors import UsageError
from tl_app.transfer.extensions import Extension, describe, extend, first_of, phases_of
from tl_app.transfer.recipes import Phase

PARTIAL = TrainConfig(recipe="partial", epochs=8, freeze=2, lr_head=0.004, lr_backbone=0.0002)


def extended(*asked: dict[str, Any], config: TrainConfig = PARTIAL, stages: int = 4) -> list[Extension]:
    """A run that was complete before each extension."""
    known: list[Extension] = []
    for each in asked:
        phases = phases_of(config, stages, known)
        after = sum(phase.epochs for phase in phases)
        known.append(extend(phases, stages=stages, optimizer="adamw", after=after, begun=len(phases), **each))
    return known


def test_more_epochs_are_more_of_the_same_at_half_the_peak() -> None:
    first, second, third = extended({"epochs": 3}, {}, {"epochs": 2, "lr": 0.001})
    assert first.phase == Phase(3, 2, 0.002, 0.0001, continues=True)
    assert second.phase == Phase(5, 2, 0.002, 0.0001, continues=True), "half of the recipe's, however often"
    assert third.phase == Phase(2, 2, 0.001, pytest.approx(0.00005), continues=True)
    phases = phases_of(PARTIAL, 4, (first, second, third))
    assert [phase.epochs for phase in phases] == [8, 3, 5, 2]
    assert first_of(phases, 3) == 0


def test_one_more_stage_is_a_phase_of_its_own() -> None:
    (only,) = extended({"unfreeze": 1, "epochs": 3})
    assert only.phase == Phase(3, 1, 0.0002, 0.0002)
    head = TrainConfig(recipe="head", epochs=8, freeze=4, lr_head=0.004, lr_backbone=0.0002)
    (only,) = extended({"unfreeze": 2}, config=head)
    assert only.phase.frozen_stages == 2
    assert only.phase.lr_head == only.phase.lr_backbone == pytest.approx(5e-5), "a head alone bears more"
    first, second = extended({"unfreeze": 1, "lr": 0.001}, {"epochs": 1}, config=head)
    assert (first.phase.lr_head, first.phase.lr_backbone) == pytest.approx((0.001, 0.001))
    assert (second.phase.lr_head, second.phase.frozen_stages) == pytest.approx((0.0005, 3))


def test_stages_go_down_to_none_and_no_further() -> None:
    known = extended({"unfreeze": 1}, {"unfreeze": 1})
    assert known[-1].phase.frozen_stages == 0
    with pytest.raises(UsageError, match="every stage is trained already. Extend the run by epochs alone"):
        extended({"unfreeze": 1}, {"unfreeze": 1}, {"unfreeze": 1})
    with pytest.raises(
        UsageError, match="3 more stages cannot be unfrozen: 2 are frozen. Allowed: from 0 to 2"
    ):
        extended({"unfreeze": 3})


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"epochs": 0}, "cannot be extended by 0 epochs. Allowed: from 1 to 1000"),
        ({"epochs": 1001}, "cannot be extended by 1001 epochs"),
        ({"unfreeze": -1}, "Allowed: from 0 to 2"),
        ({"lr": 0.0}, "lr is 0.0"),
        ({"lr_backbone": float("nan")}, "lr_backbone is nan"),
    ],
)
def test_numbers_out_of_range(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        extended(asked)


def test_a_run_that_was_finished_early_is_cut_there() -> None:
    early = extend(phases_of(PARTIAL, 4), stages=4, optimizer="adamw", after=5, begun=1, epochs=2)
    assert [phase.epochs for phase in phases_of(PARTIAL, 4, [early])] == [5, 2]
    again = extend(phases_of(PARTIAL, 4, [early]), stages=4, optimizer="adamw", after=5, begun=2, unfreeze=1)
    phases = phases_of(PARTIAL, 4, [early, again])
    assert [phase.epochs for phase in phases] == [5, 0, 5], "numbers of phases stay"


def test_it_is_kept_as_json_and_told_in_a_sentence() -> None:
    more, stage = extended({"epochs": 1}, {"unfreeze": 1, "epochs": 3})
    assert Extension.from_dict(json.loads(json.dumps(stage.to_dict()))) == stage
    names = ["stem", "layer1", "layer2", "layer3"]
    assert describe(more, names) == (
        "Goes on after epoch 8: 1 more epoch at freezing depth 2, "
        "learning rate from 0.002 (head) and 0.0001 (backbone)."
    )
    assert describe(stage, names) == (
        "Goes on after epoch 9: 3 more epochs with layer1 unfrozen as well, freezing depth 1, "
        "learning rate from 0.0001 (head) and 0.0001 (backbone)."
    )
