"""Features and logits from activations that a training kept: all that is left to compute is what was trained.

Knows nothing of what they are for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tl_app import caches
from tl_app.config import TrainConfig
from tl_app.data.augment import PLAIN
from tl_app.data.store import PhotoStore
from tl_app.engine import checkpoints, setup
from tl_app.engine.activations import Plan
from tl_app.engine.boundary import BoundaryStore
from tl_app.engine.device import autocast, move, resolve_device, training_precision
from tl_app.engine.evaluate import forward_in_parts
from tl_app.engine.frozen import Frozen
from tl_app.engine.inputs import Photos, Sampling, to_floats
from tl_app.engine.tapped import Tapped
from tl_app.engine.views import Item

_ROWS, _MAPS = 256, 32  # at a time


@dataclass(frozen=True)
class Kept:
    """Activations behind a run's frozen stages, and what was trained on them."""

    store: BoundaryStore
    trained: Tapped
    classes: int
    device: torch.device
    precision: torch.dtype

    def outputs(
        self, items: Sequence[Item], on_progress: Callable[[int, int], None] | None = None
    ) -> tuple[Tensor, Tensor]:
        """What the best model makes of photos.

        Args:
            items: The photos, at least one.
            on_progress: Called with photos done and photos in all, from this thread.

        Returns:
            Pooled features (N, D) and logits (N, C), float32, on the CPU.
        """
        found: list[Tensor] = []
        size = _ROWS if self.store.row(items[0].content).ndim == 1 else _MAPS
        for start in range(0, len(items), size):
            rows = self.store.gather([item.content for item in items[start : start + size]])
            found.append(forward_in_parts(self._computed, rows, self.device))
            if on_progress is not None:
                on_progress(start + len(rows), len(items))
        both = torch.cat(found)
        return both[:, : -self.classes], both[:, -self.classes :]

    def _computed(self, rows: Tensor) -> Tensor:
        x = to_floats(rows, self.device)
        with autocast(self.device, self.precision):
            made: Tensor = self.trained(x)
        return made.float().cpu()


def kept_activations(
    config: TrainConfig, classes: int, folder: Path, store: PhotoStore, items: Sequence[Item]
) -> Kept | None:
    """The activations of some photos of a run; None when one is missing.

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
    depth, device = position.depth, resolve_device(config.device)
    if not depth or not checkpoints.load_best(folder, network):
        return None
    move(network.eval(), device)
    frozen = Frozen(
        network,
        depth,
        Photos(store, items, ()),
        Sampling(batch_size=1, augmentation=PLAIN, seed=0, views=range(1)),
        device,
        config.precision,
        stop=lambda: False,
        chosen=plan.form,
    )
    try:
        entry = caches.folder("boundary", frozen.key(0))
        rows = BoundaryStore(entry, hold=caches.hold(entry))
    except OSError:  # a cache that cannot be used holds nothing
        return None
    if rows.missing(item.content for item in items):
        return None
    trained, only_head = Tapped(network, depth), depth == len(network.stages)
    precision = torch.float32 if only_head else training_precision(config.precision, device, trained)
    return Kept(rows, trained, classes, device, precision)
