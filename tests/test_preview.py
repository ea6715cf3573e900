from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tl_app.config import TrainConfig
from tl_app.data.index import DatasetIndex, scan
from tl_app.data.store import PhotoStore
from tl_app.engine.batches import train_batches
from tl_app.engine.labels import augmentation_of
from tl_app.engine.setup import resolve
from tl_app.engine.views import Item
from tl_app.errors import UsageError
from tl_app.preview import preview


@pytest.fixture
def index(photos: Path) -> DatasetIndex:
    return scan(photos)


def _config(index: DatasetIndex, **settings: Any) -> TrainConfig:
    chosen = {"backbone": "mobilenet_v3_small", "weights": "random", "image_size": 32, **settings}
    return TrainConfig(data=str(index.source), **chosen)


def test_what_is_shown_is_what_training_gets(index: DatasetIndex) -> None:
    config = _config(index, augmentation="strong", flip="both", rotation=10.0, seed=3)
    strips = preview(config, index, photos=3, views=4)
    assert len(strips) == 3 and {strip.title.split("/")[0] for strip in strips} == {"blue", "red"}
    filled, preprocessing = resolve(config, 20)
    train, store = index.used("train"), PhotoStore(index.root, preprocessing)
    items = [Item(photo.path, index.classes.index(photo.label), photo.content_hash) for photo in train]
    for view in range(4):
        batches = train_batches(
            store,
            items,
            batch_size=20,
            augmentation=augmentation_of(filled),
            seed=3,
            epoch=view,
            views=range(4),
        )
        seen = {image.numpy().tobytes() for images, _ in batches for image in images.contiguous()}
        for strip in strips:
            assert strip.pictures[view].pixels.contiguous().numpy().tobytes() in seen
    assert [each.caption for each in strips[0].pictures] == ["for validation", "view 1", "view 2", "view 3"]


def test_without_augmentation_all_views_are_alike(index: DatasetIndex) -> None:
    for strip in preview(_config(index, augmentation="none"), index):
        assert all(torch.equal(each.pixels, strip.pictures[0].pixels) for each in strip.pictures)


def test_mixed_photos_say_what_they_are_made_of(index: DatasetIndex) -> None:
    strips = preview(_config(index, mixup=0.8, cutmix=1.0), index)
    assert [strip.title for strip in strips[3:]] == ["MixUp", "CutMix"]
    for strip in strips[3:]:
        assert len(strip.pictures) == 6
        assert all("% blue" in each.caption and "% red" in each.caption for each in strip.pictures)
        assert len({each.caption.split()[0] for each in strip.pictures}) > 2
    assert len(preview(_config(index), index)) == 3


def test_settings_that_do_not_fit_are_refused(index: DatasetIndex) -> None:
    with pytest.raises(UsageError, match="33"):
        preview(_config(index, backbone="vit_b_16", weights="default", image_size=33), index)
