"""Views of photos, one by one or in batches, loaded by threads ahead of the network.

A photo has views, numbered from 0: view 0 is what evaluation sees, the others are augmented with chance that depends
on (seed, view, photo content) alone. Knows nothing of epochs or networks.
"""

from __future__ import annotations

import functools
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
from tl_app.data import alone, augment, together
from tl_app.data.augment import Augmentation, View
from tl_app.data.pixels import resized
from tl_app.data.store import PhotoStore

T = TypeVar("T")
R = TypeVar("R")
B = TypeVar("B")
CPU = torch.device("cpu")
_AHEAD = 2  # batches made before they are asked for
_MOST_THREADS = 16
_MAKES_VIEWS = ("cuda",)  # devices that are better at it than the threads that load photos


class Item(NamedTuple):
    """One photo to train or evaluate on."""

    path: str  # relative to the photo folder
    label: int  # number of its class
    content: str = ""  # hash of the file


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
    size = side or store.preprocessing.crop
    image, planned = _planned(store, item, view, augmentation, seed, size)
    if planned is not None:
        return alone.made(image, planned, size)
    return image if size == store.preprocessing.crop else resized(image, size, size)


def _planned(
    store: PhotoStore, item: Item, view: int, augmentation: Augmentation, seed: int, size: int
) -> tuple[Tensor, View | None]:
    """A photo and what is to be made of it; its middle, and None, where that is all there is to see."""
    image = store.get(item.path)
    if view == 0 or augmentation.level == "none":
        return store.preprocessing.center(image), None
    rng = np.random.default_rng([seed, view, _number(item.content or item.path)])
    return image, augment.drawn(*image.shape[-2:], how=augmentation, size=size, rng=rng)


def loaded_views(
    order: Iterable[list[T]],
    which: Callable[[T], tuple[Item, int]],
    *,
    store: PhotoStore,
    augmentation: Augmentation,
    seed: int,
    device: torch.device,
    side: int | None = None,
) -> Iterator[tuple[list[T], Tensor]]:
    """Batches of views, loaded in threads a few batches ahead; a graphics card makes them itself, a batch at once.

    Args:
        order: What makes up each batch.
        which: The photo that each of that stands for, and the number of the view.
        store: Where photos come from.
        augmentation: How they are varied.
        seed: Of the run.
        device: Where batches are wanted.
        side: As for :func:`load_view`.

    Yields:
        What makes up a batch, and its views, uint8 (B, 3, side, side), channels last: on the card where that made
        them, else on the CPU, in memory that a card can copy from by itself.
    """
    size, pinned = side or store.preprocessing.crop, device.type == "cuda"

    def load(each: T) -> Tensor:
        item, view = which(each)
        return load_view(store, item, view=view, augmentation=augmentation, seed=seed, side=side)

    def plan(each: T) -> tuple[Tensor, View]:
        item, view = which(each)
        image, planned = _planned(store, item, view, augmentation, seed, size)
        return image, planned or View((0, 0, *image.shape[-2:]))

    def packed(rows: Sequence[tuple[Tensor, View]]) -> tuple[Tensor, list[View]]:
        views = [view for _, view in rows]
        return together.packed([image for image, _ in rows], views, pinned=pinned), views

    if (
        device.type not in _MAKES_VIEWS
        or augmentation.level == "none"
        or not together.can_make(augmentation.level)
    ):
        yield from assembled(order, load, functools.partial(stacked, pinned=pinned))
        return
    for chunk, (canvas, views) in assembled(order, plan, packed):
        yield chunk, together.made(canvas.to(device, non_blocking=True), views, size)


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def assembled(
    order: Iterable[list[T]], load: Callable[[T], R], join: Callable[[list[R]], B]
) -> Iterator[tuple[list[T], B]]:
    """Loads rows in threads, and joins them in another one, a few batches ahead.

    Args:
        order: What makes up each batch, by number or whatever ``load`` takes.
        load: From one of those to its row.
        join: From the rows of a batch to the batch.

    Yields:
        What makes up a batch, and the batch.
    """
    waiting: deque[tuple[list[T], Future[B]]] = deque()
    threads = min(_MOST_THREADS, os.cpu_count() or 1)
    pool = one_core_pool(threads, "tl-app photos")
    joiner = one_core_pool(1, "tl-app batches")
    try:
        for chunk in order:
            # One task for each thread: were each row one, threads would wait for one another at every row.
            parts = [
                pool.submit(lambda part: [load(each) for each in part], chunk[first::threads])
                for first in range(min(threads, len(chunk)))
            ]
            waiting.append((chunk, joiner.submit(lambda parts: join(_in_turn(parts)), parts)))
            if len(waiting) > _AHEAD:
                ready, batch = waiting.popleft()
                yield ready, batch.result()
        while waiting:
            ready, batch = waiting.popleft()
            yield ready, batch.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        joiner.shutdown(wait=True, cancel_futures=True)


def _in_turn(parts: Sequence[Future[list[R]]]) -> list[R]:
    """The first of each part, the second of each, and so on."""
    found = [part.result() for part in parts]
    return [found[place % len(found)][place // len(found)] for place in range(sum(map(len, found)))]


def stacked(rows: Sequence[Tensor], *, pinned: bool = False) -> Tensor:
    """Rows as one batch (B, …); those of three dimensions channels last."""
    shape = (len(rows), *rows[0].shape)
    layout = torch.channels_last if len(shape) == 4 else torch.contiguous_format
    batch = torch.empty(shape, dtype=rows[0].dtype, memory_format=layout, pin_memory=pinned)
    for place, row in zip(batch, rows, strict=True):
        place.copy_(row)
    return batch
