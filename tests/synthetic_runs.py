"""A run folder with made-up answers: as many photos and classes as one wants, without any training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tl_app import runs
from tl_app.analysis import answers as kept
from tl_app.analysis import calibration
from tl_app.analysis.answers import Answers
from tl_app.analysis.labelled import labelled
from tl_app.config import TrainConfig
from tl_app.data.index import DatasetIndex, scan
from tl_app.data.preprocessing import Preprocessing
from tl_app.engine import checkpoints
from tl_app.engine.checkpoints import LAST, START, Position
from tl_app.engine.setup import random_network
from tl_app.runs import RunInfo


def make_run(
    runs_dir: Path, name: str, photos: Path, *, features: int = 16, wrong: float = 0.1, **settings: Any
) -> RunInfo:
    """A finished run on a folder of photos whose network is random and whose answers are made up.

    Args:
        runs_dir: Where to put it.
        name: Of the run.
        photos: A folder per class.
        features: How many each photo has.
        wrong: Share of the answers that are.
        **settings: Others of the run, such as its backbone or head.
    """
    index = scan(photos)
    own = {"backbone": "mobilenet_v3_small", "recipe": "full", "freeze": 0, "epochs": 1, "image_size": 64}
    config = TrainConfig(data=str(photos), weights="random", **(own | settings))
    network = random_network(config, len(index.classes))
    path = runs.create_run(
        runs_dir,
        name,
        asked=config,
        config=config,
        preprocessing=Preprocessing(resize=64, crop=64).to_dict(),
        stages=[stage.name for stage in network.stages],
        lineage=[],
        index=index,
    )
    folder = path / "checkpoints"
    checkpoints.save_weights(folder / START, checkpoints.weights(network))
    checkpoints.save_weights(folder / checkpoints.best_name(1), checkpoints.weights(network))
    position = Position(best_epoch=1, best_accuracy=1 - wrong, best_loss=0.5)
    checkpoints.save_checkpoint(folder / LAST, network, None, position, None, None, {})
    best = {"epochs_done": 1, "best_epoch": 1, "val_accuracy": 1 - wrong, "val_loss": 0.5}
    runs.write_status(path, "completed", "", **best)
    info = runs.open_run(path, runs_dir)
    for split in ("train", "val"):
        _answer(info, index, split, features, wrong)
    return info


def make_many_photos(folder: Path, classes: int, per_class: int, side: int = 72) -> Path:
    """Small photos of noise around a colour of each class, no two alike."""
    rng = np.random.default_rng(0)
    for number in range(classes):
        (folder / f"class {number:04d}").mkdir(parents=True)
        colour = rng.integers(40, 200, 3)
        for index in range(per_class):
            pixels = np.clip(colour + rng.integers(-40, 55, (8, 8, 3)), 0, 255).astype(np.uint8)
            photo = Image.fromarray(pixels).resize((side, side))
            photo.save(folder / f"class {number:04d}" / f"{index:03d}.jpg", quality=70)
    return folder


def _answer(info: RunInfo, index: DatasetIndex, split: str, width: int, wrong: float) -> None:
    model = checkpoints.model_id(info.path / "checkpoints")
    assert model is not None
    (info.path / runs.ANALYSIS).mkdir(exist_ok=True)
    rng = np.random.default_rng(len(split))
    photos, classes = index.used(split), len(index.classes)
    number = {label: place for place, label in enumerate(index.classes)}
    labels = np.array([number[photo.label] for photo in photos], np.int64)
    said = labels.copy()
    amiss = rng.choice(len(labels), max(1, round(wrong * len(labels))), replace=False)
    said[amiss] = (said[amiss] + rng.integers(1, max(2, min(classes, 4)), len(amiss))) % classes
    logits = rng.normal(0, 1, (len(labels), classes)).astype(np.float32)
    logits[np.arange(len(labels)), said] += rng.uniform(4, 9, len(labels)).astype(np.float32)
    centres = np.random.default_rng(0).normal(0, 1, (classes, width))  # the same of every split
    features = (centres[labels] + rng.normal(0, 0.5, (len(labels), width))).astype(np.float16)
    answers = Answers(
        classes=index.classes,
        root=index.root,
        paths=tuple(photo.path for photo in photos),
        contents=tuple(photo.content_hash for photo in photos),
        labels=labels,
        logits=logits,
        features=features,
        split=split,
        left_out={},
        model=model,
    )
    if split == "val":
        calibration.write(info.path / runs.ANALYSIS, calibration.calibrated(model, labels, logits))
    kept._write(info, answers, kept._fingerprint(labelled(info, None, split), model))
