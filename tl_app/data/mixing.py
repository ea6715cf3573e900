"""MixUp and CutMix: the photos of a batch, or their activations, blended with their labels.

torchvision does the blending, with chance from torch's own generator, which the caller seeds. Knows nothing of files
or networks.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def mixed(
    rows: Tensor, labels: Tensor, *, mixup: float, cutmix: float, classes: int
) -> tuple[Tensor, Tensor]:
    """A batch in which each row is blended with the one before it; with both ways on, one of them by chance.

    MixUp of activations is that of photos where nothing is frozen, and manifold mixup at the boundary otherwise.
    Source: Zhang et al. 2018, "mixup"; Yun et al. 2019, "CutMix"; Verma et al. 2019, "Manifold Mixup".

    Args:
        rows: Photos, uint8 (B, 3, S, S), or activations, floats (B, …).
        labels: int64 (B,); rows are moved to their device.
        mixup: α of the Beta distribution that the larger share is drawn from; 0: off.
        cutmix: Likewise, of the area; without effect on what is no map.
        classes: How many there are.

    Returns:
        Rows of the same shape, photos as uint8 and activations as float32, and what each class has of them, float32
        (B, classes). Both as they came when nothing is to be mixed.
    """
    blend = _blend(mixup, cutmix if is_map(rows.shape[1:]) else 0.0, classes)
    if blend is None:
        return rows, labels
    moved = rows.to(labels.device, non_blocking=True).float()
    blended, shares = blend(moved.view(len(rows), *_as_image(rows.shape[1:])), labels)
    blended = blended.view(rows.shape)
    return (blended.round_().byte() if rows.dtype == torch.uint8 else blended), shares


def is_map(shape: Sequence[int]) -> bool:
    """Whether rows of that shape can be cut: (C, S, S), which photos and the maps of convolutions are."""
    return len(shape) == 3 and shape[1] == shape[2]


def _as_image(shape: Sequence[int]) -> tuple[int, ...]:
    """Three dimensions, which torchvision asks for."""
    return tuple(shape) if len(shape) == 3 else (*shape, *[1] * (3 - len(shape)))


@functools.lru_cache(maxsize=8)
def _blend(
    mixup: float, cutmix: float, classes: int
) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None:
    ways: list[Callable[..., object]] = []
    if not (mixup or cutmix):
        return None
    from torchvision.transforms import v2  # takes a while, and is for those who mix

    if mixup:
        ways.append(v2.MixUp(alpha=mixup, num_classes=classes))
    if cutmix:
        ways.append(v2.CutMix(alpha=cutmix, num_classes=classes))
    chosen: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = v2.RandomChoice(ways)
    return chosen
