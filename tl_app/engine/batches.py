"""Batches of photos and labels: seeded order, seeded views.

What a batch holds depends on (seed, epoch, position) alone, never on timing, so that a resumed run sees the
same batches. An epoch that is not short of views uses the one of its own number, so that only the first of a run sees
photos as they are. Knows nothing of networks.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from tl_app.data.augment import Augmentation
from tl_app.data.store import PhotoStore
from tl_app.engine.views import CPU, Item, assembled, loaded_views, stacked

Batch = tuple[Tensor, Tensor]  # photos (B, …), int64 labels (B,)


def cut(count: int, batch_size: int) -> list[int]:
    """Sizes of the batches that ``count`` photos are cut into: as even as can be.

    A lone photo, which BatchNorm cannot average over, joins another batch.
    """
    parts = max(1, -(-count // batch_size))
    if batch_size > 1 and parts > 1 and count // parts == 1:
        parts = count // 2
    small, larger = divmod(count, parts)
    return [small + 1] * larger + [small] * (parts - larger)


def view_of(epoch: int, draw: int, views: range, photos: int) -> int:
    """The view that an epoch uses; with enough, the one of its own number.

    Args:
        epoch: Counted from 0, not below the first view.
        draw: As :func:`epoch_order` numbers them; a photo drawn again gets the next view.
        views: The numbers that there are.
        photos: How many there are.
    """
    repeats, index = divmod(draw, photos)
    place = epoch - views.start + repeats
    return views[place if place < len(views) else (place + index) % len(views)]


def epoch_order(
    items: Sequence[Item], batch_size: int, *, seed: int, epoch: int, balanced: bool = False
) -> list[list[int]]:
    """The draws of each batch of a training epoch, shuffled.

    A draw is the number of a photo, plus the count of all photos for each time that the epoch had it before.
    """
    rng = np.random.default_rng([seed, epoch])
    order = _balanced(items, rng) if balanced else rng.permutation(len(items))
    return chunks(order.tolist(), batch_size)


def _balanced(items: Sequence[Item], rng: np.random.Generator) -> np.ndarray:
    """As many draws as there are photos, the same number of each class: rare ones come again, others in part."""
    labels = np.array([item.label for item in items])
    classes = rng.permutation(np.unique(labels))
    drawn = []
    for place, label in enumerate(classes):
        members = np.flatnonzero(labels == label)
        quota = len(items) // len(classes) + (place < len(items) % len(classes))
        rounds = -(-quota // len(members))
        drawn += [rng.permutation(members) + time * len(items) for time in range(rounds)]
        drawn[-1] = drawn[-1][: quota - (rounds - 1) * len(members)]
    return rng.permutation(np.concatenate(drawn))


def train_batches(
    store: PhotoStore,
    items: Sequence[Item],
    *,
    batch_size: int,
    augmentation: Augmentation,
    seed: int,
    epoch: int,
    views: range,
    first: int = 0,
    device: torch.device = CPU,
    balanced: bool = False,
    side: int | None = None,
) -> Iterator[Batch]:
    """The batches of one training epoch, shuffled and augmented.

    Args:
        store: Where the photos come from.
        items: All training photos.
        batch_size: At most so many photos a batch.
        augmentation: How photos are varied.
        seed: Of the run.
        epoch: Counted from 0; order and view differ from epoch to epoch.
        views: The views of each photo that the epochs draw from.
        first: The first batch wanted, when an epoch goes on in its middle.
        device: Where they are wanted, as for :func:`loaded_views`.
        balanced: Whether all classes are drawn equally often.
        side: Of the photos, in pixels; None for what the network is evaluated with.

    Yields:
        uint8 photos (B, 3, side, side), channels last, and int64 labels (B,), the latter on the CPU.
    """

    def which(draw: int) -> tuple[Item, int]:
        return items[draw % len(items)], view_of(epoch, draw, views, len(items))

    order = epoch_order(items, batch_size, seed=seed, epoch=epoch, balanced=balanced)[first:]
    how = {"store": store, "augmentation": augmentation, "seed": seed, "device": device, "side": side}
    for chunk, images in loaded_views(order, which, **how):  # type: ignore[arg-type]
        yield images, labels_of(items, chunk)


def eval_batches(
    store: PhotoStore, items: Sequence[Item], batch_size: int, *, pinned: bool = False
) -> Iterator[Batch]:
    """The middle of every photo, in order.

    Args:
        store: Where the photos come from.
        items: The photos.
        batch_size: At most so many photos a batch.
        pinned: Whether batches lie in memory that a graphics card can copy from by itself.

    Yields:
        uint8 photos (B, 3, size, size), channels last, and int64 labels (B,).
    """

    def load(index: int) -> Tensor:
        return store.preprocessing.center(store.get(items[index].path))

    order, join = chunks(list(range(len(items))), batch_size), functools.partial(stacked, pinned=pinned)
    for chunk, images in assembled(order, load, join):
        yield images, labels_of(items, chunk)


def labels_of(items: Sequence[Item], chunk: Sequence[int]) -> Tensor:
    """The class numbers of some photos or draws: int64 (B,)."""
    return torch.tensor([items[draw % len(items)].label for draw in chunk])


def chunks(order: list[int], batch_size: int) -> list[list[int]]:
    """``order`` in pieces of at most ``batch_size``, as :func:`cut` has them."""
    found, start = [], 0
    for size in cut(len(order), batch_size):
        found.append(order[start : start + size])
        start += size
    return found
