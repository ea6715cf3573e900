"""Batches of photos and labels: seeded order, seeded augmentation, assembled by threads ahead of the network.

What a batch holds depends on (seed, epoch, position) alone, never on timing, so that a resumed run sees the
same batches. Knows nothing of networks.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from tl_app.data import augment
from tl_app.data.store import PhotoStore

Item = tuple[str, int]  # path relative to the photo folder, class number
_AHEAD = 2  # batches made before they are asked for


def cut(count: int, batch_size: int) -> list[int]:
    """Sizes of the batches that ``count`` photos are cut into: as even as can be.

    A lone photo, which BatchNorm cannot average over, joins another batch.
    """
    parts = max(1, -(-count // batch_size))
    if batch_size > 1 and parts > 1 and count // parts == 1:
        parts = count // 2
    small, larger = divmod(count, parts)
    return [small + 1] * larger + [small] * (parts - larger)


def train_batches(
    store: PhotoStore,
    items: Sequence[Item],
    *,
    batch_size: int,
    augmentation: str,
    seed: int,
    epoch: int,
    first: int = 0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of one training epoch, shuffled and augmented.

    Args:
        store: Where the photos come from.
        items: All training photos.
        batch_size: At most so many photos a batch.
        augmentation: One of ``config.AUGMENTATIONS``.
        seed: Of the run.
        epoch: Counted from 0; order and augmentation differ from epoch to epoch.
        first: The first batch wanted, when an epoch goes on in its middle.

    Yields:
        uint8 photos (B, 3, size, size) and int64 labels (B,).
    """
    order = np.random.default_rng([seed, epoch]).permutation(len(items))
    size = store.preprocessing.crop

    def load(index: int) -> Tensor:
        rng = np.random.default_rng([seed, epoch, index])
        image = store.get(items[index][0])
        if augmentation == "none":
            return store.preprocessing.center(image)
        return augment.apply(image, level=augmentation, size=size, rng=rng)

    yield from _assembled(items, _chunks(order.tolist(), batch_size)[first:], load)


def eval_batches(
    store: PhotoStore, items: Sequence[Item], batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """The photos in order, cut from the middle, as evaluation and prediction see them.

    Yields:
        uint8 photos (B, 3, size, size) and int64 labels (B,).
    """

    def load(index: int) -> Tensor:
        return store.preprocessing.center(store.get(items[index][0]))

    yield from _assembled(items, _chunks(list(range(len(items))), batch_size), load)


def _chunks(order: list[int], batch_size: int) -> list[list[int]]:
    chunks, start = [], 0
    for size in cut(len(order), batch_size):
        chunks.append(order[start : start + size])
        start += size
    return chunks


def _assembled(
    items: Sequence[Item], chunks: list[list[int]], load: Callable[[int], Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    waiting: deque[tuple[list[int], list[Future[Tensor]]]] = deque()
    pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="tl-app photos")
    try:
        for chunk in chunks:
            waiting.append((chunk, [pool.submit(load, index) for index in chunk]))
            if len(waiting) > _AHEAD:
                yield _collate(items, *waiting.popleft())
        while waiting:
            yield _collate(items, *waiting.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _collate(items: Sequence[Item], chunk: list[int], images: list[Future[Tensor]]) -> tuple[Tensor, Tensor]:
    labels = torch.tensor([items[index][1] for index in chunk])
    return torch.stack([image.result() for image in images]), labels
