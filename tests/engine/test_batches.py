from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tl_app.data.augment import PLAIN, Augmentation
from tl_app.data.store import PhotoStore, Preprocessing
from tl_app.engine.batches import cut, epoch_order, eval_batches, train_batches, view_of
from tl_app.engine.views import Item


@pytest.fixture
def items(photos: Path) -> list[Item]:
    return [
        Item(f"{name}/{index:02d}.png", number)
        for number, name in enumerate(("blue", "red"))
        for index in range(12)
    ]


@pytest.fixture
def store(photos: Path) -> PhotoStore:
    return PhotoStore(photos, Preprocessing(resize=36, crop=32))


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"),
    [
        (10, 4, [4, 3, 3]),
        (9, 8, [5, 4]),
        (8, 8, [8]),
        (1, 8, [1]),
        (33, 32, [17, 16]),
        (5, 2, [3, 2]),
        (3, 2, [3]),
        (3, 1, [1, 1, 1]),
    ],
)
def test_batches_are_even_so_that_no_photo_is_left_alone(
    count: int, batch_size: int, sizes: list[int]
) -> None:
    assert cut(count, batch_size) == sizes


def test_an_epoch_sees_each_photo_once_and_depends_on_seed_and_epoch(
    store: PhotoStore, items: list[Item]
) -> None:
    def epoch(seed: int, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        batches = list(
            train_batches(
                store,
                items,
                batch_size=5,
                augmentation=Augmentation("strong"),
                seed=seed,
                epoch=number,
                views=range(3),
            )
        )
        return torch.cat([images for images, _ in batches]), torch.cat([labels for _, labels in batches])

    images, labels = epoch(0, 1)
    assert images.shape == (24, 3, 32, 32) and images.dtype == torch.uint8
    assert labels.sum() == 12
    again, _ = epoch(0, 1)
    assert torch.equal(images, again)
    for seed, number in ((1, 1), (0, 2)):
        other, _ = epoch(seed, number)
        assert not torch.equal(images, other)


def test_an_epoch_goes_on_in_its_middle(store: PhotoStore, items: list[Item]) -> None:
    def batches(first: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return list(
            train_batches(
                store,
                items,
                batch_size=5,
                augmentation=Augmentation("light"),
                seed=3,
                epoch=2,
                views=range(3),
                first=first,
            )
        )

    whole, rest = batches(0), batches(3)
    assert len(whole) == 5 and len(rest) == 2
    for (images, labels), (other, other_labels) in zip(whole[3:], rest, strict=True):
        assert torch.equal(images, other) and torch.equal(labels, other_labels)
    assert batches(5) == []


def test_evaluation_keeps_the_order(store: PhotoStore, items: list[Item]) -> None:
    labels = torch.cat([labels for _, labels in eval_batches(store, items, 7)])
    assert labels.tolist() == [item.label for item in items]
    images = torch.cat([images for images, _ in eval_batches(store, items, 7)])
    middle = store.preprocessing.center(store.get(items[4].path))
    assert torch.equal(images[4], middle)


def test_an_abandoned_epoch_leaves_no_threads(store: PhotoStore, items: list[Item]) -> None:
    import threading

    before = threading.active_count()
    batches = train_batches(store, items, batch_size=2, augmentation=PLAIN, seed=0, epoch=0, views=range(1))
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


UNEVEN = [Item(str(number), label) for number, label in enumerate([0] * 9 + [1] * 2 + [2])]


def _drawn(epoch: int, items: list[Item] = UNEVEN, balanced: bool = True) -> list[int]:
    return [draw for batch in epoch_order(items, 4, seed=0, epoch=epoch, balanced=balanced) for draw in batch]


def test_without_balance_the_order_is_what_it_always_was() -> None:
    expected = np.random.default_rng([0, 3]).permutation(12).tolist()
    assert _drawn(3, balanced=False) == expected


def test_balanced_epochs_draw_each_class_equally_often_and_are_as_long() -> None:
    orders = [_drawn(epoch) for epoch in range(40)]
    for order in orders:
        labels = [UNEVEN[draw % 12].label for draw in order]
        assert [labels.count(label) for label in range(3)] == [4, 4, 4]
        assert len(set(order)) == 12, "a photo drawn again has a number of its own"
        assert sorted(draw // 12 for draw in order if draw % 12 == 11) == [
            0,
            1,
            2,
            3,
        ]  # the only one of its class
        assert sorted(draw // 12 for draw in order if draw % 12 in (9, 10)) == [0, 0, 1, 1]
    assert {draw % 12 for order in orders for draw in order} == set(range(12))
    assert orders[0] == _drawn(0) and orders[0] != orders[1]


def test_what_is_left_over_goes_to_classes_by_chance() -> None:
    items = [Item(str(number), min(number, 2)) for number in range(11)]
    counts = [[items[draw % 11].label for draw in _drawn(epoch, items)].count(0) for epoch in range(30)]
    assert set(counts) == {3, 4}


def test_a_photo_drawn_again_gets_another_view() -> None:
    ten = range(10)
    assert [view_of(2, draw, ten, 12) for draw in (5, 17, 29)] == [2, 3, 4]
    assert view_of(2, 5, ten, 12) == 2 and view_of(12, 5, ten, 12) == 7  # as without repeats
    assert [view_of(9, draw, ten, 12) for draw in (5, 17)] == [9, 5]
    assert [view_of(30, draw, range(30, 40), 12) for draw in (5, 17)] == [30, 31]
    assert view_of(42, 5, range(30, 40), 12) == 37


def test_balanced_batches_hold_the_photos_they_name(store: PhotoStore, items: list[Item]) -> None:
    few = items[:2] + items[12:]  # 2 of one class, 12 of the other
    options = {"augmentation": PLAIN, "seed": 0, "epoch": 0, "views": range(3), "balanced": True}
    batches = list(train_batches(store, few, batch_size=4, **options))
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert labels.tolist().count(0) == labels.tolist().count(1) == 7
    blue = images[:, 2].float().mean((1, 2)) > images[:, 0].float().mean((1, 2))
    assert torch.equal(blue, labels == 0)
