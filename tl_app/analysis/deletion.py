"""Whether a map of reasons means anything: without its hottest places, a network must be less sure of its answer.

The deletion test of Petsiuk et al. 2018, "RISE" (arXiv:1806.07421), at one point of its curve, held against the same
shape at random places and against the map of another photo. Knows nothing of files or labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

SHARE = 0.2
_COLOURS = 4  # a side, of a blurred photo


@dataclass(frozen=True)
class Drops:
    """How much less sure of its answer a network is, photo by photo: float32 (N,), in probability.

    Attributes:
        hottest: Without the hottest places.
        random: Without places of the same shape elsewhere; the mean of several draws.
        swapped: Without the places that are hottest in another photo: maps like the middle, and so do photographers.
    """

    hottest: Tensor
    random: Tensor
    swapped: Tensor


def deletion(
    classify: Callable[[Tensor], Tensor],
    explain: Callable[[Tensor], Tensor],
    photos: Tensor,
    *,
    share: float = SHARE,
    draws: int = 5,
    blur: bool = True,
    seed: int = 0,
) -> Drops:
    """Blanks the hottest places of each photo, and as many others, and asks again.

    Args:
        classify: From uint8 photos (B, 3, S, S) to class probabilities (B, classes), on the CPU.
        explain: From a uint8 photo (3, S, S) to its map (S, S) for the class that ``classify`` gives it.
        photos: uint8 (N, 3, S, S).
        share: Of a photo's pixels that are blanked, above 0 and below 1.
        draws: Random places tried for each photo.
        blur: Blanked places get what a strong blur makes of them; else the photo's mean colour.
        seed: Of the random places.
    """
    generator = torch.Generator().manual_seed(seed)
    masks = torch.stack([_hottest(explain(photo), share) for photo in photos])  # (N, S, S)
    blanks = torch.stack([_blank(photo, blur) for photo in photos])
    before = classify(photos)
    answers = before.argmax(1, keepdim=True)

    def drop(masks: Tensor) -> Tensor:
        after = classify(torch.where(masks[:, None], blanks, photos))
        return (before - after).gather(1, answers)[:, 0]

    elsewhere = [drop(torch.stack([_moved(mask, generator) for mask in masks])) for _ in range(draws)]
    return Drops(drop(masks), torch.stack(elsewhere).mean(0), drop(masks.roll(1, 0)))


def _hottest(heat: Tensor, share: float) -> Tensor:
    """Bool (S, S), true at that share of the places, or fewer where fewer have any heat."""
    chosen = torch.zeros(heat.numel(), dtype=torch.bool)
    chosen[heat.flatten().topk(round(share * heat.numel())).indices] = True
    return chosen.view_as(heat) & (heat > 0)


def _moved(mask: Tensor, generator: torch.Generator) -> Tensor:
    """The same shape somewhere else; what leaves at one edge comes in at the other."""
    down, right = torch.randint(mask.shape[-1], (2,), generator=generator).tolist()
    return mask.roll((down, right), (0, 1))


def _blank(photo: Tensor, blur: bool) -> Tensor:
    """What blanked places show, uint8 (3, S, S)."""
    if blur:  # a few colours that run into each other, no detail of any object
        size, few = photo.shape[-1], functional.adaptive_avg_pool2d(photo[None].float(), _COLOURS)
        smooth = functional.interpolate(few, size=(size, size), mode="bilinear", align_corners=False)[0]
        return smooth.round().to(torch.uint8)
    return photo.float().mean((1, 2), keepdim=True).round().to(torch.uint8).expand_as(photo)
