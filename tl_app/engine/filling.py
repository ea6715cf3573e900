"""Fills boundary stores: the frozen stages run once over each view of each photo that is not kept yet.

All views are one stream of batches. Had each to be on the disk before the next one begins, the cores would wait for a
third of a second between two of them. Knows nothing of why activations are kept.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from tl_app import caches
from tl_app.engine.background import Report
from tl_app.engine.batches import Item, assembled, chunks, stacked
from tl_app.engine.boundary import BoundaryStore
from tl_app.engine.frozen import Frozen
from tl_app.engine.workers import on_each_core
from tl_app.errors import Interrupted

_Views = list[tuple[int, Item]]  # a batch: views of photos, all of one number


def fill(
    frozen: Frozen, wanted: Mapping[int, Sequence[Item]], *, in_memory: bool, report: Report
) -> dict[int, BoundaryStore]:
    """Computes the activations that are not kept yet.

    Args:
        frozen: The stages and photos.
        wanted: The photos of each view, by its number.
        in_memory: Whether stores in memory alone will do where the disk has no room.
        report: Called with views done and views in all.

    Returns:
        A store for each view.

    Raises:
        Interrupted: ``frozen.stop`` said so; what was computed is kept.
        OSError: The stores cannot be written, or there is no room.
    """
    stores: dict[int, BoundaryStore] = {}
    photos = {view: {item.content: item for item in items} for view, items in wanted.items()}
    done, total = 0, sum(map(len, photos.values()))

    def todo() -> Iterator[_Views]:
        nonlocal done
        for view, items in photos.items():
            reserved = sum(store.unwritten_bytes for store in stores.values())
            store = _open_store(frozen, view, list(items), in_memory=in_memory, reserved_bytes=reserved)
            stores[view] = store
            missing = store.missing(items)
            done += len(items) - len(missing)
            for chunk in chunks(list(range(len(missing))), _batch(frozen)) if missing else ():
                yield [(view, items[missing[place]]) for place in chunk]

    under_way: list[BoundaryStore] = []
    for batch, rows in _computed(frozen, todo()):
        view = batch[0][0]
        if stores[view] not in under_way:
            _flush(under_way[:-1])  # which had a whole view's time
            under_way = [*under_way[-1:], stores[view]]
            under_way[0].begin_writing()
        stores[view].append([item.content for _, item in batch], rows)
        done += len(batch)
        report(done, total)
        if frozen.stop():
            _flush(under_way)
            raise Interrupted("Computing the frozen activations was stopped.")
    _flush(under_way)
    return stores


def _flush(stores: Sequence[BoundaryStore]) -> None:
    for store in stores:
        store.flush()


def _computed(frozen: Frozen, batches: Iterator[_Views]) -> Iterator[tuple[_Views, Tensor]]:
    """Activations, batch by batch: on a CPU each core loads and computes batches of its own."""

    def load(which: tuple[int, Item]) -> Tensor:
        return frozen.load(which[1], which[0])

    cores = _cores(frozen)
    if cores == 1:
        for batch, images in assembled(batches, load):
            yield batch, frozen.rows(images)
        return

    def work(batch: _Views) -> tuple[_Views, Tensor]:
        return batch, frozen.rows(stacked([load(which) for which in batch]), alone=True)

    def compiled() -> Iterator[_Views]:
        for batch in batches:
            frozen.forward  # noqa: B018 - before there are several threads, and not when there is nothing to compute
            yield batch

    yield from on_each_core(work, compiled(), cores)


def _cores(frozen: Frozen) -> int:
    return torch.get_num_threads() if frozen.device.type == "cpu" else 1


def _batch(frozen: Frozen) -> int:
    return max(1, frozen.form.batch // _cores(frozen))


def _open_store(
    frozen: Frozen, view: int, contents: list[str], *, in_memory: bool, reserved_bytes: int
) -> BoundaryStore:
    """The store of one view of photos, with room for what it lacks beside ``reserved_bytes``."""
    try:
        folder = caches.folder("boundary", frozen.key(view))
        store = BoundaryStore(folder, hold=caches.hold(folder))
        needed = len(store.missing(contents)) * frozen.form.row_bytes
        if caches.make_room(needed + reserved_bytes):
            return store
    except OSError:
        if not in_memory:
            raise
    if not in_memory:
        raise OSError(errno.ENOSPC, "no room within the cache's limit")
    return BoundaryStore(None)
