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
from tl_app.engine.batches import chunks
from tl_app.engine.boundary import BoundaryStore
from tl_app.engine.frozen import Frozen
from tl_app.engine.views import Item, stacked
from tl_app.engine.workers import on_each_core
from tl_app.errors import Interrupted

_KIND = "boundary"  # of the caches
# Photos in a core's batch: a few percent are in what a call costs anyway, and a stop waits for one.
_FEWEST, _MOST, _SECONDS = 8, 32, 0.3
_Views = list[tuple[int, Item]]  # a batch: views of photos, all of one number


class Stores:
    """The boundary stores of a phase: looked into first, filled later; those that are there are opened once.

    What is open is safe from being evicted. The plain view, 0, has the validation photos; those that epochs draw from,
    which the plain one may be among, have the training photos.

    Args:
        frozen: The stages and photos.
    """

    def __init__(self, frozen: Frozen) -> None:
        self.frozen = frozen
        self._opened: dict[str, BoundaryStore] = {}  # by key: a form that has to change leads to other stores
        self._train = {item.content: item for item in frozen.photos.train}
        self._val = {item.content: item for item in frozen.photos.val}

    def wanted(self, drawn: range) -> dict[int, dict[str, Item]]:
        """The photos of each view by content, when epochs draw from the views of these numbers."""
        plain = {**self._train, **self._val} if 0 in drawn else self._val
        return {0: plain} | {view: self._train for view in drawn if view}

    def rows(self, drawn: range) -> int:
        """How many rows there are when nothing is missing."""
        return sum(map(len, self.wanted(drawn).values()))

    def missing(self, drawn: range) -> int:
        """How many of them are not kept yet; a cache that cannot be used keeps none. Makes nothing."""
        return sum(self._missing(view, photos) for view, photos in self.wanted(drawn).items())

    def _missing(self, view: int, photos: Mapping[str, Item]) -> int:
        key = self.frozen.key(view)
        try:
            if key not in self._opened and not (resources.cache_dir() / _KIND / key).is_dir():
                return len(photos)
            return len(self._store(view).missing(photos))
        except OSError:
            return len(photos)

    def _store(self, view: int) -> BoundaryStore:
        key = self.frozen.key(view)
        if key not in self._opened:
            folder = caches.folder(_KIND, key)
            self._opened[key] = BoundaryStore(folder, hold=caches.hold(folder))
        return self._opened[key]

    def obstacle(self, drawn: range) -> str:
        """Makes room on the disk for all that is missing.

        Returns:
            What is in the way of keeping it there; empty when nothing is.
        """
        try:
            needed = self.missing(drawn) * self.frozen.form.row_bytes
            return "" if not needed or caches.make_room(needed) else "no room within the cache's limit"
        except OSError as error:
            return error.strerror or str(error)

    def opened(self, drawn: range, *, on_disk: bool) -> dict[int, BoundaryStore]:
        """The stores of the views, to be filled.

        Args:
            drawn: The views that epochs draw from.
            on_disk: Whether what is missing goes there; in memory, rows that the disk has are taken from it.

        Raises:
            OSError: They cannot be made.
        """
        wanted = self.wanted(drawn)
        if on_disk:
            return {view: self._store(view) for view in wanted}
        return {view: self._beside_the_disk(view, photos) for view, photos in wanted.items()}

    def _beside_the_disk(self, view: int, photos: Mapping[str, Item]) -> BoundaryStore:
        lacking = self._missing(view, photos)
        if not lacking:
            return self._store(view)
        store = BoundaryStore(None)
        if lacking < len(photos):
            known = self._store(view)
            there = [content for content in photos if not known.missing([content])]
            store.append(there, known.gather(there))
            store.flush()
        return store


def fill(stores: Stores, drawn: range, *, on_disk: bool, report: Report) -> dict[int, BoundaryStore]:
    """Computes the activations that are not kept yet.

    Args:
        stores: Of the phase.
        drawn: The views that epochs draw from.
        on_disk: Whether they are kept there, for which there is room, or in memory alone.
        report: Called with rows done and rows in all.

    Returns:
        A store for each view, by its number.

    Raises:
        Interrupted: ``frozen.stop`` said so; what was computed is kept.
        OSError: The stores cannot be written.
    """
    frozen, wanted = stores.frozen, stores.wanted(drawn)
    if stores.missing(drawn):
        frozen.forward  # noqa: B018 - compiled before there are several threads; decides which stores these are
    opened = stores.opened(drawn, on_disk=on_disk)
    lacking = {view: _lacking(store, wanted[view]) for view, store in opened.items()}
    total = stores.rows(drawn)
    done = total - sum(map(len, lacking.values()))
    under_way: list[BoundaryStore] = []
    for batch, rows in _computed(frozen, _batches(lacking, _size(frozen))):
        store = opened[batch[0][0]]
        if store not in under_way:
            _flush(under_way[:-1])  # which had a whole view's time
            under_way = [*under_way[-1:], store]
            under_way[0].begin_writing()
        store.append([item.content for _, item in batch], rows)
        done += len(batch)
        report(done, total)
        if frozen.stop():
            _flush(under_way)
            raise Interrupted("Computing the frozen activations was stopped.")
    _flush(under_way)
    return opened


def _size(frozen: Frozen) -> int:
    """Of batches: the form's own on a graphics card, and for each core what takes a third of a second on a CPU."""
    form, cores = frozen.form, _cores(frozen)
    if frozen.device.type != "cpu":
        return form.batch
    return max(
        form.batch // cores, _FEWEST, min(_MOST, int(_SECONDS / max(1e-6, form.photo_seconds * cores)))
    )


def _lacking(store: BoundaryStore, wanted: Mapping[str, Item]) -> list[Item]:
    return [wanted[content] for content in store.missing(wanted)]


def _batches(lacking: Mapping[int, Sequence[Item]], size: int) -> Iterator[_Views]:
    for view, items in lacking.items():
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
        for batch, images in frozen.views(batches):
            yield batch, frozen.rows(images)
        return

    yield from on_each_core(
        lambda batch: stacked([load(which) for which in batch]),
        lambda batch, images: (batch, frozen.rows(images, alone=True)),
        batches,
        cores,
    )


def _cores(frozen: Frozen) -> int:
    return torch.get_num_threads() if frozen.device.type == "cpu" else 1
