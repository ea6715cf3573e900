"""A photo with the map of what spoke for a class laid over it, as a picture for people. Knows nothing of networks."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

_LEAST_SIDE = 320  # pixels; networks see less than people like to look at

# From the dark red to the yellow of "inferno" (Smith and van der Walt 2015, matplotlib, CC0), whose lightness grows
# evenly, so that it reads the same to colour-blind people and in print. On grey no colour of the photo competes.
_COLOURS = np.array([[87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], dtype=np.float32)
_STRONGEST = 0.75  # of the colour at the hottest place; the photo stays visible below it
_GREY = 0.8  # how much of the photo's own colours is taken out


def overlay(photo: np.ndarray, heat: np.ndarray) -> bytes:
    """The photo in greys, warm where the heat is.

    Args:
        photo: uint8 (S, S, 3).
        heat: float32 (s, s), 0 to 1, over the same square.

    Returns:
        A PNG of at least 320 pixels a side.
    """
    side = max(_LEAST_SIDE, photo.shape[0])
    picture = Image.fromarray(np.ascontiguousarray(photo)).resize((side, side), Image.Resampling.BICUBIC)
    strength = Image.fromarray(np.asarray(heat, dtype=np.float32))
    warm = np.asarray(strength.resize((side, side), Image.Resampling.BILINEAR)).clip(0, 1)[..., None]
    colours = np.asarray(picture, dtype=np.float32)
    grey = np.asarray(picture.convert("L"), dtype=np.float32)[..., None]
    calm = _GREY * grey + (1 - _GREY) * colours
    alpha = _STRONGEST * warm
    mixed = (1 - alpha) * calm + alpha * _warm(warm[..., 0])
    out = io.BytesIO()
    Image.fromarray(mixed.round().astype(np.uint8)).save(out, "PNG")
    return out.getvalue()


def legend(label: str, anything: bool = True) -> str:
    """What the colours mean, in a sentence.

    Args:
        label: The class that was asked about.
        anything: Whether any place spoke for it.
    """
    if not anything:
        return f"No place spoke for “{label}” more than for the other classes."
    return f"Warm: what spoke for “{label}”. Grey: what made no difference, or spoke against it."


def _warm(heat: np.ndarray) -> np.ndarray:
    """float32 (…, 3), 0 to 255, of heat (…), 0 to 1."""
    stops = np.linspace(0, 1, len(_COLOURS))
    return np.stack([np.interp(heat, stops, channel) for channel in _COLOURS.T], -1).astype(np.float32)
