"""Synthetic photos: JPEG folders of any size, in two classes that a network with random weights can learn."""

from __future__ import annotations

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("cold", "warm")
SIZE = (500, 375)  # width and height in pixels, that of many a web photo
_VAL_EVERY = 5  # one photo in five is for validation
_LEAST = 10  # so that each class has a photo in each split


def make(work: Path, count: int, size: tuple[int, int] = SIZE) -> Path:
    """A folder of ``count`` photos as ``{train,val}/<class>/…``, made once per work folder.

    Args:
        work: Where photo folders are kept; a folder made before is used again.
        count: Photos in all, at least 10.
        size: Width and height in pixels.

    Raises:
        ValueError: ``count`` is too small for both splits to hold both classes.
    """
    if count < _LEAST:
        raise ValueError(f"{count} photos were asked for; both splits hold both classes from {_LEAST} on.")
    home = work / f"photos-{count}-{size[0]}x{size[1]}"
    photos, made = home / "photos", home / "made.json"
    if not made.is_file():
        shutil.rmtree(home, ignore_errors=True)
        for split in ("train", "val"):
            for label in CLASSES:
                (photos / split / label).mkdir(parents=True)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            total = sum(pool.map(lambda number: _write(photos, number, size), range(count)))
        made.write_text(json.dumps({"photos": count, "size": size, "bytes": total}))
    return photos


def warm(photos: Path) -> None:
    """Reads every file once, so that no side finds the disk in a better mood than another."""
    for path in photos.rglob("*.jpg"):
        path.read_bytes()


def _write(photos: Path, number: int, size: tuple[int, int]) -> int:
    """Coloured blobs with grain, about 65 kB; a little redder or bluer by class. Returns its bytes."""
    rng = np.random.default_rng(number)
    label = number % len(CLASSES)
    blobs = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    pixels = np.asarray(blobs.resize(size, Image.Resampling.BICUBIC)).astype(np.float32)
    pixels += 10 * rng.standard_normal((size[1], size[0], 1), dtype=np.float32)
    pixels[..., 0 if CLASSES[label] == "warm" else 2] += 30
    split = "val" if number % _VAL_EVERY == _VAL_EVERY - 1 else "train"
    path = photos / split / CLASSES[label] / f"{number:06d}.jpg"
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=85)
    return path.stat().st_size
