from __future__ import annotations

import pytest

from tl_app.choices import SCHEDULES
from tl_app.transfer.schedules import lr_factor, rise_steps

STEPS = 200


def curve(schedule: str, warmup: float | None = None) -> list[float]:
    return [lr_factor(schedule, step, STEPS, warmup=warmup) for step in range(STEPS)]


@pytest.mark.parametrize(
    ("schedule", "usual"), [("constant", 0.0), ("step", 0.0), ("cosine", 0.05), ("one-cycle", 0.3)]
)
def test_without_a_share_each_schedule_has_its_own(schedule: str, usual: float) -> None:
    assert curve(schedule) == curve(schedule, usual) != curve(schedule, 0.2)


@pytest.mark.parametrize("schedule", ["constant", "step", "cosine"])
def test_warm_up_is_a_straight_line(schedule: str) -> None:
    assert curve(schedule, 0.25)[:50] == pytest.approx([(step + 0.5) / 50 for step in range(50)])


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.9])
def test_the_rate_rises_to_one_and_never_again(schedule: str, warmup: float) -> None:
    found = curve(schedule, warmup)
    assert all(0 < factor <= 1 for factor in found)
    first = round(STEPS * warmup)
    if schedule != "step" or warmup < 1 / 3:  # whose drops stay where they are
        assert max(found) == pytest.approx(1.0, abs=0.02)
        assert found[:first] == sorted(found[:first])
    assert found[first:] == sorted(found[first:], reverse=True)


def test_a_warm_up_leaves_the_drops_of_step_where_they_are() -> None:
    usual, warm = curve("step"), curve("step", 0.1)
    assert warm[20:] == usual[20:] and warm[0] < usual[0]


def test_one_cycle_starts_at_a_25th_and_falls_behind_its_rise() -> None:
    found = curve("one-cycle", 0.6)
    assert found[0] == pytest.approx(0.04, rel=0.01)
    assert found.index(max(found)) in (119, 120)


def test_steps_left_out_are_the_rise_alone_and_no_drop_comes_sooner() -> None:
    left_out = rise_steps("cosine", STEPS, 0.2)
    whole = [lr_factor("cosine", step, left_out + STEPS, warmup=0.2) for step in range(left_out + STEPS)]
    rest = [lr_factor("cosine", step, STEPS, warmup=0.2, left_out=left_out) for step in range(STEPS)]
    assert rest == whole[left_out:] == sorted(rest, reverse=True)
    for drop_steps, first in ((70, 70), (None, 67)):
        rates = [
            lr_factor("step", step, STEPS, warmup=0.2, left_out=left_out, drop_steps=drop_steps)
            for step in range(STEPS)
        ]
        assert rates[:first] == [1.0] * first and rates[first] == 0.1
