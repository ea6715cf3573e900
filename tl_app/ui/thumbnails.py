"""Small pictures for the page as data URIs, kept on disk by the photo's content.

They are made from the decoded photos that trainings keep, where those are large enough, else from the file. The page
never gets the address of a user's file: gradio need not be allowed to serve any folder.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from tl_app import resources
from tl_app.data.decode import LONGEST_RATIO, thumbnail
from tl_app.data.index import DatasetIndex, Photo
from tl_app.data.manifest import content_hash
from tl_app.data.pixelfile import Donors
from tl_app.errors import PhotoError
from tl_app.files import write_atomically

_QUALITY = 82
_THREADS = 4


def data_uri(path: Path, side: int) -> str:
    """A photo of at most ``side`` pixels as a data URI.

    Raises:
        PhotoError: The photo cannot be read.
    """
    return _uri(_encoded(path, side))


def of_pixels(pixels: np.ndarray, side: int) -> str:
    """A picture, uint8 (h, w, 3), of at most ``side`` pixels as a data URI."""
    return _uri(_encoded(Image.fromarray(np.ascontiguousarray(pixels)), side))


def of_classes(
    index: DatasetIndex, classes: list[str], *, per_class: int, side: int
) -> dict[str, list[tuple[Photo, str]]]:
    """Some photos of each class, spread evenly over it, with their data URIs.

    A photo that has gone bad since the scan is passed over.
    """
    chosen = {name: spread(_photos_of(index, name), per_class) for name in classes}
    files = [(photo.path, photo.content_hash) for name in classes for photo in chosen[name]]
    made = iter(of_files(index.root, files, side))
    return {name: [(photo, uri) for photo in chosen[name] if (uri := next(made))] for name in classes}


def of_files(root: Path, files: list[tuple[str, str]], side: int) -> list[str]:
    """Data URIs of photos, each given by path under ``root`` and hash of its content; empty where one is gone."""
    decoded = _Decoded()
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(lambda file: _cached(root / file[0], file[1], side, decoded), files))


def spread(photos: list[Photo], most: int) -> list[Photo]:
    """At most ``most`` of the photos, evenly spaced."""
    if len(photos) <= most:
        return photos
    return [photos[i * len(photos) // most] for i in range(most)]


def _photos_of(index: DatasetIndex, name: str) -> list[Photo]:
    return [photo for photo in index.photos if photo.label == name and not photo.issue]


class _Decoded:
    """The decoded photos that trainings keep; looked for when the first is wanted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: Donors | None = None

    def picture(self, content_hash: str, side: int) -> Image.Image | None:
        """A photo, all of it, with its longer side at least ``side`` pixels."""
        with self._lock:
            known = self._known = self._known or Donors.all()
        size = known.size(content_hash)
        # Of a photo at the ratio's limit only the middle may be there.
        if size is None or max(size) < side or max(size) >= LONGEST_RATIO * min(size):
            return None
        pixels = known.pixels(content_hash)
        return Image.frombytes("RGB", size, pixels) if pixels is not None else None


def _cached(path: Path, content: str, side: int, decoded: _Decoded) -> str:
    key = hashlib.sha256(f"{content} {side}".encode()).hexdigest()[:32]
    file = resources.cache_dir() / "thumbnails" / key[:2] / f"{key}.jpg"
    with contextlib.suppress(OSError):
        if content:
            return _uri(file.read_bytes())
    try:
        kept = decoded.picture(content, side) if content else None
        encoded = _encoded(kept or path, side)
    except PhotoError:
        return ""
    with contextlib.suppress(OSError):  # a full disk costs the cache, not the picture
        if content and (kept is not None or _holds(path, content)):
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, encoded)
    return _uri(encoded)


def _holds(path: Path, content: str) -> bool:
    """Whether a file is still the one that was scanned."""
    with open(path, "rb") as file:
        return content_hash(file) == content


def _encoded(source: Path | Image.Image, side: int) -> bytes:
    out = io.BytesIO()
    if isinstance(source, Image.Image):
        source.thumbnail((side, side), Image.Resampling.BICUBIC)
    else:
        source = thumbnail(source, side)
    source.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()


def _uri(content: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
