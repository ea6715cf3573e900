"""The views of one photo that an answer can be averaged over: its middle, mirrored, and its corners.

No chance is involved: the same photo gives the same views. Knows nothing of networks.
"""

from __future__ import annotations

from torch import Tensor

from tl_app.data.pixels import middle

_MIRRORED = {"none": (), "horizontal": ((-1,),), "vertical": ((-2,),), "both": ((-1,), (-2,), (-2, -1))}


def views(image: Tensor, size: int, flip: str) -> list[Tensor]:
    """What evaluation sees first, then its mirror images, then the four corners.

    Args:
        image: uint8, (3, h, w).
        size: Side of each view, in pixels.
        flip: One of ``choices.FLIPS``: the mirror images that still mean the same.

    Returns:
        As many as :func:`count` says, each uint8 (3, size, size); a photo smaller than that has no corners.
    """
    from torchvision.transforms.v2.functional import five_crop

    centre = middle(image, size)
    found = [centre, *(centre.flip(axes) for axes in _MIRRORED[flip])]
    if min(image.shape[-2:]) >= size:
        found += five_crop(image, [size, size])[:4]
    return found


def count(flip: str) -> int:
    """How many views of a photo there are."""
    return 5 + len(_MIRRORED[flip])
