"""Why a predictor gives a photo its class: the map, in numbers and as a picture.

Knows nothing of runs, files' names or the page.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from tl_app.analysis.overlay import legend, overlay
from tl_app.analysis.saliency import saliency
from tl_app.errors import UsageError
from tl_app.predictor import Predictor


@dataclass(frozen=True, eq=False)
class Explanation:
    """What spoke for a class on one photo.

    Attributes:
        path: The photo, as it was given; empty for bytes.
        label: The class that was asked about, else the most likely one.
        confidence: Its probability, 0 to 1.
        map: float32 (S, S), 1 at the hottest place, over the square that the network sees; all 0 where nothing spoke
            for the class.
        overlay: A PNG of that square, warm where the map is hot.
        legend: What its colours mean.
    """

    path: str
    label: str
    confidence: float
    map: Tensor
    overlay: bytes
    legend: str


def explain_photo(predictor: Predictor, photo: str | Path | bytes, label: str | None = None) -> Explanation:
    """Explains a photo's class; the middle square alone, also where answers are averaged over views.

    Args:
        predictor: Whose answer it is; others may use it meanwhile.
        photo: A file, or the bytes of one.
        label: A class of the predictor; None for the most likely one.

    Raises:
        PhotoError: The photo cannot be read.
        UsageError: The predictor knows no such class.
        ResourceError: Memory does not suffice.
    """
    asked = None if label is None else number_of(predictor, label)
    steps = predictor.preprocessing
    image = steps.center(steps.load(photo if isinstance(photo, bytes) else Path(photo)))
    probabilities = predictor.probabilities(image[None])[0]
    number = int(probabilities.argmax()) if asked is None else asked
    heat = saliency(predictor.network, steps, image, number)
    name = predictor.labels[number]
    return Explanation(
        path="" if isinstance(photo, bytes) else str(photo),
        label=name,
        confidence=float(probabilities[number]),
        map=heat,
        overlay=overlay(image.permute(1, 2, 0).numpy(), heat.numpy()),
        legend=legend(name, bool(heat.any())),
    )


def number_of(predictor: Predictor, label: str) -> int:
    """Which output of the network a class is.

    Raises:
        UsageError: There is no such class.
    """
    if label in predictor.labels:
        return predictor.labels.index(label)
    near = difflib.get_close_matches(label, predictor.labels, 5) or predictor.labels[:20]
    raise UsageError(
        f"There is no class '{label}' in {predictor.source}.",
        f"It knows {len(predictor.labels)} classes, such as {', '.join(near)}.",
        "Leave the label out for the most likely class.",
    )
