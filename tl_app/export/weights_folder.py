"""A run as a folder for the Hub: safetensors with torchvision's own names, what describes them, and a model card.

Where the head is linear, torchvision alone loads them, and the temperature is in the last layer, so that softmax gives
calibrated probabilities. Other heads are loaded by :func:`read_folder`. Knows nothing of checks.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision import models

from tl_app.backbones.catalogue import get_backbone
from tl_app.backbones.staged import layout_of, torchvision_options, with_version
from tl_app.config import TrainConfig
from tl_app.data.preprocessing import Preprocessing
from tl_app.engine.setup import empty_network
from tl_app.export.card import model_card
from tl_app.export.check import Ask
from tl_app.export.graph import plain
from tl_app.export.original import Original, Pixels
from tl_app.files import write_atomically, write_json
from tl_app.tensors import write_tensors
from tl_app.transfer import heads

WEIGHTS, CONFIG, PREPROCESSOR, CARD = (
    "model.safetensors",
    "config.json",
    "preprocessor_config.json",
    "README.md",
)
_RESAMPLE = {"bilinear": 2, "bicubic": 3}  # Pillow's numbers


def write_folder(original: Original, path: Path) -> str:
    """Writes the folder; returns how it is loaded."""
    path.mkdir()
    linear = is_linear(original.info.config)
    tensors = _with_temperature(original) if linear else original.network.net.state_dict()
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    write_tensors(path / WEIGHTS, tensors, {"format": "pt"})
    config = config_of(original)
    write_json(path / CONFIG, config)
    write_json(path / PREPROCESSOR, _processor(original.preprocessing))
    card = model_card(original, config["architecture"], config["model_args"] if linear else None)
    write_atomically(path / CARD, card.encode())
    return "torchvision loads it" if linear else "tl-app loads it: its head is not torchvision's"


def config_of(original: Original) -> dict[str, Any]:
    """``config.json`` in timm's way, with all that it has no place for under ``tl_app``."""
    info, steps = original.info, original.preprocessing
    spec, linear = get_backbone(info.config.backbone), is_linear(original.info.config)
    about = {
        **original.about,
        "kind": "safetensors",
        "library": "torchvision" if linear else "tl-app",
        "temperature_in_weights": linear,
    }
    return {
        "architecture": spec.architecture,
        "num_classes": len(original.labels),
        "label_names": list(original.labels),
        "model_args": torchvision_options(spec.name, steps.crop),
        "pretrained_cfg": {
            "architecture": spec.architecture,
            "custom_load": False,
            "input_size": [3, steps.crop, steps.crop],
            "fixed_input_size": spec.image_size_step > 1,
            "interpolation": steps.interpolation,
            "crop_pct": crop_share(steps),
            "crop_mode": "center",
            "mean": list(steps.mean),
            "std": list(steps.std),
            "num_classes": len(original.labels),
            "classifier": layout_of(spec.name).classifier,
            "license": original.about["licence"],
        },
        "tl_app": about,
    }


def is_linear(config: TrainConfig) -> bool:
    """Whether torchvision has that head."""
    head = heads.head_of(config)
    return head.kind == "linear" and head.fusion is None


def crop_share(steps: Preprocessing) -> float:
    """The ``crop_pct`` of timm, from which it has the size to resize to as ``floor(crop / crop_pct)``."""
    share = steps.crop / steps.resize
    return share if math.floor(steps.crop / share) == steps.resize else steps.crop / (steps.resize + 0.5)


def read_folder(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a folder, from pixels to logits at temperature 1, in eval mode, and its ``config.json``.

    Raises:
        OSError: A file is missing.
        UsageError: It was made by another version whose settings this one does not know.
    """
    config: dict[str, Any] = json.loads((path / CONFIG).read_text())
    about, tensors = config["tl_app"], load_file(path / WEIGHTS)
    network: nn.Module
    if about["library"] == "torchvision":
        network = models.get_model(
            config["architecture"], num_classes=config["num_classes"], **config["model_args"]
        )
        network.load_state_dict(with_version(network, tensors))
        return network.eval(), config
    staged = empty_network(TrainConfig.from_dict(about["config"]), config["num_classes"])
    staged.net.load_state_dict(with_version(staged.net, tensors))
    return _Tempered(plain(staged), about["temperature"]), config


def folder_answers(path: Path, original: Original | None = None) -> Ask:
    """Asks a folder, on the CPU: torchvision's own network where it has that head, behind the app's preprocessing."""
    network, config = read_folder(path)
    steps = Preprocessing.from_dict(config["tl_app"]["preprocessing"])

    def ask(photos: Pixels) -> NDArray[np.float32]:
        squares = [steps.center(steps.shrink(np.array(photo))) for photo in photos]
        with torch.no_grad():
            answers: NDArray[np.float32] = network(steps.normalise(torch.stack(squares))).softmax(1).numpy()
        return answers

    return ask


class _Tempered(nn.Module):
    """Logits at temperature 1, as those of a folder whose last layer has the temperature inside."""

    def __init__(self, network: nn.Module, temperature: float) -> None:
        super().__init__()
        self.network, self.temperature = network, temperature
        self.eval()

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, classes)."""
        logits: Tensor = self.network(pixels) / self.temperature
        return logits


def _with_temperature(original: Original) -> dict[str, Tensor]:
    """The weights with the last layer's divided by the temperature; what follows it, if anything, scales along."""
    tensors = dict(original.network.net.state_dict())
    last = layout_of(original.network.name).classifier
    for name in (f"{last}.weight", f"{last}.bias"):
        if name in tensors:
            tensors[name] = tensors[name] / original.temperature
    return tensors


def _processor(steps: Preprocessing) -> dict[str, Any]:
    """The preprocessing in the words of transformers' image processors, of which this one does the same steps."""
    return {
        "image_processor_type": "BitImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": steps.resize},
        "resample": _RESAMPLE[steps.interpolation],
        "do_center_crop": True,
        "crop_size": {"height": steps.crop, "width": steps.crop},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(steps.mean),
        "image_std": list(steps.std),
    }
