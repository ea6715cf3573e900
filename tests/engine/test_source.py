from __future__ import annotations

from pathlib import Path

import pytest
import torch

import tl_app
from tl_app import runs
from tl_app.backbones.staged import build
from tl_app.config import TrainConfig
from tl_app.engine import source
from tl_app.errors import UsageError

TINY = {"backbone": "shufflenet_v2_x0_5", "image_size": 32, "epochs": 1, "device": "cpu", "batch_size": 8}


@pytest.fixture
def made(photos: Path) -> tl_app.TrainResult:
    """A source model, trained for one epoch."""
    return tl_app.pretrain(photos, name="source", **TINY)


def test_a_run_is_where_another_begins(made: tl_app.TrainResult, photos: Path) -> None:
    assert made.lineage == ["photos"] and made.shared_layers == [] and made.task_layers[-1] == "head"
    result = tl_app.train(photos, weights="run:source", name="target", epochs=1, freeze="head", device="cpu")
    assert result.backbone == "shufflenet_v2_x0_5", "the run's, when none is named"
    assert result.lineage == ["photos", "photos"]
    assert result.task_layers == ["head"] and len(result.shared_layers) == result.frozen_stages
    info = runs.open_run("target", Path(made.run).parent)
    assert info.config.image_size == 32, "what the source was made for"
    first, second = (tl_app.load_predictor(name).network for name in ("source", "target"))
    for stage, other in zip(first.stages, second.stages, strict=True):
        for one, two in zip(stage.module.parameters(), other.module.parameters(), strict=True):
            torch.testing.assert_close(one, two)
    third = tl_app.train(photos, weights="run:target", name="third", epochs=1, freeze="head", device="cpu")
    assert third.lineage == ["photos"] * 3


def test_the_start_may_be_an_average(made: tl_app.TrainResult, photos: Path) -> None:
    for alpha in (0.0, 1.0):
        config = TrainConfig(weights=f"run:{made.run}", start="average", alpha=alpha, recipe="full", **TINY)  # type: ignore[arg-type]
        network = _started(config)
        own = tl_app.load_predictor("source").network
        same = all(
            torch.equal(one, two)
            for one, two in zip(
                network.stages[0].module.parameters(), own.stages[0].module.parameters(), strict=True
            )
        )
        assert same == (alpha == 1.0)
    result = tl_app.train(
        photos, weights="run:source", start="average", freeze="none", epochs=1, device="cpu"
    )
    assert result.state == "completed"
    info = runs.open_run(result.run, Path())
    assert info.config.batchnorm == "adapt", "averaged statistics are those of no photos"


def test_from_scratch_shares_nothing(made: tl_app.TrainResult, photos: Path) -> None:
    config = TrainConfig(start="scratch", recipe="full", **TINY)  # type: ignore[arg-type]
    assert source.source_of(config) is None
    result = tl_app.train(photos, start="scratch", freeze="none", **TINY)
    assert result.shared_layers == [] and result.lineage == ["photos"]


def _started(config: TrainConfig) -> torch.nn.Module:
    from tl_app.engine import setup

    filled, _ = setup.resolve(config, 20)
    steps = setup.start_network(filled, 2, lambda: False)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def test_what_cannot_be_a_source_is_refused(made: tl_app.TrainResult, photos: Path) -> None:
    with pytest.raises(UsageError, match="no run 'nothing'"):
        tl_app.train(photos, weights="run:nothing")
    with pytest.raises(UsageError, match="holds weights of shufflenet_v2_x0_5, not of resnet18"):
        tl_app.train(photos, weights="run:source", backbone="resnet18")
    with pytest.raises(UsageError, match="names no network with weights"):
        source.named("resnet18")
    with pytest.raises(UsageError, match="names no network with weights"):
        source.named("backbone:resnet18:random")
    with pytest.raises(UsageError, match="trained as a whole"):
        TrainConfig(teacher="backbone:resnet18", recipe="head")
    with pytest.raises(UsageError, match="needs pretrained weights to average"):
        TrainConfig(start="average", recipe="scratch")


def test_a_teacher_may_be_a_run(made: tl_app.TrainResult, photos: Path) -> None:
    result = tl_app.pretrain(photos, teacher="run:source", name="pupil", **TINY)
    assert result.state == "completed" and result.lineage == ["photos"]


def test_names(pretrained: Path) -> None:
    found = source.named("backbone:mobilenet_v2")
    assert (found.backbone, found.lineage, found.is_on_disk) == ("mobilenet_v2", ("ImageNet-1K",), True)
    assert source.named("backbone:resnet18:IMAGENET1K_V1").name == "IMAGENET1K_V1"
    assert build("mobilenet_v2").name == found.network(64).name
