"""Activations at the boundary between frozen and trainable stages, kept by photo content.

A store is a folder of shards, each a safetensors file that is there whole or not at all, so that filling can be
stopped and go on, and photos added to a folder later are the only ones computed. Rows are read through a memory map
whose pages are given back from time to time. Knows nothing of networks or of what a row means.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import uuid
import weakref
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from tl_app.caches import Hold
from tl_app.cores import one_core_pool
from tl_app.files import remove_leftovers
from tl_app.tensors import write_tensors

SHARD_BYTES = 32 << 20  # rows are written in files of about this size
_WRITES = 4  # shards on their way to the disk at most
_STALE_SECONDS = 3600.0  # no shard takes that long to write: a younger one may be another process's
_HASHED_APART = 1 << 16  # bytes of a tensor that are worth handing to another thread
_MAPPED_BYTES = 256 << 20  # rows read through the maps of all stores before their pages are given back


class BoundaryStore:
    """Rows by photo content; safe to read from several threads while one appends.

    Args:
        folder: Where the shards are; damaged ones are removed. None keeps rows in memory alone.
        hold: What keeps the folder from being evicted; it is kept as long as the store.
    """

    def __init__(self, folder: Path | None, hold: Hold | None = None) -> None:
        self._folder, self._hold = folder, hold
        self._places: dict[str, tuple[int, int]] = {}  # content to shard and row
        self._paths: list[Path | None] = []
        self._open: list[Tensor | None] = []  # shards in memory or mapped
        self._waiting: list[tuple[list[str], Tensor]] = []
        self._lock = threading.Lock()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="tl-app boundary")
        self._writes: list[Future[None]] = []
        if folder is not None:
            remove_leftovers(folder, older_seconds=_STALE_SECONDS)
            for path in sorted(folder.glob("*.safetensors")):
                self._take_in(path)

    def missing(self, contents: Iterable[str]) -> list[str]:
        """Those that have no row yet, each once, in order."""
        return [content for content in dict.fromkeys(contents) if content not in self._places]

    def append(self, contents: Sequence[str], rows: Tensor) -> None:
        """Adds a row for each photo; on disk by the time :meth:`flush` returns.

        Args:
            contents: Hashes of the photos.
            rows: On the CPU, (B, …).

        Raises:
            OSError: An earlier shard could not be written.
        """
        self._waiting.append((list(contents), rows))
        if sum(waiting.nbytes for _, waiting in self._waiting) >= SHARD_BYTES:
            self.begin_writing()

    def flush(self) -> None:
        """Writes what waits and waits for all writes.

        Raises:
            OSError: The disk is full or the folder cannot be written.
        """
        self.begin_writing()
        writes, self._writes = self._writes, []
        for write in writes:
            write.result()

    def row(self, content: str) -> Tensor:
        """One photo's activations, not to be written into; it has been appended and flushed."""
        shard, number = self._places[content]
        row = self._shard(shard)[number]
        if self._paths[shard] is not None:
            _MAPS.count(row.nbytes)
        return row

    def gather(self, contents: Sequence[str], out: Tensor | None = None) -> Tensor:
        """Several photos' activations in one tensor, (B, …): a new one, or ``out``."""
        return torch.stack([self.row(content) for content in contents], out=out)

    def rest(self) -> None:
        """Unmaps the shards; whoever still reads one keeps it, and the next reader maps it again."""
        with self._lock:
            for number, path in enumerate(self._paths):
                if path is not None:
                    self._open[number] = None

    def begin_writing(self) -> None:
        """Sends what waits on its way to the disk.

        Raises:
            OSError: An earlier shard could not be written.
        """
        if not self._waiting:
            return
        contents = [content for group, _ in self._waiting for content in group]
        rows = torch.cat([group for _, group in self._waiting])
        self._waiting = []
        number = self._add(contents, None, rows)
        if self._folder is not None:
            # A full disk is told at once, not after hours of work; a slow one must not fill the memory.
            while self._writes and (self._writes[0].done() or len(self._writes) >= _WRITES):
                self._writes.pop(0).result()
            self._writes.append(self._writer.submit(self._write, number, contents, rows))

    def _write(self, number: int, contents: list[str], rows: Tensor) -> None:
        assert self._folder is not None
        path = self._folder / f"{uuid.uuid4().hex}.safetensors"
        write_tensors(path, {"rows": rows}, {"contents": json.dumps(contents)})
        with self._lock:  # from now on read from the file; memory is for the shard under way
            self._paths[number], self._open[number] = path, None

    def _take_in(self, path: Path) -> None:
        try:
            with safe_open(path, framework="pt") as file:
                contents = json.loads(file.metadata()["contents"])
                shape = file.get_slice("rows").get_shape()
        except (OSError, RuntimeError):  # no handles left, no rights: computed again, and good the next time
            return
        except (SafetensorError, KeyError, TypeError, ValueError):
            path.unlink(missing_ok=True)  # not ours, or of a disk that lost a block
            return
        if shape and shape[0] == len(contents):
            self._add(contents, path, None)

    def _add(self, contents: list[str], path: Path | None, rows: Tensor | None) -> int:
        with self._lock:
            self._paths.append(path)
            self._open.append(rows)
            shard = len(self._paths) - 1
            for number, content in enumerate(contents):
                self._places[content] = (shard, number)
            return shard

    def _shard(self, number: int) -> Tensor:
        with self._lock:
            rows = self._open[number]
            if rows is None:
                rows = self._open[number] = self._mapped(number)
                _MAPS.add(self)
        return rows

    def _mapped(self, number: int) -> Tensor:
        path = self._paths[number]
        assert path is not None
        with safe_open(path, framework="pt") as file:
            rows: Tensor = file.get_tensor("rows")
        return rows


class _Maps:
    """What has been read through maps; a phase has a store for each view, and their pages lie in one memory."""

    def __init__(self) -> None:
        self._stores: weakref.WeakSet[BoundaryStore] = weakref.WeakSet()
        self._read_bytes = 0
        self._lock = threading.Lock()

    def add(self, store: BoundaryStore) -> None:
        """A store has mapped a shard."""
        with self._lock:
            self._stores.add(store)

    def count(self, size_bytes: int) -> None:
        """A row was read; lets all stores rest when enough has been."""
        with self._lock:
            self._read_bytes += size_bytes
            if self._read_bytes <= _MAPPED_BYTES:
                return
            self._read_bytes, stores = 0, list(self._stores)
            self._stores.clear()
        for each in stores:
            each.rest()


_MAPS = _Maps()


def key_of(parts: Mapping[str, Any]) -> str:
    """A folder name for everything that changes the rows but the photo."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def weights_hash(module: nn.Module) -> str:
    """Of all parameters and statistics of a module, by value and order; hashed side by side, 25 ms for ResNet-18."""
    with one_core_pool(os.cpu_count() or 1, "hash") as pool:
        values = module.state_dict().values()
        asked = [pool.submit(_digest, each) if each.nbytes >= _HASHED_APART else each for each in values]
        digests = [each.result() if isinstance(each, Future) else _digest(each) for each in asked]
    return hashlib.blake2b(b"".join(digests), digest_size=16).hexdigest()


def _digest(value: Tensor) -> bytes:
    plain = value.detach().cpu().contiguous()
    digest = hashlib.blake2b(str((plain.dtype, tuple(plain.shape))).encode(), digest_size=16)
    digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return digest.digest()
