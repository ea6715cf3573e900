"""What recipe ``auto`` comes to: the instant probe is asked, then :mod:`tl_app.transfer.auto`. Knows no jobs."""

from __future__ import annotations

from collections.abc import Callable

from tl_app.config import TrainConfig
from tl_app.data.index import DatasetIndex
from tl_app.events import Event
from tl_app.probing import probe
from tl_app.transfer.auto import decide


def decided(
    config: TrainConfig, index: DatasetIndex, listener: Callable[[Event], None] | None
) -> tuple[TrainConfig, tuple[str, ...]]:
    """What recipe ``auto`` comes to for these photos, and why; ``listener`` hears how far the probe is.

    Raises:
        UserError: Settings, photos or machine do not fit.
    """
    from tl_app.backbones.catalogue import get_backbone
    from tl_app.engine.background import to_the_end
    from tl_app.engine.source import source_of

    probed = to_the_end(probe(config, index, lambda: False), listener)
    start = source_of(config)
    native = (start or get_backbone(config.backbone).default_weights).preprocessing.crop
    found = decide(
        config,
        train_photos=len(index.used("train")),
        classes=len(index.classes),
        probed=probed.accuracy,
        image_size=native,
    )
    return found.config, found.reasons
