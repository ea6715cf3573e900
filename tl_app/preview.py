"""What a training would see of some photos: augmented views, and mixed ones, made by the code that training uses.

Knows nothing of pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tl_app import words
from tl_app.backbones.staged import GENERATOR_LOCK
from tl_app.config import TrainConfig
from tl_app.data.index import DatasetIndex, Photo
from tl_app.data.mixing import mixed
from tl_app.data.store import PhotoStore
from tl_app.engine.labels import augmentation_of
from tl_app.engine.setup import preprocessing_of
from tl_app.engine.views import Item, load_view, stacked


@dataclass(frozen=True)
class Picture:
    """One picture as the network sees it.

    Attributes:
        pixels: uint8, (3, size, size).
        caption: What it is, in a few words.
    """

    pixels: Tensor
    caption: str


@dataclass(frozen=True)
class Strip:
    """Pictures that belong together, under a title."""

    title: str
    pictures: Sequence[Picture]


def preview(config: TrainConfig, index: DatasetIndex, *, photos: int = 3, views: int = 6) -> list[Strip]:
    """Some training photos as a training with these settings sees them.

    Args:
        config: The settings.
        index: The photos.
        photos: How many are shown, spread over the classes.
        views: Of each; the first one is what validation sees.

    Returns:
        A strip per photo, and one each for MixUp and CutMix where they are on.

    Raises:
        UserError: Settings do not fit, or a photo cannot be read.
    """
    store = PhotoStore(index.root, preprocessing_of(config))
    how = augmentation_of(config)
    numbers = {label: number for number, label in enumerate(index.classes)}

    def view_of(photo: Photo, view: int) -> Tensor:
        item = Item(photo.path, numbers[photo.label], photo.content_hash)
        return load_view(store, item, view=view, augmentation=how, seed=config.seed)

    strips = []
    for photo in _spread(index.used("train"), photos):
        shown = [Picture(view_of(photo, 0), "for validation")]
        shown += [Picture(view_of(photo, view), f"view {view}") for view in range(1, views)]
        strips.append(Strip(photo.path, shown))
    chosen = _alternating(_spread(index.used("train"), views))
    batch = stacked([view_of(photo, 1) for photo in chosen])
    labels = torch.tensor([numbers[photo.label] for photo in chosen])
    for title, mixup, cutmix in (("MixUp", config.mixup, 0.0), ("CutMix", 0.0, config.cutmix)):
        if mixup or cutmix:
            strips.append(_mixed(title, batch, labels, index.classes, config.seed, mixup, cutmix))
    return strips


def _mixed(
    title: str,
    batch: Tensor,
    labels: Tensor,
    classes: Sequence[str],
    seed: int,
    mixup: float,
    cutmix: float,
) -> Strip:
    """Each picture from another batch, since all of a batch are mixed in the same proportion."""
    pictures = []
    for place in range(len(batch)):
        with GENERATOR_LOCK:
            torch.manual_seed(seed + place)
            rows, shares = mixed(batch, labels, mixup=mixup, cutmix=cutmix, classes=len(classes))
        pictures.append(Picture(rows[place], _parts(shares[place], classes)))
    return Strip(title, pictures)


def _parts(shares: Tensor, classes: Sequence[str]) -> str:
    found = [(share, name) for share, name in zip(shares.tolist(), classes, strict=True) if share > 0]
    return ", ".join(f"{words.percent(share, 0)} {name}" for share, name in sorted(found, reverse=True))


def _spread(photos: Sequence[Photo], most: int) -> list[Photo]:
    """At most ``most``, evenly spaced; the index has them class by class."""
    ordered = sorted(photos, key=lambda photo: (photo.label, photo.path))
    return (
        [ordered[place * len(ordered) // most] for place in range(most)] if len(ordered) > most else ordered
    )


def _alternating(photos: list[Photo]) -> list[Photo]:
    """Those of the first half and of the second in turn, so that neighbours are of different classes."""
    half = -(-len(photos) // 2)
    return [photos[place] for place in sorted(range(len(photos)), key=lambda place: place % half)]
