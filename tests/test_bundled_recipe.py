"""The script that makes the bundled backbone, on two dozen photos."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file

from tl_app import resources, runs
from tl_app.backbones.bundled import Card

SCRIPT = Path(__file__).resolve().parents[1] / "assets" / "bundled" / "make.py"


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script with small settings, which writes elsewhere."""
    spec = importlib.util.spec_from_file_location("make_bundled", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    here = tmp_path / "shipped"
    here.mkdir()
    small = {"backbone": module.ARCHITECTURE, "image_size": 32, "epochs": 1, "device": "cpu"}
    monkeypatch.setattr(module, "HERE", here)
    monkeypatch.setattr(module, "SETTINGS", small)
    return module


def test_it_makes_what_ships_and_goes_on_where_it_was(
    make: ModuleType, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["make.py", str(photos)])
    make.main()
    card = json.loads((make.HERE / "card.json").read_text())
    known = Card(**card)
    assert (
        known.categories == ["blue", "red"]
        and known.stages == 9
        and known.preprocessing["crop"] == make.INPUT
    )  # type: ignore[comparison-overlap]
    assert card["figures"]["source_images"] == 4 and card["figures"]["epochs"] == 1
    state = load_file(make.HERE / "weights.safetensors")
    assert state["classifier.1.weight"].shape[0] == 2 and state["features.0.0.weight"].dtype == torch.float16
    assert state["features.0.1.running_var"].dtype == torch.float32, "which half precision may not hold"
    before = runs.open_run(make.NAME, resources.runs_dir()).seconds
    make.main()  # complete: found, not trained again
    assert runs.open_run(make.NAME, resources.runs_dir()).seconds == before
    assert len(runs.list_runs(resources.runs_dir())) == 1


def test_the_settings_are_those_of_the_config(make: ModuleType) -> None:
    from tl_app.config import TrainConfig

    spec = importlib.util.spec_from_file_location("fresh", SCRIPT)
    assert spec is not None and spec.loader is not None
    fresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fresh)
    config = TrainConfig(recipe="pretrain", **fresh.SETTINGS)
    assert config.is_random and config.teacher == "backbone:mobilenet_v2"
