"""Progressive resizing: small training photos first, larger ones later, in a few steps.

Early epochs then cost a fraction, and learn what does not need every pixel. Source: fastai's course ("progressive
resizing", Howard 2018). That a network may be trained on smaller photos than it is judged on, and should end with a
stretch at full size, is from Touvron et al. 2019, "Fixing the train-test resolution discrepancy" (arXiv:1906.06423).
Imports no torch.
"""

from __future__ import annotations

import itertools

from tl_app.errors import UsageError

_STEPS = 3  # smaller sides at most
_MULTIPLE = 32  # networks halve photos five times
_SHARE = 2 / 3  # of the epochs: the others are at full size


def sides(first: int, last: int, epochs: int) -> tuple[int, ...]:
    """The side of each epoch's training photos, in pixels.

    Args:
        first: Of the first epoch.
        last: Of the last ones, larger.
        epochs: How many there are.
    """
    growing = int(epochs * _SHARE)
    steps = min(_STEPS, growing)
    between = [first + number * (last - first) / steps for number in range(1, steps)]
    rounded = [round(side / _MULTIPLE) * _MULTIPLE for side in between]
    smaller = [first, *dict.fromkeys(side for side in rounded if first < side < last)] if steps else []
    found = [smaller[epoch * len(smaller) // growing] for epoch in range(growing)]
    return (*found, *[last] * (epochs - growing))


def check(first: int, last: int, epochs: int, backbone: str, *, one_size: bool) -> None:
    """Whether photos can grow so.

    Args:
        first: As for :func:`sides`.
        last: Likewise.
        epochs: Likewise.
        backbone: Its name.
        one_size: Whether it insists on one size.

    Raises:
        UsageError: They cannot.
    """
    if one_size:
        raise UsageError(
            f"Photos cannot grow from {first} pixels with {backbone}: it is built for photos of one size.",
            "Backbones that insist on one size: vit_… and maxvit_….",
            "Leave out resize_from, or choose another backbone.",
        )
    if first >= last:
        raise UsageError(
            f"Photos cannot grow from {first} to {last} pixels.",
            f"Allowed: resize_from below the image size, {last}.",
            "Choose a smaller resize_from, or a larger image size.",
        )
    if epochs < 2:
        raise UsageError(
            f"Photos cannot grow within {epochs} epoch.",
            "Allowed with resize_from: 2 epochs or more.",
            "Raise the epochs, or leave out resize_from.",
        )


def describe(found: tuple[int, ...]) -> str:
    """One sentence on the sides of a training's epochs."""
    parts, start = [], 1
    for side, epochs in itertools.groupby(found):
        end = start + len(list(epochs)) - 1
        parts.append(f"{side} px in epoch{f's {start} to {end}' if end > start else f' {start}'}")
        start = end + 1
    return f"Training photos grow: {', '.join(parts)}; validation is at {found[-1]} px always."
