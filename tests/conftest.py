"""Shared by all tests: an own home folder per test, small photo folders, and the measurement data when it is there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

SHARED = Path(__file__).resolve().parents[2] / "shared"

# Tests run in two processes on two cores; the processes that they start must not want both for themselves.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Runs, caches and locks go to a folder of the test's own, also after a test's `monkeypatch.undo()`."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TL_APP_HOME", str(folder))
        yield folder
    shutil.rmtree(folder, ignore_errors=True)  # pytest itself keeps it to the end of the session


@pytest.fixture(scope="session")
def shared() -> Path:
    """The measurement photos and weights beside the checkout."""
    if not SHARED.is_dir():
        if os.environ.get("CI"):
            pytest.fail("CI must have the measurement data beside the checkout")
        pytest.skip("the measurement photos and weights are not beside the checkout")
    return SHARED


@pytest.fixture
def pretrained(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``TORCH_HOME`` with a real pretrained mobilenet_v2."""
    monkeypatch.setenv("TORCH_HOME", str(shared / "weights"))
    return shared / "weights"


@pytest.fixture
def hymenoptera(shared: Path) -> Path:
    """Photos of ants and bees in train and val folders."""
    return shared / "data" / "hymenoptera"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes that a network can tell apart: reddish and bluish noise, 12 photos of 40 px each."""
    return make_photos(tmp_path / "photos")


def make_photos(folder: Path, per_class: int = 12, side: int = 40) -> Path:
    """Writes ``red`` and ``blue`` class folders of noisy photos."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(("red", "blue")):
        (folder / name).mkdir(parents=True)
        for index in range(per_class):
            pixels = rng.integers(0, 120, (side, side, 3))
            pixels[..., 2 * number] += 120
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{index:02d}.png")
    return folder
