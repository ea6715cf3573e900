"""Batches of photos and labels: seeded order, seeded views, assembled by threads ahead of the network.

What a batch holds depends on (seed, epoch, position) alone, never on timing, so that a resumed run sees the
same batches. Knows nothing of networks.

A photo has views, numbered from 0: view 0 is what evaluation sees, the others are augmented with chance that depends
on (seed, view, photo content) alone. An epoch that is not short of views uses the one of its own number, so that only
the first of a run sees photos as they are.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from tl_app.cores import one_core_pool
from tl_app.data import augment
from tl_app.data.augment import Augmentation
from tl_app.data.pixels import resized
from tl_app.data.store import PhotoStore

T = TypeVar("T")
Batch = tuple[Tensor, Tensor]  # photos (B, …), int64 labels (B,)
_AHEAD = 2  # batches made before they are asked for
_MOST_THREADS = 16


class Item(NamedTuple):
    """One photo to train or evaluate on."""

    path: str  # relative to the photo folder
    label: int  # number of its class
    content: str = ""  # hash of the file


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


def load_view(
    store: PhotoStore,
    item: Item,
    *,
    view: int,
    augmentation: Augmentation,
    seed: int,
    side: int | None = None,
) -> Tensor:
    """One view of a photo: uint8 (3, side, side).

    Args:
        store: Where the photo comes from.
        item: The photo.
        view: Its number.
        augmentation: How photos are varied.
        seed: Of the run.
        side: In pixels; None for what the network is evaluated with. All of it is seen at another side too.

    Raises:
        PhotoError: The photo cannot be read any more.
    """
    image, size = store.get(item.path), side or store.preprocessing.crop
    if view == 0 or augmentation.level == "none":
        plain = store.preprocessing.center(image)
        return plain if size == store.preprocessing.crop else resized(plain, size, size)
    rng = np.random.default_rng([seed, view, _number(item.content or item.path)])
    return augment.apply(image, how=augmentation, size=size, rng=rng)


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())


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
    pinned: bool = False,
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
        pinned: Whether batches lie in memory that a graphics card can copy from by itself.
        balanced: Whether all classes are drawn equally often.
        side: Of the photos, in pixels; None for what the network is evaluated with.

    Yields:
        uint8 photos (B, 3, side, side), channels last, and int64 labels (B,).
    """

    def load(draw: int) -> Tensor:
        view, item = view_of(epoch, draw, views, len(items)), items[draw % len(items)]
        return load_view(store, item, view=view, augmentation=augmentation, seed=seed, side=side)

    order = epoch_order(items, batch_size, seed=seed, epoch=epoch, balanced=balanced)[first:]
    for chunk, images in assembled(order, load, pinned=pinned):
        yield images, labels_of(items, chunk)


def eval_batches(
    store: PhotoStore, items: Sequence[Item], batch_size: int, *, pinned: bool = False
) -> Iterator[Batch]:
    """The middle of every photo, in order.

    Args:
        store: Where the photos come from.
        items: The photos.
        batch_size: At most so many photos a batch.
        pinned: As for :func:`train_batches`.

    Yields:
        uint8 photos (B, 3, size, size), channels last, and int64 labels (B,).
    """

    def load(index: int) -> Tensor:
        return store.preprocessing.center(store.get(items[index].path))

    for chunk, images in assembled(chunks(list(range(len(items))), batch_size), load, pinned=pinned):
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


def assembled(
    order: Iterable[list[T]], load: Callable[[T], Tensor], *, pinned: bool = False
) -> Iterator[tuple[list[T], Tensor]]:
    """Loads rows in threads, a few batches ahead, and stacks them.

    Args:
        order: What makes up each batch, by number or whatever ``load`` takes.
        load: From one of those to its row, of one shape and type for all.
        pinned: As for :func:`train_batches`.

    Yields:
        What makes up a batch and its rows, (B, …); rows of three dimensions are stacked channels last.
    """
    waiting: deque[tuple[list[T], list[Future[Tensor]]]] = deque()
    pool = one_core_pool(min(_MOST_THREADS, os.cpu_count() or 1), "tl-app photos")
    try:
        for chunk in order:
            waiting.append((chunk, [pool.submit(load, each) for each in chunk]))
            if len(waiting) > _AHEAD:
                yield _taken(*waiting.popleft(), pinned)
        while waiting:
            yield _taken(*waiting.popleft(), pinned)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _taken(chunk: list[T], rows: list[Future[Tensor]], pinned: bool) -> tuple[list[T], Tensor]:
    return chunk, stacked([row.result() for row in rows], pinned=pinned)


def stacked(rows: Sequence[Tensor], *, pinned: bool = False) -> Tensor:
    """Rows as one batch (B, …); those of three dimensions channels last."""
    shape = (len(rows), *rows[0].shape)
    layout = torch.channels_last if len(shape) == 4 else torch.contiguous_format
    batch = torch.empty(shape, dtype=rows[0].dtype, memory_format=layout, pin_memory=pinned)
    for place, row in zip(batch, rows, strict=True):
        place.copy_(row)
    return batch
