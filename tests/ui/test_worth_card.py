from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from tl_app import runs
from tl_app.config import TrainConfig
from tl_app.locks import DeviceLock
from tl_app.ui import form, worth_card
from tl_app.ui.workspace import Workspace

NAMES = ("seen", "clock", "go", "stop", "card", "chart", "table")
CONFIG = TrainConfig(backbone="bundled", image_size=64, batch_size=8, device="cpu")
FORM = {name: value for name, value in form.shown(CONFIG).items() if name in worth_card.KEPT}


@pytest.fixture
def acts(home: Path, photos: Path) -> worth_card.Acts:
    work = Workspace(home / "runs")
    work.scan(str(photos))
    return worth_card.Acts(work)


def _shown(outputs: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip(NAMES, outputs, strict=True))


def _ended(acts: worth_card.Acts) -> dict[str, Any]:
    for _ in range(600):
        if not acts.work.weigher.is_under_way:
            return _shown(acts.draw())
        time.sleep(0.1)
    raise AssertionError("the study did not end")


def test_a_study_from_the_button_to_the_chart(acts: worth_card.Acts, photos: Path) -> None:
    before = _shown(acts.draw())
    assert before["card"] == before["table"] == "" and before["chart"] is None and not before["clock"].active
    begun = _shown(acts.go(str(photos), [50], 1, **FORM))
    assert begun["clock"].active and begun["stop"]["visible"] and not begun["go"]["interactive"]
    with pytest.raises(gr.Error, match="A study is under way"):
        acts.go(str(photos), [50], 1, **FORM)
    ended = _ended(acts)
    assert not ended["clock"].active and ended["go"] == gr.update(interactive=True, value="Find out")
    assert [trace["name"] for trace in ended["chart"]["data"]] == list(worth_card.RECIPES.values())
    assert (
        ended["table"].count('class="tl-row"') == 4 and "1 epoch each, 4 validation photos" in ended["table"]
    )
    assert "Transfer" in ended["card"] or "transfer" in ended["card"]
    assert acts.tick(ended["seen"]) == gr.skip() and acts.tick(-1) != gr.skip()
    assert runs.list_runs(acts.work.runs_dir) == [], "no run of a study is in the list"


def test_it_makes_way_for_a_training_and_goes_on_later(acts: worth_card.Acts, photos: Path) -> None:
    acts.go(str(photos), [50, 100], 3, **FORM)
    config = form.read(form.shown(CONFIG) | {"data": str(photos), "epochs": "1"})
    acts.work.start(config)
    shown = _shown(acts.draw())
    assert "The study was stopped" in shown["card"] and shown["go"]["value"] == "Go on"
    job = acts.work.worker.job
    assert job is not None and job.wait(60) and job.error is None
    acts.go(str(photos), [50, 100], 3, **FORM)
    acts.stop()
    assert "The study was stopped" in _ended(acts)["card"]


def test_a_busy_device_is_named(acts: worth_card.Acts, photos: Path) -> None:
    with DeviceLock("cpu") as lock:
        lock.keep("another")
        try:
            acts.go(str(photos), [50], 1, **FORM)
            shown = _ended(acts)
        finally:
            lock.release()
    assert "&#x27;another&#x27; is being trained on cpu" in shown["card"] and "tl-error" in shown["card"]
    assert shown["go"]["value"] == "Go on"


def test_what_stands_in_the_way_is_said(acts: worth_card.Acts, photos: Path) -> None:
    with pytest.raises(gr.Error, match="No photos are chosen"):
        acts.go("", [50], 1, **FORM)
    with pytest.raises(gr.Error, match="no whole number"):
        acts.go(str(photos), [50], None, **FORM)
    with pytest.raises(gr.Error, match="Shares are none"):
        acts.go(str(photos), [], 1, **FORM)
