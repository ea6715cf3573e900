"""Runs to export: finished ones that were never trained, and photos of odd sizes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.synthetic_runs import make_run
from tl_app import runs
from tl_app.backbones.staged import GENERATOR_LOCK, StagedNetwork
from tl_app.data.preprocessing import Preprocessing
from tl_app.engine import checkpoints
from tl_app.engine.checkpoints import START
from tl_app.engine.setup import random_network
from tl_app.export import check
from tl_app.runs import RunInfo


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """How fast an export is matters to no test."""
    monkeypatch.setattr(check, "_REPEATS", 2)


@pytest.fixture(scope="session")
def odd_photos_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, ten photos each, from 1 : 9 strips to small squares; not to be changed."""
    return make_odd_photos(tmp_path_factory.mktemp("photos") / "odd", 10)


@pytest.fixture
def odd_photos(tmp_path: Path, odd_photos_once: Path) -> Path:
    """A copy of them for one test."""
    return Path(shutil.copytree(odd_photos_once, tmp_path / "odd"))


@pytest.fixture
def run(tmp_path: Path, odd_photos: Path) -> RunInfo:
    """A finished run on those photos, a ResNet-18 with its linear head."""
    return make_sure_run(tmp_path / "runs", odd_photos, 512, backbone="resnet18")


def make_sure_run(runs_dir: Path, photos: Path, features: int, **settings: Any) -> RunInfo:
    """A finished run that was never trained, but says different things of different photos.

    Args:
        runs_dir: Where to put it.
        photos: A folder per class.
        features: Of its network, in front of the head.
        **settings: Of the run.
    """
    info = make_run(runs_dir, "odd", photos, features=features, **settings)
    with GENERATOR_LOCK:
        torch.manual_seed(0)
        network = random_network(info.config, len(info.classes))
        awaken(network, Preprocessing.from_dict(info.preprocessing), sorted(photos.rglob("*.png")))
    for name in (START, checkpoints.best_name(1)):
        checkpoints.save_weights(info.path / "checkpoints" / name, checkpoints.weights(network))
    return runs.open_run(info.path, info.path.parent)


def awaken(network: StagedNetwork, steps: Preprocessing, photos: list[Path]) -> None:
    """Gives a random network the statistics of photos and a head that is sure of its answers."""
    pixels = steps.normalise(torch.stack([steps.center(steps.load(path)) for path in photos]))
    for module in network.net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the plain mean of what it sees
    with torch.no_grad():
        network.train()(pixels)
        logits = network.eval()(pixels)
        for parameter in network.head_parameters():
            if parameter.ndim > 1:
                parameter.mul_(2 / logits.std(0).mean().clamp_min(1e-6))
        middle = network(pixels).mean(0)
        for parameter in network.head_parameters():
            if parameter.shape == middle.shape:
                parameter.sub_(middle)


def make_odd_photos(folder: Path, per_class: int) -> Path:
    """Writes ``red`` and ``blue`` class folders of noise around a colour, no two of a size."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(("red", "blue")):
        (folder / name).mkdir(parents=True)
        for index in range(per_class):
            height, width = rng.integers(20, 300, 2)
            if index == 0:
                height, width = (31, 290) if number else (280, 30)  # longer than 8 : 1
            pixels = rng.integers(0, 140, (height // 4 + 1, width // 4 + 1, 3))
            pixels[..., 2 * number] += 100
            photo = Image.fromarray(pixels.astype(np.uint8)).resize((int(width), int(height)))
            photo.save(folder / name / f"{index:03d}.png")
    return folder
