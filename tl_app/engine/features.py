"""Features of a folder's photos from a frozen backbone: what the instant probe fits its classifier on.

They are the activations that head-only training would keep, so a run that follows finds them in the cache. Knows
nothing of classifiers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tl_app.config import TrainConfig
from tl_app.data.augment import PLAIN
from tl_app.data.index import DatasetIndex
from tl_app.engine import setup
from tl_app.engine.background import Report, with_progress
from tl_app.engine.boundary import BoundaryStore
from tl_app.engine.device import move, resolve_device
from tl_app.engine.filling import Stores, fill
from tl_app.engine.frozen import Frozen
from tl_app.engine.inputs import Sampling
from tl_app.engine.source import source_of
from tl_app.engine.views import Item
from tl_app.events import Event
from tl_app.memory import keep_memory
from tl_app.transfer.heads import LINEAR, plainest


@dataclass(frozen=True)
class Features:
    """One feature vector per photo, as the network sees it in evaluation.

    Attributes:
        train: float32 (N, D).
        train_labels: int64 (N,), numbers of ``classes``.
        val: float32 (M, D).
        val_labels: int64 (M,).
        classes: The class names.
    """

    train: NDArray[np.float32]
    train_labels: NDArray[np.int64]
    val: NDArray[np.float32]
    val_labels: NDArray[np.int64]
    classes: tuple[str, ...]


def pooled_features(
    config: TrainConfig, index: DatasetIndex, stop: Callable[[], bool]
) -> Generator[Event, None, Features]:
    """The features in front of the head of ``config.backbone``, through both caches.

    Args:
        config: Backbone, weights, image size, device and precision are used.
        index: The photos.
        stop: Asked often.

    Yields:
        Progress, and notices on photos that are left out.

    Raises:
        UserError: Settings, photos or machine do not fit.
        Interrupted: ``stop`` said so; what was computed is found again next time.
    """
    keep_memory()
    start = source_of(config)
    head = plainest(start.head, start.backbone) if start is not None else LINEAR
    config = dataclasses.replace(
        config,
        recipe="head",
        freeze=None,
        probe_epochs=None,
        head=head.kind,
        pooling=head.pooling,
        resize_from=None,
        fuse_stages=1,
        fuse_backbone="",
    )
    filled, preprocessing = setup.resolve(config, len(index.used("train")))
    device = resolve_device(config.device)
    network = yield from setup.start_network(filled, len(index.classes), stop)
    photos = yield from setup.read_photos(index, preprocessing, stop)
    move(network, device)
    depth = len(network.stages)
    sampling = Sampling(batch_size=1, augmentation=PLAIN, seed=0, views=range(1))
    part = Frozen(network, depth, photos, sampling, device, config.precision, stop=stop)

    def work(report: Report) -> BoundaryStore:
        # Feature vectors are small: a disk that cannot be written costs the reuse, not the answer.
        stores, plain = Stores(part), range(1)
        return fill(stores, plain, on_disk=not stores.obstacle(plain), report=report)[0]

    store = yield from with_progress("computing features", "photos", work)
    return Features(*_rows(store, photos.train), *_rows(store, photos.val), classes=index.classes)


def _rows(store: BoundaryStore, items: Sequence[Item]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    rows = store.gather([item.content for item in items]).float()
    if rows.ndim == 4:  # a head that pools by itself gets whole maps
        rows = rows.mean((2, 3))
    labels = torch.tensor([item.label for item in items])
    return rows.flatten(1).numpy(), labels.numpy()
