from __future__ import annotations

import dataclasses

import pytest

from tl_app.engine.costs import Costs, affordable_views, keep

COSTS = Costs(
    photo_seconds=0.005,
    row_bytes=1024,
    train=1600,
    val=400,
    epochs=10,
    disk_bytes_per_second=float("inf"),
    memory_bytes=1 << 30,
    limit_bytes=10 << 30,
)


def test_small_activations_are_kept() -> None:
    kept, why = keep(COSTS, 1, "auto")
    assert kept
    assert why == (
        "The frozen stages run once, about 10 s for 2,000 photos, and their output (2.0 MB) is kept; in every step "
        "they would take 100 s."
    )
    assert "10 views of each training photo" in keep(COSTS, 10, "auto")[1]


def test_large_activations_of_cheap_stages_are_computed_each_time() -> None:
    early = dataclasses.replace(
        COSTS, photo_seconds=0.001, row_bytes=1_600_000, disk_bytes_per_second=2e8, epochs=2
    )
    kept, why = keep(early, 1, "auto")
    assert not kept and "in every step, about 4.0 s in all: to keep their output would take" in why
    assert keep(early, 1, "on")[0]


def test_the_limit_holds_whatever_is_asked() -> None:
    huge = dataclasses.replace(COSTS, row_bytes=6_000_000)
    for mode in ("auto", "on"):
        kept, why = keep(huge, 1, mode)
        assert not kept and "would take 12.0 GB, and the cache may take 10.7 GB" in why


def test_off_is_off() -> None:
    assert keep(COSTS, 1, "off") == (False, "The frozen stages run in every step, as asked.")


def test_one_epoch_alone_is_not_worth_keeping_on_a_slow_disk() -> None:
    single = dataclasses.replace(
        COSTS, epochs=1, row_bytes=400_000, disk_bytes_per_second=1e8, memory_bytes=0
    )
    assert not keep(single, 1, "auto")[0]


@pytest.mark.parametrize(
    ("flops", "train", "epochs", "views"),
    [(0.6e9, 245, 20, 20), (3.6e9, 1600, 10, 3), (3.6e9, 100_000, 10, 1), (0.1e9, 1600, 10, 10)],
)
def test_views_follow_from_the_work_alone(flops: float, train: int, epochs: int, views: int) -> None:
    assert affordable_views(photo_flops=flops, train=train, epochs=epochs, device="cpu") == views
