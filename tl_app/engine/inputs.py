"""What a phase's trainable suffix is fed: batches, and the frozen function from a batch to the boundary.

Either photos through the frozen stages in every step, or activations kept from one pass over the photos. Knows
nothing of optimisers, phases before or after, or how the choice was made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tl_app.data.augment import Augmentation
from tl_app.data.store import PhotoStore
from tl_app.engine.batches import Batch, chunks, epoch_order, eval_batches, train_batches, view_of
from tl_app.engine.boundary import BoundaryStore
from tl_app.engine.device import autocast
from tl_app.engine.views import CPU, Item, assembled, stacked


@dataclass(frozen=True)
class Photos:
    """The photos of a run.

    Attributes:
        store: Where their pixels come from.
        train: To train on.
        val: To validate on.
    """

    store: PhotoStore
    train: Sequence[Item]
    val: Sequence[Item]


@dataclass(frozen=True)
class Sampling:
    """Which photos make up a batch, and how they are varied.

    Attributes:
        batch_size: Photos per batch at most.
        augmentation: How photos are varied.
        seed: Of the run.
        views: The views of each photo that the epochs draw from, by number.
        device: Where batches are wanted.
        balanced: Whether an epoch draws all classes equally often.
        sides: The side of the photos of each epoch of a phase, in pixels; beyond them it is the network's own. Kept
            activations have no use for them.
        first_epoch: The phase's first.
    """

    batch_size: int
    augmentation: Augmentation
    seed: int
    views: range
    device: torch.device = CPU
    balanced: bool = False
    sides: tuple[int, ...] = ()
    first_epoch: int = 0

    def side(self, epoch: int) -> int | None:
        """Of an epoch's training photos; None for the network's own."""
        place = epoch - self.first_epoch
        return self.sides[place] if place < len(self.sides) else None


@dataclass(frozen=True)
class Inputs:
    """Batches of one phase.

    Attributes:
        train: ``train(epoch, first)`` gives an epoch's batches from number ``first`` on.
        val: ``val()`` gives the validation photos in order.
        to_boundary: From a batch's rows to float32 activations on the device; called under ``inference_mode``.
        pooled: Whether rows are kept feature vectors: steps are then so small that one thread is the fastest.
        kept: The shape of a row of kept activations; None where rows are photos.
    """

    train: Callable[[int, int], Iterator[Batch]]
    val: Callable[[], Iterator[Batch]]
    to_boundary: Callable[[Tensor], Tensor]
    pooled: bool = False
    kept: torch.Size | None = None


def from_photos(photos: Photos, sampling: Sampling, to_boundary: Callable[[Tensor], Tensor]) -> Inputs:
    """Photos, decoded and augmented anew for every epoch.

    Args:
        photos: What to train and validate on.
        sampling: Order and views.
        to_boundary: The frozen stages, or the normalisation alone where none is frozen: uint8 (B, 3, S, S), on the
            CPU or the device, to floats on the device.
    """

    def train(epoch: int, first: int) -> Iterator[Batch]:
        return train_batches(
            photos.store,
            photos.train,
            batch_size=sampling.batch_size,
            augmentation=sampling.augmentation,
            seed=sampling.seed,
            epoch=epoch,
            views=sampling.views,
            first=first,
            device=sampling.device,
            balanced=sampling.balanced,
            side=sampling.side(epoch),
        )

    def val() -> Iterator[Batch]:
        size = max(32, sampling.batch_size)
        return eval_batches(photos.store, photos.val, size, pinned=sampling.device.type == "cuda")

    return Inputs(train, val, to_boundary)


def from_activations(
    photos: Photos,
    sampling: Sampling,
    stores: Mapping[int, BoundaryStore],
    *,
    device: torch.device,
    in_memory: bool,
) -> Inputs:
    """Activations kept from one pass over the photos.

    Args:
        photos: Only their order, labels and content hashes are used.
        sampling: Order and views.
        stores: One for each of those views, and the plain one, 0, with the validation photos.
        device: Where activations are wanted.
        in_memory: Whether all of them are kept there, rather than read from disk in every epoch.
    """
    rows = _Rows(photos.train, {view: stores[view] for view in sampling.views}, in_memory)
    val_rows = _Rows(photos.val, {0: stores[0]}, in_memory)
    shape = rows.shape

    def train(epoch: int, first: int) -> Iterator[Batch]:
        order = epoch_order(
            photos.train, sampling.batch_size, seed=sampling.seed, epoch=epoch, balanced=sampling.balanced
        )[first:]
        count = len(photos.train)
        yield from rows.batches(order, lambda draw: view_of(epoch, draw, sampling.views, count))

    def val() -> Iterator[Batch]:
        order = chunks(list(range(len(photos.val))), max(256, sampling.batch_size) if len(shape) == 1 else 64)
        yield from val_rows.batches(order, lambda index: 0)

    return Inputs(train, val, lambda batch: to_floats(batch, device), pooled=len(shape) == 1, kept=shape)


def to_floats(rows: Tensor, device: torch.device) -> Tensor:
    """Kept activations (B, …) on the device, float32; maps channels last."""
    moved = rows.to(device, non_blocking=True).float()
    return moved.contiguous(memory_format=torch.channels_last) if moved.ndim == 4 else moved


class _Rows:
    """Rows of some photos in several views: all in one tensor, or read from their stores."""

    def __init__(self, items: Sequence[Item], stores: Mapping[int, BoundaryStore], in_memory: bool) -> None:
        self._contents = [item.content for item in items]
        self._labels = torch.tensor([item.label for item in items])
        self._stores, self._places = stores, {view: place for place, view in enumerate(stores)}
        self._held = self._all_rows() if in_memory else None

    @property
    def shape(self) -> torch.Size:
        """Of one row."""
        return self._first_row().shape

    def _first_row(self) -> Tensor:
        return next(iter(self._stores.values())).row(self._contents[0])

    def _all_rows(self) -> Tensor:
        """(V, N, …), never twice in memory."""
        first = self._first_row()
        held = first.new_empty(len(self._stores), len(self._contents), *first.shape)
        for rows, store in zip(held, self._stores.values(), strict=True):
            store.gather(self._contents, out=rows)
            store.rest()
        return held

    def batches(self, order: list[list[int]], view: Callable[[int], int]) -> Iterator[Batch]:
        """Rows and labels of the draws in ``order``, which ``view`` has the view of."""
        contents, count = self._contents, len(self._contents)
        if self._held is None:
            read = assembled(
                order, lambda draw: self._stores[view(draw)].row(contents[draw % count]), stacked
            )
            for chunk, batch in read:
                yield batch, self._labels[torch.tensor(chunk) % count]
            return
        # Looked up for all batches at once: one by one takes a tenth of a small head's epoch.
        draws = [draw for chunk in order for draw in chunk]
        sizes, numbers = [len(chunk) for chunk in order], torch.tensor(draws, dtype=torch.int64) % count
        places = torch.tensor([self._places[view(draw)] for draw in draws], dtype=torch.int64)
        held, rows = self._held.flatten(0, 1), torch.split(places * count + numbers, sizes)
        for some, labels in zip(rows, torch.split(self._labels[numbers], sizes), strict=True):
            yield held.index_select(0, some), labels  # four times faster than held[some]


def logits_of(
    inputs: Inputs, suffix: Callable[[Tensor], Tensor], device: torch.device, precision: torch.dtype
) -> Callable[[Tensor], Tensor]:
    """From a batch's rows to float32 logits (B, C), for evaluation."""

    def forward(batch: Tensor) -> Tensor:
        boundary = inputs.to_boundary(batch)
        with autocast(device, precision):
            return suffix(boundary).float()

    return forward
