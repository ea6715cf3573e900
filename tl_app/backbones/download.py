"""Fetches one file over HTTP: with progress, stoppable at any moment, and whole or not at all.

Why not ``torch.hub``'s own download: it can neither report progress to the app nor be stopped, waits for a
silent network without limit, and does not look at the free space first. This one writes to the same place
under the same name, so torchvision finds the file. Knows nothing of backbones.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import os
import queue
import re
import shutil
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlparse

import filelock

from tl_app import resources
from tl_app.errors import Interrupted, ResourceError
from tl_app.files import sync_folder

Progress = Callable[[int, int], None]
ShouldStop = Callable[[], bool]

CONNECT_SECONDS = 10.0  # names, all addresses and the answer's first line together
STALL_SECONDS = 30.0  # without a single byte
_POLL_SECONDS = 0.1
_CHUNK_BYTES = 1 << 18
_SPARE_BYTES = 32 << 20  # left free on the disk
_STALE_SECONDS = 3600.0  # without a byte, after which an unfinished file is nobody's


def never() -> bool:
    """For ``should_stop``: do not stop."""
    return False


def published_hash(name: str) -> str:
    """The first digits of a file's SHA-256, which its name ends with ("resnet18-f37072fd.pth"), or ""."""
    match = re.search(r"-([0-9a-f]{8,})\.\w+$", name)
    return match[1] if match else ""


def fetch(
    url: str,
    target: Path,
    *,
    what: str,
    expected_bytes: int,
    on_progress: Progress | None = None,
    should_stop: ShouldStop = never,
) -> None:
    """Download ``url`` to ``target``, unless another process does or has done so.

    Args:
        url: Where the file is; its name's hash, if it has one, is checked.
        target: Where it goes. It appears there whole, in one step.
        what: What it is called in messages, such as "resnet18's weights".
        expected_bytes: Rough size, for the free space when the server does not tell.
        on_progress: Called with bytes done and bytes in all (0 when the server does not tell).
        should_stop: Asked about ten times a second.

    Raises:
        ResourceError: No network, no space, no such file, a folder that cannot be written, or contents that
            differ from what the name's hash says.
        Interrupted: ``should_stop`` said so.
    """
    with _only_one(target, what, should_stop):
        if target.is_file():
            return
        try:
            partial, file = _create_beside(target)
        except OSError as error:
            raise _cannot_write(what, target.parent, error) from error
        try:
            with file:
                _receive(url, file, what, target, expected_bytes, on_progress or _ignore, should_stop)
            os.replace(partial, target)
            sync_folder(target.parent)
        except OSError as error:
            raise _cannot_write(what, target.parent, error) from error
        finally:
            partial.unlink(missing_ok=True)


def _receive(
    url: str,
    file: BinaryIO,
    what: str,
    target: Path,
    expected_bytes: int,
    on_progress: Progress,
    should_stop: ShouldStop,
) -> None:
    with contextlib.closing(_stream(url, what, should_stop)) as stream:
        total = int.from_bytes(next(stream))
        _check_space(what, target.parent, total or expected_bytes)
        done, digest = 0, hashlib.sha256()
        on_progress(0, total)
        for chunk in stream:
            file.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            on_progress(done, total)
    if total and done != total:
        raise ResourceError(f"The download of {what} broke off after {_mb(done)} of {_mb(total)}.")
    published = published_hash(target.name)
    if not digest.hexdigest().startswith(published):
        raise ResourceError(
            f"What arrived for {what} is not the published file: "
            f"its SHA-256 starts with {digest.hexdigest()[: len(published)]}, not {published}."
        )
    file.flush()
    os.fsync(file.fileno())


