"""Fills boundary stores: the frozen stages run once over each view of each photo that is not kept yet.

All views are one stream of batches. Had each to be on the disk before the next one begins, the cores would wait for a
third of a second between two of them. Knows nothing of why activations are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from tl_app import caches, resources
from tl_app.engine.background import Report
from tl_app.engine.batches import Item, assembled, chunks, stacked
from tl_app.engine.boundary import BoundaryStore
from tl_app.engine.frozen import Frozen
from tl_app.engine.workers import on_each_core
from tl_app.errors import Interrupted

_KIND = "boundary"  # of the caches
_Views = list[tuple[int, Item]]  # a batch: views of photos, all of one number


class Stores:
    """The boundary stores of a phase: looked into first, filled later; those that are there are opened once.

    What is open is safe from being evicted. A view's rows are those of the training photos, and in the first view
    those of the validation photos too.

    Args:
        frozen: The stages and photos.
    """

    def __init__(self, frozen: Frozen) -> None:
        self.frozen = frozen
        self._opened: dict[str, BoundaryStore] = {}  # by key: a form that has to change leads to other stores
        train, val = frozen.photos.train, frozen.photos.val
        self._first = {item.content: item for item in (*train, *val)}
        self._others = {item.content: item for item in train}

    def wanted(self, view: int) -> dict[str, Item]:
        """The photos of a view by content."""
        return self._others if view else self._first

    def rows(self, views: int) -> int:
        """How many rows the first ``views`` views have when nothing is missing."""
        return sum(len(self.wanted(view)) for view in range(views))

    def missing(self, views: int) -> int:
        """How many of them are not kept yet; a cache that cannot be used keeps none. Makes nothing."""
        return sum(self._missing(view) for view in range(views))

    def _missing(self, view: int) -> int:
        key = self.frozen.key(view)
        try:
            if key not in self._opened and not (resources.cache_dir() / _KIND / key).is_dir():
                return len(self.wanted(view))
            return len(self._store(view).missing(self.wanted(view)))
        except OSError:
            return len(self.wanted(view))

    def _store(self, view: int) -> BoundaryStore:
        key = self.frozen.key(view)
        if key not in self._opened:
            folder = caches.folder(_KIND, key)
            self._opened[key] = BoundaryStore(folder, hold=caches.hold(folder))
        return self._opened[key]

    def obstacle(self, views: int) -> str:
        """Makes room on the disk for all that the first ``views`` views lack.

        Returns:
            What is in the way of keeping them there; empty when nothing is.
        """
        try:
            needed = self.missing(views) * self.frozen.form.row_bytes
            return "" if not needed or caches.make_room(needed) else "no room within the cache's limit"
        except OSError as error:
            return error.strerror or str(error)

    def opened(self, views: int, *, on_disk: bool) -> list[BoundaryStore]:
        """The stores of the first ``views`` views, to be filled.

        Args:
            views: How many.
            on_disk: Whether what is missing goes there; in memory, rows that the disk has are taken from it.

        Raises:
            OSError: They cannot be made.
        """
        if on_disk:
            return [self._store(view) for view in range(views)]
        return [self._beside_the_disk(view) for view in range(views)]

    def _beside_the_disk(self, view: int) -> BoundaryStore:
        wanted = self.wanted(view)
        lacking = self._missing(view)
        if not lacking:
            return self._store(view)
        store = BoundaryStore(None)
        if lacking < len(wanted):
            known = self._store(view)
            there = [content for content in wanted if not known.missing([content])]
            store.append(there, known.gather(there))
            store.flush()
        return store


def fill(stores: Stores, views: int, *, on_disk: bool, report: Report) -> list[BoundaryStore]:
    """Computes the activations that are not kept yet.

    Args:
        stores: Of the phase.
        views: How many of them.
        on_disk: Whether they are kept there, for which there is room, or in memory alone.
        report: Called with rows done and rows in all.

    Returns:
        A store for each view.

    Raises:
        Interrupted: ``frozen.stop`` said so; what was computed is kept.
        OSError: The stores cannot be written.
    """
    frozen = stores.frozen
    if stores.missing(views):
        frozen.forward  # noqa: B018 - compiled before there are several threads; decides which stores these are
    opened = stores.opened(views, on_disk=on_disk)
    lacking = [_lacking(store, stores.wanted(view)) for view, store in enumerate(opened)]
    total, begun = stores.rows(views), 0
    done = total - sum(map(len, lacking))
    for batch, rows in _computed(frozen, _batches(lacking, max(1, frozen.form.batch // _cores(frozen)))):
        view = batch[0][0]
        if view > begun:
            opened[begun].begin_writing()
            _flush(opened[:begun])  # which had a whole view's time
            begun = view
        opened[view].append([item.content for _, item in batch], rows)
        done += len(batch)
        report(done, total)
        if frozen.stop():
            _flush(opened)
            raise Interrupted("Computing the frozen activations was stopped.")
    _flush(opened)
    return opened


def _lacking(store: BoundaryStore, wanted: Mapping[str, Item]) -> list[Item]:
    return [wanted[content] for content in store.missing(wanted)]


def _batches(lacking: Sequence[Sequence[Item]], size: int) -> Iterator[_Views]:
    for view, items in enumerate(lacking):
        for chunk in chunks(list(range(len(items))), size) if items else ():
            yield [(view, items[place]) for place in chunk]


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

    yield from on_each_core(work, batches, cores)


def _cores(frozen: Frozen) -> int:
    return torch.get_num_threads() if frozen.device.type == "cpu" else 1
