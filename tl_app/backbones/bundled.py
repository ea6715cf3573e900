"""The network that ships with the product: what its card says, and where its weights are.

Knows only the two files; imports no torch, so that the page can offer it before anything else is loaded.
"""

from __future__ import annotations

import functools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tl_app import resources

NAME = "bundled"
WEIGHTS = "BUNDLED"

# What is used when nobody chooses: the best of the small ones, whose weights are then on disk already.
_RECOMMENDED, _RECOMMENDED_FILE = "mobilenet_v2", "mobilenet_v2-7ebf99e0.pth"

BETTER = "The bundled backbone works offline. Fetched once, mobilenet_v2 (14 MB) is clearly more accurate."


@dataclass(frozen=True)
class Card:
    """What is known of the bundled network.

    Attributes:
        architecture: Torchvision's name.
        label: For people.
        stages: How many there are in front of the head.
        parameters: With the head for its source task.
        gflops: A photo, in operations of a multiplication and an addition each, as torchvision counts.
        preprocessing: How a photo becomes its input, as ``Preprocessing.to_dict`` writes it.
        categories: Of its source task.
        lineage: The tasks it comes from, oldest first.
        licence: Of the weights.
        figures: What it was measured to be good at.
    """

    architecture: str
    label: str
    stages: int
    parameters: int
    gflops: float
    preprocessing: dict[str, Any]
    categories: tuple[str, ...]
    lineage: tuple[str, ...]
    licence: str
    figures: dict[str, Any]


def weights_path() -> Path:
    """The weights: safetensors with torchvision's own keys, filters and matrices in float16."""
    return resources.assets_dir() / "bundled" / "weights.safetensors"


@functools.cache
def card() -> Card | None:
    """What is known of it; None in a checkout that was built without."""
    path = weights_path().with_name("card.json")
    if not path.is_file() or not weights_path().is_file():
        return None
    values = json.loads(path.read_text())
    values["categories"], values["lineage"] = tuple(values["categories"]), tuple(values["lineage"])
    return Card(**values)


def default_backbone() -> str:
    """The backbone to use when nobody chooses: the recommended one if it is on disk, else the bundled one.

    ``TORCH_HOME`` is looked at as ``torch.hub.get_dir`` does; torch is not imported for it.
    """
    fallback = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "torch")
    hub = Path(os.environ.get("TORCH_HOME", fallback)).expanduser() / "hub"
    on_disk = (hub / "checkpoints" / _RECOMMENDED_FILE).is_file()
    return _RECOMMENDED if on_disk or card() is None else NAME
