"""What is random about training photos: each epoch sees slightly different views of them.

Here it is drawn what a view will be, from the generator that is passed in: the same photo size and generator state give
the same view, in any thread. It is made of one photo by :mod:`tl_app.data.alone`, and of a whole batch on a graphics
card by :mod:`tl_app.data.together`. Knows nothing of pixels, files or networks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tl_app.choices import AUGMENTATIONS
from tl_app.data import policies
from tl_app.data.colours import Colours
from tl_app.errors import UsageError

# The smallest share of a photo's area that a crop keeps. `crop` is torchvision's RandomResizedCrop as it is.
_SMALLEST = {"crop": 0.08, "light": 0.5}
_SMALLEST_ELSE = 0.2
_RATIO = (3 / 4, 4 / 3)  # of a crop's sides, as in torchvision's RandomResizedCrop

Box = tuple[int, int, int, int]  # top, left, height and width, in pixels


@dataclass(frozen=True)
class Augmentation:
    """How training photos are varied.

    Attributes:
        level: One of ``choices.AUGMENTATIONS``; with ``none`` the others have no effect.
        flip: One of ``choices.FLIPS``: about which axes half of the views are mirrored.
        rotation: Largest turn to either side, in degrees.
        erasing: Share of views with a blank rectangle, 0 to 1.

    Raises:
        UsageError: There is no such level.
    """

    level: str = "light"
    flip: str = "horizontal"
    rotation: float = 0.0
    erasing: float = 0.0

    def __post_init__(self) -> None:
        """Check the level."""
        if self.level not in AUGMENTATIONS:
            raise UsageError(f"Augmentation is '{self.level}'.", f"Allowed: {', '.join(AUGMENTATIONS)}.")

    @property
    def text(self) -> str:
        """All that changes a view: the level, and what differs from its defaults. Kept activations are named by it."""
        extra = (
            "" if self.flip == "horizontal" else f" flip={self.flip}",
            f" rotation={self.rotation:g}" if self.rotation else "",
            f" erasing={self.erasing:g}" if self.erasing else "",
        )
        return self.level + "".join(extra)


PLAIN = Augmentation("none")  # every view is what evaluation sees


class Operation(NamedTuple):
    """One more change to a view.

    Attributes:
        name: ``tilt``, ``spread``, ``bits``, ``sharpen``, ``blur``, ``grey``, ``hide``, or that of a policy.
        value: Degrees; bits that are dropped; the factor of sharpening; sigma of a blur, in pixels; the hidden box; the
            policy's operation and its strength.
    """

    name: str
    value: Any = None


@dataclass(frozen=True)
class View:
    """What one view of a photo is.

    Attributes:
        box: The part of the photo that is seen.
        sideways: Whether left and right are exchanged.
        over: Whether top and bottom are.
        colours: How colours change; None for not at all.
        operations: What comes after that, in order.
    """

    box: Box
    sideways: bool = False
    over: bool = False
    colours: Colours | None = None
    operations: tuple[Operation, ...] = ()


def drawn(height: int, width: int, *, how: Augmentation, size: int, rng: np.random.Generator) -> View:
    """Draws a view.

    ``crop`` sees a random part of at least 8 % of the area and mirrors half of them, as the classic tutorials do.
    ``light`` sees a random part of at least half the area, mirrors half of them, and changes brightness, contrast and
    colour a little. ``strong`` sees parts down to a fifth, changes colours more and hue too, tilts, and has one more
    operation or hides a patch. ``trivial`` and ``randaugment`` see such parts too, and have the operations of
    :mod:`tl_app.data.policies`. Rotation and erasing come last.

    Args:
        height: Of the photo, in pixels.
        width: Likewise.
        how: Level, other than ``none``, and choices.
        size: Side of the view, in pixels.
        rng: Where all chance comes from; its state moves.
    """
    box = crop_box(height, width, _SMALLEST.get(how.level, _SMALLEST_ELSE), rng)
    # Drawn in any case: whatever comes after it is then the same with and without flips.
    sideways = rng.random() < 0.5 and how.flip in ("horizontal", "both")
    over = how.flip in ("vertical", "both") and rng.random() < 0.5
    colours, operations = None, []
    if how.level in policies.NAMES:
        operations += [Operation(how.level, each) for each in policies.drawn(how.level, size, rng)]
    elif how.level != "crop":
        colours = _colours(how.level == "strong", rng)
        operations += _distortions(size, rng) if how.level == "strong" else []
    if how.rotation:
        operations.append(Operation("tilt", float(rng.uniform(-how.rotation, how.rotation))))
    if rng.random() < how.erasing:
        operations.append(Operation("hide", _hidden(size, rng)))
    return View(box, sideways, over, colours, tuple(operations))


def crop_box(height: int, width: int, smallest: float, rng: np.random.Generator) -> Box:
    """A random box of ``smallest`` to all of the area and a ratio of 3 : 4 to 4 : 3.

    Args:
        height: Of the photo, in pixels.
        width: Likewise.
        smallest: Share of the area, 0 to 1.
        rng: Where chance comes from.

    Returns:
        The box. Source: torchvision's ``RandomResizedCrop.get_params``.
    """
    for _ in range(10):
        area = height * width * rng.uniform(smallest, 1.0)
        ratio = math.exp(rng.uniform(math.log(_RATIO[0]), math.log(_RATIO[1])))
        box_width, box_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < box_width <= width and 0 < box_height <= height:
            top = int(rng.integers(0, height - box_height + 1))
            left = int(rng.integers(0, width - box_width + 1))
            return top, left, box_height, box_width
    # Long photos: the largest box in the middle that keeps the ratio in bounds.
    box_width = max(1, min(width, round(height * _RATIO[1])))
    box_height = max(1, min(height, round(width / _RATIO[0])))
    return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width


def _colours(strong: bool, rng: np.random.Generator) -> Colours:
    turns = strong and rng.random() < 0.5
    amount = 0.4 if strong else 0.2
    brightness, contrast, saturation = rng.uniform(1 - amount, 1 + amount, size=3).tolist()
    return Colours(brightness, contrast, saturation, float(rng.uniform(-0.3, 0.3)) if turns else 0.0)


def _distortions(size: int, rng: np.random.Generator) -> list[Operation]:
    tilts = [Operation("tilt", float(rng.uniform(-15, 15)))] if rng.random() < 0.5 else []
    choice = int(rng.integers(8))
    if choice == 0:
        return [*tilts, Operation("spread")]
    if choice == 1:
        return [*tilts, Operation("bits", int(rng.integers(3, 6)))]
    if choice == 2:
        return [*tilts, Operation("sharpen", float(rng.uniform(0.2, 2.5)))]
    if choice == 3:
        return [*tilts, Operation("blur", float(rng.uniform(0.3, 1.5)))]
    if choice == 4:
        return [*tilts, Operation("grey")]
    return [*tilts, Operation("hide", _hidden(size, rng))] if choice in (5, 6) else tilts


def _hidden(size: int, rng: np.random.Generator) -> Box:
    height, width = (int(value * size) for value in rng.uniform(0.15, 0.4, size=2))
    return int(rng.integers(0, size - height + 1)), int(rng.integers(0, size - width + 1)), height, width