def _stream(url: str, what: str, should_stop: ShouldStop) -> Generator[bytes]:
    """The length (0 when unknown) as bytes, then the body in chunks.

    A thread reads, so that stopping and the limit on connecting hold even while the system looks up a name or
    tries one dead address after the other, which no timeout of urllib's covers.
    """
    arrived: queue.Queue[bytes | Exception] = queue.Queue(maxsize=16)
    over = threading.Event()

    def hand_over(item: bytes | Exception) -> None:
        while not over.is_set():
            with contextlib.suppress(queue.Full):
                arrived.put(item, timeout=_POLL_SECONDS)
                return

    def read() -> None:
        try:
            request = urllib.request.Request(url, headers={"User-Agent": "tl-app"})
            with urllib.request.urlopen(request, timeout=STALL_SECONDS) as response:
                length = int(response.headers.get("Content-Length") or 0)
                hand_over(length.to_bytes(8))
                while not over.is_set() and (chunk := response.read1(_CHUNK_BYTES)):
                    hand_over(chunk)
            hand_over(b"")
        except Exception as error:  # raised again by the thread that waits
            hand_over(error)

    threading.Thread(target=read, name="download", daemon=True).start()
    try:
        limit_seconds = CONNECT_SECONDS
        while True:
            item = _wait_for(arrived, limit_seconds, url, what, should_stop)
            if isinstance(item, Exception):
                raise _network_error(url, what, item) from item
            if not item:
                return
            yield item
            limit_seconds = STALL_SECONDS
    finally:
        over.set()


def _wait_for(
    arrived: queue.Queue[bytes | Exception],
    limit_seconds: float,
    url: str,
    what: str,
    should_stop: ShouldStop,
) -> bytes | Exception:
    deadline = time.monotonic() + limit_seconds
    while True:
        if should_stop():
            raise Interrupted(f"The download of {what} was stopped.")
        try:
            return arrived.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            if time.monotonic() > deadline:
                raise _network_error(url, what, TimeoutError()) from None


def _network_error(url: str, what: str, error: Exception) -> ResourceError:
    host = urlparse(url).hostname or url
    if isinstance(error, urllib.error.HTTPError):
        return ResourceError(f"Cannot download {what}: {host} answered {error.code} {error.reason}.")
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        told = "no answer in time"
    elif isinstance(reason, OSError) and reason.strerror:
        told = reason.strerror
    elif isinstance(reason, http.client.HTTPException):
        told = "the connection broke off"
    else:
        told = str(reason) or type(reason).__name__
    return ResourceError(f"Cannot download {what}: no connection to {host} ({told}).")


def _check_space(what: str, folder: Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed_bytes + _SPARE_BYTES:
        need = f"{_mb(needed_bytes)} are needed, {_mb(free)} are free"
        raise ResourceError(f"No space for {what} in {folder}: {need}.")


def _cannot_write(what: str, folder: Path, error: OSError) -> ResourceError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ResourceError(f"No space for {what} in {folder}: the disk is full.")
    reason = error.strerror or str(error)
    return ResourceError(f"There is no place for {what}: {folder} cannot be written ({reason}).")


def _create_beside(target: Path) -> tuple[Path, BinaryIO]:
    """A new file in the target's folder, so that moving it into place is one step; old unfinished ones go."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for old in target.parent.glob(f".{target.name}.*.partial"):
        with contextlib.suppress(FileNotFoundError):  # another process tidied up first
            if time.time() - old.stat().st_mtime > _STALE_SECONDS:
                old.unlink()
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
    return partial, partial.open("xb")


@contextlib.contextmanager
def _only_one(target: Path, what: str, should_stop: ShouldStop) -> Iterator[None]:
    """Hold the lock on ``target`` against the other processes of this user."""
    folder = resources.locks_dir()
    key = hashlib.sha256(os.fsencode(target.absolute())).hexdigest()[:16]
    lock = filelock.FileLock(folder / f"download-{key}.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                lock.acquire(timeout=_POLL_SECONDS)
                break
            except filelock.Timeout:
                if should_stop():
                    raise Interrupted(f"The download of {what} was stopped.") from None
    except OSError as error:
        raise _cannot_write(what, folder, error) from error
    try:
        yield
    finally:
        lock.release()


def _mb(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def _ignore(done: int, total: int) -> None:
    pass
