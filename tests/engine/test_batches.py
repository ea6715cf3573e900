from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tl_app.data.store import PhotoStore, Preprocessing
from tl_app.engine.batches import Item, cut, eval_batches, train_batches


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
            train_batches(store, items, batch_size=5, augmentation="strong", seed=seed, epoch=number, views=3)
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
                store, items, batch_size=5, augmentation="light", seed=3, epoch=2, views=3, first=first
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
    batches = train_batches(store, items, batch_size=2, augmentation="none", seed=0, epoch=0, views=1)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
