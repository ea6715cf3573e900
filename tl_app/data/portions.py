"""Parts of a folder's training photos, each within the next larger one.

Works on the dataset index only: the choice depends on the seed and on each photo's content, never on names or order.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import defaultdict

from tl_app.data.manifest import DatasetIndex, Photo

_LEAST = 2  # photos of a class


def portion(index: DatasetIndex, share: int, seed: int) -> DatasetIndex:
    """The same photos with a part of those to train on; validation and test photos stay.

    Of each class the photos that come first in an order of their own are kept, so that a smaller part lies within
    every larger one. The order depends on the seed and on each photo's content, not on names.

    Args:
        index: All photos.
        share: In percent; of each class at least two photos are kept where it has them.
        seed: Another seed, another order.
    """
    members: dict[str, list[Photo]] = defaultdict(list)
    for photo in index.used("train"):
        members[photo.label].append(photo)
    kept: set[str] = set()
    for photos in members.values():
        ranked = sorted(photos, key=lambda photo: (_rank(seed, photo), photo.path))
        kept.update(photo.path for photo in ranked[: max(_LEAST, round(len(ranked) * share / 100))])
    left = tuple(
        photo for photo in index.photos if photo.split != "train" or photo.issue or photo.path in kept
    )
    return dataclasses.replace(index, photos=left)


def _rank(seed: int, photo: Photo) -> bytes:
    return hashlib.blake2b(f"{seed}:{photo.content_hash}".encode(), digest_size=16).digest()
