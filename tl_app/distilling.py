"""From a finished run to the settings of a smaller model that learns from its answers. Knows nothing of training."""

from __future__ import annotations

from typing import Any

from tl_app.errors import UsageError
from tl_app.references import RUN_PREFIX
from tl_app.runs import RunInfo

SOFT_LABELS = 0.5
# What must stay for the two to be compared, and what a person knows of the photos.
_KEPT = ("data", "val_fraction", "seed", "flip", "balance", "device")


def settings_from(info: RunInfo) -> dict[str, Any]:
    """The settings of a training that makes a copy of a run on another backbone: the same photos, the run as teacher.

    Args:
        info: The run; its photos are split as they were.

    Returns:
        Fields of :class:`tl_app.TrainConfig`; the backbone is to be added.

    Raises:
        UsageError: The run has no model yet.
    """
    if not info.best_epoch:
        raise UsageError(
            f"Run '{info.name}' has no finished epoch yet, so there is nothing to learn from it.",
            remedy="Let it train for at least one epoch, or choose another run.",
        )
    if info.config.fuse_stages > 1 or info.config.fuse_backbone:
        raise UsageError(
            f"The head of run '{info.name}' reads fused features, and such a run cannot be a teacher yet.",
            remedy="Choose a run without fused stages and without a second backbone.",
        )
    return {
        **{name: getattr(info.asked, name) for name in _KEPT},
        "image_size": info.preprocessing["crop"],
        "recipe": "full",
        "teacher": f"{RUN_PREFIX}{info.path}",
        "imitation": 0.0,
        "soft_labels": SOFT_LABELS,
    }
