"""Trainings on fused features: kept activations, resuming, prediction, and what does not start from them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

import tl_app
from tests.engine.conftest import Trainer, tensors
from tests.engine.test_activations import losses
from tests.engine.test_train import (  # noqa: F401
    assert_same,
    every_epoch_is_saved,
    scripted,
    train_until,
)
from tl_app import runs
from tl_app.backbones.staged import split
from tl_app.config import TrainConfig
from tl_app.data.index import scan
from tl_app.data.store import PhotoStore, Preprocessing
from tl_app.engine import checkpoints, epoch, setup, source
from tl_app.engine.checkpoints import LAST, START
from tl_app.engine.features import pooled_features
from tl_app.engine.setup import resolve
from tl_app.errors import UsageError
from tl_app.events import Notice
from tl_app.predictor import load_run
from tl_app.reproduce import command_line
from tl_app.ui import picker

TWO: dict[str, Any] = {"backbone": "shufflenet_v2_x0_5", "fuse_backbone": "bundled", "image_size": 64}
TINY: dict[str, Any] = {"weights": "random", "device": "cpu", "batch_size": 8, "epochs": 1, "recipe": "head"}


@pytest.mark.parametrize(
    "settings",
    [
        {"fuse_stages": 3},
        {"fuse_stages": 2, "head": "mlp", "hidden": 8, "optimizer": "sgd"},
        {**TWO, "fuse_stages": 2, "head": "cosine", "ema": 0.9, "batch_size": 10},
    ],
    ids=["stages", "mlp", "two"],
)
def test_resuming_anywhere_ends_with_the_same_bits(
    trainer: Trainer, tmp_path: Path, settings: dict[str, Any]
) -> None:
    settings = {"recipe": "head", "views": 1, **settings}
    list(trainer(tmp_path / "whole", **settings))
    for steps in (0, 3):
        folder = tmp_path / f"stopped-{steps}"
        train_until(trainer, folder, steps, **settings)
        list(trainer(folder, **settings))
        assert_same(tmp_path / "whole", folder)
    saved = tensors(tmp_path / "whole")
    frozen = {name for name in saved if name.startswith(LAST) and ".beside." in name}
    assert not frozen, "the second network is in the start weights alone"
    beside = {name for name in saved if name.startswith(START) and "net.beside.net." in name}
    assert bool(beside) == ("fuse_backbone" in settings)


def test_kept_features_give_the_same_training_to_rounding(trainer: Trainer, tmp_path: Path) -> None:
    settings = {**TWO, "fuse_stages": 2, "recipe": "head", "precision": "fp32", "epochs": 1}
    every_step = list(trainer(tmp_path / "off", cache="off", **settings))
    kept = list(trainer(tmp_path / "on", cache="on", **settings))
    torch.testing.assert_close(losses(kept), losses(every_step), rtol=5e-3, atol=5e-3)
    said = " ".join(event.text for event in kept if isinstance(event, Notice))
    assert "Fused: the features of the last 2 stages of shufflenet_v2_x0_5 and of bundled" in said
    assert "2,496 numbers a photo" in said  # 192 + 1024 + 1280


def test_features_are_kept_for_what_is_fused(
    trainer: Trainer,
    tmp_path: Path,
    computed: list[int],
) -> None:
    settings = {"recipe": "head", "augmentation": "none", "epochs": 1}
    fusions: list[dict[str, Any]] = [{}, {"fuse_stages": 2}, {"fuse_stages": 3}]
    for number, fusion in enumerate([*fusions, *fusions]):
        list(trainer(tmp_path / str(number), **settings, **fusion))
    assert computed == [24, 24, 24, 0, 0, 0]


@pytest.mark.parametrize(
    "settings", [{"backbone": "mobilenet_v3_small", "image_size": 32, "fuse_stages": 3}, TWO]
)
def test_a_run_predicts_what_it_was_validated_with(photos: Path, settings: dict[str, Any]) -> None:
    result = tl_app.train(photos, name="fused", precision="fp32", **{**TINY, **settings})
    assert tl_app.evaluate("fused").accuracy == result.val_accuracy
    info = runs.open_run("fused", Path(result.run).parent)
    index, preprocessing = scan(photos), Preprocessing.from_dict(info.preprocessing)
    store = PhotoStore(index.root, preprocessing)
    images = torch.stack([preprocessing.center(store.get(p.path)) for p in index.used("val")])
    network = setup.empty_network(info.config, 2).eval()
    checkpoints.load_best(info.path / "checkpoints", network)
    with torch.no_grad():
        prefix, head = split(network, len(network.stages))
        expected = head(prefix(preprocessing.normalise(images)))
    torch.testing.assert_close(load_run(info).logits(images), expected, atol=1e-5, rtol=1e-4)
    assert info.stages == tuple(stage.name for stage in network.stages)
    line = command_line(info.asked)
    assert all(f"--{name.replace('_', '-')} {settings[name]}" in line for name in settings if "fuse" in name)
    if settings == TWO:
        return
    again = tl_app.extend("fused", epochs=1, unfreeze=1)
    assert again.state == "completed" and again.trainable_parameters > result.trainable_parameters


def test_two_networks_have_no_places_to_explain(photos: Path) -> None:
    tl_app.train(photos, name="fused", **{**TINY, **TWO})
    with pytest.raises(UsageError, match="as when two networks are fused"):
        tl_app.explain("fused", next(photos.rglob("*.png")))


def test_no_run_starts_from_fused_features(photos: Path) -> None:
    settings = {**TINY, "backbone": "mobilenet_v3_small", "image_size": 32}
    tl_app.train(photos, name="fused", fuse_stages=2, **settings)
    with pytest.raises(
        UsageError, match="'fused' trained a head on fused features.*weights 'random' instead"
    ):
        tl_app.train(photos, weights="run:fused", freeze="head", device="cpu")


@pytest.mark.parametrize("fusion", [{"fuse_stages": 2, "image_size": 64}, TWO], ids=["stages", "two"])
def test_stages_that_were_unfrozen_are_a_source(
    photos: Path, home: Path, monkeypatch: pytest.MonkeyPatch, fusion: dict[str, Any]
) -> None:
    """Of the first network alone: a second one, and the head on both, stay behind."""
    backbone = fusion.get("backbone", "shufflenet_v2_x0_5")
    monkeypatch.setattr(epoch, "evaluate", scripted([(0.5, 0.9), (0.4, 0.9), (0.9, 0.4), (0.5, 0.5)]))
    tl_app.train(photos, name="fused", **{**TINY, **fusion, "backbone": backbone})
    tl_app.extend("fused", epochs=1, unfreeze=1, lr=0.01, lr_backbone=0.01)
    listed = lambda: [value for _, value in picker._run_texts(backbone, home / "runs")]  # noqa: E731
    with pytest.raises(UsageError, match="its stages are those that it started from"):
        tl_app.train(photos, weights="run:fused", freeze="head", device="cpu")  # the best is the head's
    assert not listed()
    tl_app.extend("fused", epochs=1)
    info = runs.open_run("fused", home / "runs")
    assert info.best_epoch == 3 and listed() == [f"run:{info.path}"]
    result = tl_app.train(photos, name="target", weights="run:fused", freeze="head", epochs=1, device="cpu")
    own = checkpoints.read_weights(Path(info.path) / "checkpoints" / checkpoints.best_name(3))
    started = checkpoints.read_weights(Path(result.run) / "checkpoints" / START)
    moved = {name for name in own.keys() & started.keys() if "num_batches" not in name and ".fc." not in name}
    assert moved and all(torch.equal(own[name], started[name]) for name in moved)
    assert not [name for name in started if ".beside." in name]
    with pytest.raises(UsageError, match="'fused' reads fused features, and its answers cannot be imitated"):
        source.named(f"run:{info.path}").check_answers(info.classes, 64)


def test_the_probe_sees_the_backbone_as_it_is(photos: Path) -> None:
    config = TrainConfig(
        data=str(photos), backbone="shufflenet_v2_x0_5", weights="random", image_size=32, fuse_stages=3
    )
    steps = pooled_features(config, scan(photos), lambda: False)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            assert end.value.train.shape == (20, 1024)
            return


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"recipe": "full", "fuse_stages": 2},
            "of 2 stages are fused .* but recipe 'full'.*recipe 'head' only",
        ),
        ({"recipe": "lp-ft", "fuse_backbone": "resnet18"}, "of a second backbone .resnet18. are fused"),
        ({"fuse_stages": 2, "head": "mlp", "pooling": "flatten"}, "but pooling 'flatten' was asked for"),
        ({"fuse_stages": 0}, "fuse_stages is 0. Allowed: from 1 to 16"),
        ({"fuse_stages": 10}, "10 stages cannot be fused: bundled has 9"),
        ({"fuse_backbone": "resnet19"}, "There is no backbone 'resnet19'"),
        ({"fuse_backbone": "bundled"}, "second backbone is bundled.*and so is the first"),
        ({"fuse_backbone": "maxvit_t", "image_size": 64}, "Image size 64 does not go with maxvit_t"),
    ],
)
def test_what_cannot_be_fused_says_so(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve(dataclasses.replace(TrainConfig(backbone="bundled"), **settings), 100)
