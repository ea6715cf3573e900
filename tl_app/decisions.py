"""What recipe ``auto`` comes to: the instant probe is asked, then :mod:`tl_app.transfer.auto`. Knows no jobs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from tl_app.config import TrainConfig
from tl_app.data.index import DatasetIndex
from tl_app.events import Event
from tl_app.probing import probe
from tl_app.transfer.auto import decide
from tl_app.transfer.recipes import check_depth


def decided(
    config: TrainConfig, index: DatasetIndex, listener: Callable[[Event], None] | None
) -> tuple[TrainConfig, tuple[str, ...]]:
    """What recipe ``auto`` comes to for these photos, and why; ``listener`` hears how far the probe is.

    Raises:
        UserError: Settings, photos or machine do not fit.
    """
    from tl_app.backbones.catalogue import get_backbone
    from tl_app.engine.background import to_the_end
    from tl_app.engine.setup import stage_names
    from tl_app.engine.source import source_of

    start = source_of(config)
    spec = get_backbone(start.backbone if start else config.backbone)
    stages = len(stage_names(dataclasses.replace(config, backbone=spec.name)))
    if config.freeze is not None:  # before the probe, which takes its time
        check_depth(config, config.freeze, stages)
    probed = to_the_end(probe(config, index, lambda: False), listener)
    native = (start or spec.default_weights).preprocessing.crop
    found = decide(
        config,
        train_photos=len(index.used("train")),
        classes=len(index.classes),
        stages=stages,
        probed=probed.accuracy,
        image_size=native,
    )
    return found.config, found.reasons
