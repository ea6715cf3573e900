from __future__ import annotations

import shutil
from pathlib import Path

import gradio as gr
import pytest

import tl_app
from tl_app import blending, runs
from tl_app.data.index import DatasetIndex
from tl_app.transfer.recipes import Phase
from tl_app.ui import blend_panel
from tl_app.ui.workspace import Workspace


@pytest.fixture
def acts(home: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> blend_panel.Acts:
    """With a run named ``tuned`` that has a probe, and one named ``plain`` that has none."""
    monkeypatch.setattr(gr, "Info", lambda text: None)
    for name, phases in (
        ("tuned", [Phase(1, 9, 2e-4, 1e-5), Phase(1, 7, 2e-4, 1e-4)]),
        ("plain", [Phase(1, 9, 2e-4, 1e-5)]),
    ):
        monkeypatch.setattr("tl_app.transfer.extensions.plan", lambda *_, found=phases: found)
        settings = {"backbone": "bundled", "recipe": "full", "image_size": 64, "epochs": 2}
        tl_app.train(photos, name=name, runs_dir=home / "runs", **settings)  # type: ignore[arg-type]
    return blend_panel.Acts(Workspace(home / "runs"))


def test_the_slider_from_opening_to_keeping(acts: blend_panel.Acts, home: Path) -> None:
    assert acts.opened("")[0]["visible"] is acts.opened("plain")[0]["visible"] is False
    panel, measure, row, *_ = acts.opened("tuned")
    assert (panel["visible"], measure["visible"], row["visible"]) == (True, True, False)

    _, measure, row, alpha, here, table = acts.measure("tuned")
    assert (measure["visible"], row["visible"]) == (False, True) and alpha in blending.ALPHAS
    assert "4 validation photos" in here and "optimistic" in table and table.count("(best)") == 1

    assert "about" in acts.moved("tuned", 0.6) and "about" not in acts.moved("tuned", 0.75)
    *_, alpha, here, table = acts.released("tuned", 0.6)
    assert alpha == 0.6 and "about" not in here and ">0.6<" in table
    assert "about" not in acts.moved("tuned", 0.6), "measured now"
    assert acts.opened("tuned")[2]["visible"] is True, "found again by whoever opens the run next"

    assert "Kept as run tuned blend 0.6" in acts.keep("tuned", 0.6)
    assert runs.open_run("tuned blend 0.6", home / "runs").blended == ("tuned", 0.6)
    assert acts.opened("tuned blend 0.6")[0]["visible"] is False


def test_photos_that_are_gone(
    acts: blend_panel.Acts, home: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acts.measure("tuned")
    said: list[str] = []
    monkeypatch.setattr(gr, "Warning", said.append)
    info = runs.open_run("tuned", home / "runs")
    (photos / DatasetIndex.read_manifest(info.path / "manifest.csv").used("val")[0].path).unlink()
    shutil.rmtree(home / "cache")
    *_, alpha, here, table = acts.released("tuned", 0.6)
    assert alpha == 0.6 and "3 validation photos" in here and ">0.25<" in table
    assert said == [
        "The validation photos are not those that the blends were measured on, so all were measured again, "
        "on 3 photos; 1 more cannot be read any more."
    ]
    (info.path / "blend.safetensors").unlink()
    *_, here, table = acts.released("tuned", 0.6)
    assert "about" not in here and ">0.25<" in table and len(said) == 1
    monkeypatch.setattr(
        blend_panel.Acts, "_known", lambda *_: None
    )  # as when the run is trained further just now
    assert acts.released("tuned", 0.7)[1]["visible"] is True


def test_a_run_that_is_gone_is_a_toast(acts: blend_panel.Acts) -> None:
    with pytest.raises(gr.Error, match="There is no run 'gone'"):
        acts.measure("gone")
