"""From settings to how photos and labels are varied in training: augmentation, label loss, class balance, mixing.

Knows nothing of steps, networks or files.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Generator, Sequence

from tl_app.config import TrainConfig
from tl_app.data.augment import Augmentation
from tl_app.data.mixing import is_map
from tl_app.engine.epoch import Training
from tl_app.events import Event, Notice
from tl_app.transfer.losses import LabelLoss, balance_of, class_weights
from tl_app.transfer.recipes import augmentation_level


def augmentation_of(config: TrainConfig) -> Augmentation:
    """How the settings vary photos."""
    return Augmentation(augmentation_level(config), config.flip, config.rotation, config.erasing)


def label_loss_of(training: Training) -> Generator[Event, None, tuple[LabelLoss, bool]]:
    """The loss of the labels, and whether epochs draw all classes equally often.

    Yields:
        What ``auto`` chose, where that is not to leave classes as they are.
    """
    config = training.config
    found = Counter(item.label for item in training.photos.train)
    counts = [found[number] for number in range(training.classes)]
    balance, why = balance_of(config.balance, counts)
    if why and training.position.step == 0:
        yield Notice(why)
    loss = LabelLoss(config.label_smoothing)
    if balance == "loss":
        loss = dataclasses.replace(loss, weights=class_weights(counts).to(training.device))
    return loss, balance == "sampling"


def mixing_notices(
    kept: Sequence[int] | None, *, mixup: float, cutmix: float
) -> Generator[Event, None, None]:
    """What mixing means where it is not photos that are mixed.

    Args:
        kept: The shape of kept activations; None where steps begin with photos.
        mixup: Its α.
        cutmix: Its α.

    Yields:
        A sentence for each of the two that is on.
    """
    if kept is None:
        return
    if mixup:
        yield Notice("MixUp blends the kept activations of photos rather than photos (manifold mixup).")
    if cutmix and is_map(kept):
        yield Notice("CutMix cuts the kept maps of photos rather than photos.")
    elif cutmix:
        yield Notice(
            "CutMix is off: what is kept of a photo has no places to cut. Unfreeze a stage, or turn keeping off.",
            "warning",
        )
