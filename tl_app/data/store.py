"""Photos as the network sees them: decoded and shrunk once, kept on disk or in memory.

Knows nothing of labels, splits, networks or augmentation.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import psutil
from torch import Tensor

from tl_app import caches
from tl_app.cores import bundles
from tl_app.data.decoded import DecodedPhotos, open_decoded
from tl_app.data.manifest import Photo, content_hash
from tl_app.data.opening import at_hand, open_regular
from tl_app.data.preprocessing import Preprocessing
from tl_app.data.seen import Seen
from tl_app.errors import Interrupted, PhotoError, ResourceError

__all__ = ["PhotoStore", "Preprocessing", "default_budget_bytes"]


def default_budget_bytes() -> int:
    """How much memory photos may take when nothing else is asked for: 2 GiB, or a quarter of what is free."""
    return min(2 * 2**30, int(psutil.virtual_memory().available) // 4)


class PhotoStore:
    """Shrunk photos by path: read from the file of decoded photos where there is one, else kept in memory.

    Photos that the file does not take (it is not wanted, the disk is full, a photo has changed since the scan) are kept
    in memory up to a budget and decoded again past it. What is read from a scanned photo's file is hashed, unless the
    file has not changed since the scan: a path stands for one content, the one that was found first, as long as the
    store is there. Every method may be called from several threads.

    Args:
        root: The folder that paths start from.
        preprocessing: How photos are shrunk.
        budget_bytes: Memory for photos; :func:`default_budget_bytes` where left out.
        photos: Rows of the index whose pixels are to be kept on disk. Give all that are in use, whichever are wanted
            now: it is the same file for training, evaluation and later runs then.

    Attributes:
        notice: Why photos are not kept on disk, as a sentence; empty when they are.
    """

    def __init__(
        self,
        root: Path,
        preprocessing: Preprocessing,
        budget_bytes: int | None = None,
        photos: Sequence[Photo] = (),
    ) -> None:
        """An empty store; nothing is read yet."""
        self.root = root
        self.preprocessing = preprocessing
        self.budget_bytes = default_budget_bytes() if budget_bytes is None else budget_bytes
        self.held_bytes = 0
        self.notice = ""
        self._held: dict[str, Tensor] = {}
        self._lock = threading.Lock()
        self._scanned = {photo.path: photo.content_hash for photo in photos if photo.content_hash}
        self._found: dict[str, str] = {}  # the content that each path stands for from now on
        sized = [photo for photo in photos if photo.content_hash and photo.width and photo.height]
        self._decoded = self._open_decoded(sized) if sized else None
        self._source_hold = _held_source(root)

    def get(self, path: str) -> Tensor:
        """One photo, not to be written into.

        Args:
            path: Relative to the root, with ``/`` between folders.

        Returns:
            uint8, (3, h, w), channels last, the shorter side ``preprocessing.resize``.

        Raises:
            PhotoError: It cannot be used, or is not the picture any more that was read from there before.
        """
        if self._decoded is not None:
            kept = self._decoded.read(self._content(path))
            if kept is not None:
                return kept
        held = self._held.get(path)
        return self._load(path) if held is None else held

    @property
    def changed(self) -> dict[str, str]:
        """Photos that were other pictures than the scanned ones when they were read: their hashes by path."""
        return {path: found for path, found in self._found.items() if found != self._scanned[path]}

    def prepare(
        self,
        paths: Iterable[str],
        on_progress: Callable[[int, int], None] | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> dict[str, str]:
        """Decode photos ahead of training, in parallel, so that no bad one turns up in the middle of it.

        Those that the file of decoded photos has already take no time.

        Args:
            paths: Relative to the root.
            on_progress: Called with photos done and photos in all, from this thread.
            should_stop: Asked about twenty times a second.

        Returns:
            For each photo that cannot be decoded, why. Those that are others than the scanned ones are in
            :attr:`changed`.

        Raises:
            Interrupted: ``should_stop`` said so; the photos that were decoded stay so.
        """
        wanted = list(dict.fromkeys(paths))
        missing = [path for path in wanted if not self._known(path)]
        failed = self._failures_of(wanted)
        ready = len(wanted) - len(missing)
        if ready and on_progress is not None:
            on_progress(ready, len(wanted))

        def decoded(path: str) -> tuple[str, str]:
            return path, self._reason(path)

        done = ready
        # Decoding and resizing do without the interpreter's lock.
        pool = contextlib.closing(bundles(decoded, missing, os.cpu_count() or 1, "decode"))
        with self._writing(bool(missing)), pool as bundled:
            for found in bundled:
                failed.update((path, reason) for path, reason in found if reason)
                done += len(found)
                if on_progress is not None:
                    on_progress(done, len(wanted))
                if should_stop():
                    raise Interrupted("Reading the photos was stopped.")
        for path in self._scanned.keys() & wanted:  # also those that did not have to be read
            self._found.setdefault(path, self._scanned[path])
        return {path: failed[path] for path in wanted if path in failed}

    def _content(self, path: str) -> str:
        """The hash of what a path stands for; empty where that was never asked."""
        return self._found.get(path) or self._scanned.get(path, "")

    def _known(self, path: str) -> bool:
        return self._decoded is not None and self._decoded.known(self._content(path))

    def _failures_of(self, paths: Iterable[str]) -> dict[str, str]:
        """What an earlier attempt found out."""
        if self._decoded is None:
            return {}
        reasons = {path: self._decoded.failure(self._content(path)) for path in paths}
        return {path: reason for path, reason in reasons.items() if reason}

    @contextlib.contextmanager
    def _writing(self, wanted: bool) -> Iterator[None]:
        if self._decoded is None or not wanted:
            yield
            return
        with self._decoded.writing():
            yield
        if self._decoded.error is not None:
            self.notice = _not_kept(self._decoded.error)

    def _reason(self, path: str) -> str:
        try:
            if path not in self._held and not self._borrowed(path):
                self._load(path)
        except PhotoError as error:
            return str(error)
        return ""

    def _borrowed(self, path: str) -> bool:
        return self._decoded is not None and self._decoded.borrow(self._content(path))

    def _load(self, path: str) -> Tensor:
        """Decodes a photo into the file where it takes it, else into memory."""
        if path not in self._scanned:
            return self._hold(path, self.preprocessing.load(self.root / path))
        with open_regular(self.root / path) as opened:
            file = at_hand(opened)
            content = self._seen.content(path, os.fstat(opened.fileno())) or content_hash(file)
            self._check(path, content)
            kept = self._decoded.read(content) if self._decoded is not None else None
            if kept is not None:  # under another name: files were renumbered since the scan
                return kept
            try:
                image = self.preprocessing.load(file)
            except PhotoError as error:
                if self._decoded is not None and _lies_in_the_photo(error):
                    self._decoded.add_failure(content, str(error))
                raise
        added = self._decoded is not None and self._decoded.add(content, image)
        return image if added else self._hold(path, image)

    @functools.cached_property
    def _seen(self) -> Seen:
        return Seen(self.root)

    def _check(self, path: str, content: str) -> None:
        """Takes a path for what is found there first, and for nothing else later: results are kept by content."""
        with self._lock:
            first = self._found.setdefault(path, content)
        if content != first:
            raise PhotoError(
                f"{path} is another picture than a moment ago.", remedy="Let no program change photos in use."
            )

    def _hold(self, path: str, image: Tensor) -> Tensor:
        with self._lock:
            if path not in self._held and self.held_bytes + image.nbytes <= self.budget_bytes:
                self._held[path] = image
                self.held_bytes += image.nbytes
        return image

    def _open_decoded(self, photos: Iterable[Photo]) -> DecodedPhotos | None:
        preprocessing = self.preprocessing
        sizes = {p.content_hash: preprocessing.shrunk_size(p.width, p.height) for p in photos}
        try:
            return open_decoded(sizes, preprocessing.pixels_depend_on())
        except ResourceError as error:
            self.notice = str(error)
        except OSError as error:
            self.notice = _not_kept(error)
        return None


def _not_kept(error: OSError) -> str:
    return f"Decoded photos are not all kept on disk, only in memory: {error.strerror or error}."


def _lies_in_the_photo(error: PhotoError) -> bool:
    """Whether decoding would fail again: not for want of memory, of an extra, or of a disk that can be read."""
    cause = error.__cause__
    return not isinstance(cause, MemoryError | ImportError) and getattr(cause, "errno", None) is None


def _held_source(root: Path) -> caches.Hold | None:
    """Keeps the unpacked zip that photos come from; one that cannot be marked cannot be removed either."""
    entry = caches.entry_of(root)
    with contextlib.suppress(OSError):
        return caches.hold(entry) if entry is not None else None
    return None
