"""Small pictures for the page as data URIs, kept on disk by the photo's content.

The page never gets the address of a user's file: gradio need not be allowed to serve any folder.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from tl_app import resources
from tl_app.data.decode import thumbnail
from tl_app.data.index import DatasetIndex, Photo
from tl_app.errors import PhotoError
from tl_app.files import write_atomically

_QUALITY = 82
_THREADS = 4


def data_uri(path: Path, side: int) -> str:
    """A photo of at most ``side`` pixels as a data URI.

    Raises:
        PhotoError: The photo cannot be read.
    """
    return _uri(_encode(path, side))


def of_pixels(pixels: np.ndarray, side: int) -> str:
    """A picture, uint8 (h, w, 3), of at most ``side`` pixels as a data URI."""
    image, out = Image.fromarray(np.ascontiguousarray(pixels)), io.BytesIO()
    image.thumbnail((side, side))
    image.save(out, "JPEG", quality=_QUALITY)
    return _uri(out.getvalue())


def of_classes(
    index: DatasetIndex, classes: list[str], *, per_class: int, side: int
) -> dict[str, list[tuple[Photo, str]]]:
    """Some photos of each class, spread evenly over it, with their data URIs.

    A photo that has gone bad since the scan is passed over.
    """
    chosen = {name: spread(_photos_of(index, name), per_class) for name in classes}
    with ThreadPoolExecutor(_THREADS) as pool:
        made = {
            name: list(pool.map(lambda p: _cached(index.root, side, p.path, p.content_hash), chosen[name]))
            for name in classes
        }
    return {
        name: [(photo, uri) for photo, uri in zip(chosen[name], made[name], strict=True) if uri]
        for name in classes
    }


def of_files(root: Path, files: list[tuple[str, str]], side: int) -> list[str]:
    """Data URIs of photos, each given by path under ``root`` and hash of its content; empty where one is gone."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(lambda file: _cached(root, side, *file), files))


def spread(photos: list[Photo], most: int) -> list[Photo]:
    """At most ``most`` of the photos, evenly spaced."""
    if len(photos) <= most:
        return photos
    return [photos[i * len(photos) // most] for i in range(most)]


def _photos_of(index: DatasetIndex, name: str) -> list[Photo]:
    return [photo for photo in index.photos if photo.label == name and not photo.issue]


def _cached(root: Path, side: int, path: str, content_hash: str) -> str:
    key = hashlib.sha256(f"{content_hash} {side}".encode()).hexdigest()[:32]
    file = resources.cache_dir() / "thumbnails" / key[:2] / f"{key}.jpg"
    with contextlib.suppress(OSError):
        if content_hash:
            return _uri(file.read_bytes())
    try:
        content = _encode(root / path, side)
    except PhotoError:
        return ""
    with contextlib.suppress(OSError):  # a full disk costs the cache, not the picture
        if content_hash:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, content)
    return _uri(content)


def _encode(path: Path, side: int) -> bytes:
    out = io.BytesIO()
    thumbnail(path, side).save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()


def _uri(content: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
