"""Exports of networks of all kinds, trained for a few steps, agree with their runs on photos of odd sizes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import tl_app
from tests.export.conftest import awaken, make_odd_photos
from tl_app import runs
from tl_app.analysis.answers import answers_of
from tl_app.data.preprocessing import Preprocessing
from tl_app.engine import checkpoints
from tl_app.engine.checkpoints import START
from tl_app.engine.setup import empty_network
from tl_app.runs import ANALYSIS, RunInfo

ALL = {
    "mobilenet_v2": 64,
    "mobilenet_v3_small": 64,
    "resnet18": 64,
    "efficientnet_b0": 64,
    "regnet_y_400mf": 64,
    "densenet121": 64,
    "mnasnet1_0": 64,
    "googlenet": 64,
    "convnext_tiny": 64,
    "vit_b_32": 64,
    "swin_t": 224,
    "maxvit_t": 224,
}


@pytest.fixture(scope="module")
def many_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes with 6 photos to train on and 100 of odd sizes to validate on, each."""
    folder = tmp_path_factory.mktemp("many")
    make_odd_photos(folder / "train", 6)
    make_odd_photos(folder / "val", 100)
    return folder


def agrees(photos: Path, folder: Path, backbone: str, size: int) -> None:
    settings = {"backbone": backbone, "weights": "random", "image_size": size, "precision": "fp32"}
    run = tl_app.train(
        photos, runs_dir=folder, recipe="scratch", epochs=2, batch_size=4, device="cpu", **settings
    )
    info = made_sure(runs.open_run(run.run, folder), sorted(photos.rglob("*.png"))[::3])
    said = answers_of(info).logits.argmax(1)
    assert 0.1 < said.mean() < 0.9, "a network that says the same of all photos proves nothing"
    for row in tl_app.export_run(run.run, ["onnx", "safetensors"]):
        assert row.passed and row.same == row.photos == len(list((photos / "val").rglob("*.png")))
        assert row.max_difference is not None and row.max_difference <= 1e-3
        print(
            f"{backbone} {row.format}: {row.same} of {row.photos}, {row.max_difference:.1e}, {row.accuracy:.1%}"
        )


def made_sure(info: RunInfo, photos: list[Path]) -> RunInfo:
    """A few steps leave a network that says nearly the same of every photo; this one's answers are far apart."""
    network, kept = empty_network(info.config, len(info.classes)), info.path / "checkpoints"
    assert checkpoints.load_best(kept, network)
    awaken(network, Preprocessing.from_dict(info.preprocessing), photos)
    for file in [kept / START, *kept.glob("best-*.safetensors")]:
        checkpoints.save_weights(file, checkpoints.weights(network))
    shutil.rmtree(info.path / ANALYSIS)
    return info


def test_exports_agree_on_photos_of_odd_sizes(tmp_path: Path) -> None:
    """One small network of every day; all the others are the slow test below."""
    make_odd_photos(tmp_path / "few" / "train", 6)
    make_odd_photos(tmp_path / "few" / "val", 20)
    agrees(tmp_path / "few", tmp_path, "shufflenet_v2_x0_5", 64)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("backbone", ALL)
def test_exports_of_twelve_architectures_agree_on_200_photos(
    many_photos: Path, tmp_path: Path, backbone: str
) -> None:
    agrees(many_photos, tmp_path, backbone, ALL[backbone])
