from __future__ import annotations

import dataclasses

import pytest

from tl_app.engine.costs import Costs, affordable_views, keep, views_within

COSTS = Costs(
    photo_seconds=0.005,
    row_bytes=1024,
    train=1600,
    val=400,
    epochs=10,
    views=1,
    rows=2000,
    missing=2000,
    disk_bytes_per_second=float("inf"),
    memory_bytes=1 << 30,
    limit_bytes=10 << 30,
)


def with_views(costs: Costs, views: int) -> Costs:
    rows = 1600 * views + 400
    return dataclasses.replace(costs, views=views, rows=rows, missing=rows)


def test_small_activations_are_kept() -> None:
    kept, why = keep(COSTS, "auto")
    assert kept
    assert why == (
        "The frozen stages run once, about 10 s for 2,000 photos, and their output (2.0 MB) is kept; in every step "
        "they would take 100 s."
    )
    assert "10 views of each training photo, and" in keep(with_views(COSTS, 10), "auto")[1]
    limited = keep(with_views(COSTS, 3), "auto", "more would take too long")[1]
    assert "3 views of each training photo (more would take too long), and" in limited


def test_large_activations_of_cheap_stages_are_computed_each_time() -> None:
    early = dataclasses.replace(
        COSTS, photo_seconds=0.001, row_bytes=1_600_000, disk_bytes_per_second=2e8, epochs=2
    )
    kept, why = keep(early, "auto")
    assert not kept and "in every step, about 4.0 s in all: to keep their output would take" in why
    assert keep(early, "on")[0]


def test_what_is_kept_already_costs_nothing() -> None:
    slow = dataclasses.replace(COSTS, row_bytes=400_000, disk_bytes_per_second=1e8, memory_bytes=0, epochs=2)
    assert not keep(slow, "auto")[0]
    kept, why = keep(dataclasses.replace(slow, missing=0), "auto")
    assert kept
    assert why == (
        "The frozen stages need not run: their output for 2,000 photos (800 MB) is kept already; in every step they "
        "would take 20 s."
    )
    some = keep(dataclasses.replace(COSTS, missing=500), "auto")[1]
    assert "run once, about 2.5 s for 2,000 photos" in some and "is kept, of which 75 % already; in" in some


def test_the_limit_holds_whatever_is_asked() -> None:
    huge = dataclasses.replace(COSTS, row_bytes=6_000_000)
    for mode in ("auto", "on"):
        kept, why = keep(huge, mode)
        assert not kept and "their output (12.0 GB) cannot be kept (the limit is 10.7 GB)" in why


def test_one_epoch_alone_is_not_worth_keeping_on_a_slow_disk() -> None:
    single = dataclasses.replace(
        COSTS, epochs=1, row_bytes=400_000, disk_bytes_per_second=1e8, memory_bytes=0
    )
    assert not keep(single, "auto")[0]


@pytest.mark.parametrize(("limit", "views"), [(1999, 0), (2000, 1), (2400, 1), (5200, 3)])
def test_views_follow_from_the_room_too(limit: int, views: int) -> None:
    assert views_within(limit * 1024, row_bytes=1024, train=1600, val=400) == views


@pytest.mark.parametrize(
    ("flops", "train", "epochs", "views"),
    [(0.6e9, 245, 20, 20), (3.6e9, 1600, 10, 3), (3.6e9, 100_000, 10, 1), (0.1e9, 1600, 10, 10)],
)
def test_views_follow_from_the_work_alone(flops: float, train: int, epochs: int, views: int) -> None:
    assert affordable_views(photo_flops=flops, train=train, epochs=epochs, device="cpu") == views
