"""Features and logits from activations that a training kept: where only a head was trained, nothing is left to compute.

Knows nothing of what they are for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from tl_app import caches
from tl_app.config import TrainConfig
from tl_app.data.augment import PLAIN
from tl_app.data.store import PhotoStore
from tl_app.engine import checkpoints, setup
from tl_app.engine.activations import Plan
from tl_app.engine.boundary import BoundaryStore
from tl_app.engine.device import resolve_device
from tl_app.engine.frozen import Frozen
from tl_app.engine.inputs import Photos, Sampling
from tl_app.engine.views import Item

_ROWS = 256


@dataclass(frozen=True)
class Kept:
    """Activations in front of a run's trained head."""

    store: BoundaryStore
    head: nn.Module

    def outputs(self, items: Sequence[Item]) -> Iterator[tuple[Tensor, Tensor]]:
        """Pooled features (B, D) and logits (B, C) of photos, float32, on the CPU; some at a time."""
        for start in range(0, len(items), _ROWS):
            contents = [item.content for item in items[start : start + _ROWS]]
            rows = self.store.gather(contents).float()
            with torch.inference_mode():
                logits = self.head(rows)
            yield (rows.mean((2, 3)) if rows.ndim == 4 else rows), logits


def kept_activations(
    config: TrainConfig, classes: int, folder: Path, store: PhotoStore, items: Sequence[Item]
) -> Kept | None:
    """The activations of some photos of a run; None when one is missing, or when stages were trained too.

    Args:
        config: The run's settings without gaps.
        classes: How many it has.
        folder: Its checkpoints.
        store: Its photos.
        items: Those that are wanted.

    Raises:
        ResourceError: A checkpoint is damaged.
    """
    position = checkpoints.read_position(folder / checkpoints.LAST)
    plan = Plan.stored(position.plan) if position is not None else None
    if position is None or plan is None or not plan.kept:
        return None
    network = setup.empty_network(config, classes)
    depth = len(network.stages)
    if position.depth < depth or not checkpoints.load_best(folder, network):
        return None
    network.eval()
    frozen = Frozen(
        network,
        depth,
        Photos(store, items, ()),
        Sampling(batch_size=1, augmentation=PLAIN, seed=0, views=range(1)),
        resolve_device(config.device),
        config.precision,
        stop=lambda: False,
        chosen=plan.form,
    )
    try:
        entry = caches.folder("boundary", frozen.key(0))
        rows = BoundaryStore(entry, hold=caches.hold(entry))
    except OSError:  # a cache that cannot be used holds nothing
        return None
    return None if rows.missing(item.content for item in items) else Kept(rows, network.head)
