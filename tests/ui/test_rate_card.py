from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from tl_app import finding, runs
from tl_app.config import TrainConfig
from tl_app.errors import UsageError
from tl_app.ui import form, rate_card
from tl_app.ui.aside import Standing
from tl_app.ui.workspace import Workspace

NAMES = ("seen", "clock", "card", "curve", "find", "stop", "use")
CONFIG = TrainConfig(
    backbone="mobilenet_v3_small", weights="random", recipe="full", image_size=32, batch_size=8, device="cpu"
)


@pytest.fixture
def acts(home: Path, photos: Path) -> rate_card.Acts:
    work = Workspace(home / "runs")
    work.scan(str(photos))
    return rate_card.Acts(work)


def _shown(outputs: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip(NAMES, outputs, strict=True))


def _ended(acts: rate_card.Acts) -> dict[str, Any]:
    for _ in range(600):
        if not acts.work.finder.is_under_way:
            return _shown(acts.draw())
        time.sleep(0.1)
    raise AssertionError("the search did not end")


def test_a_search_from_the_form_to_the_field(acts: rate_card.Acts, photos: Path) -> None:
    assert "throw" in _shown(acts.draw())["card"] and not _shown(acts.draw())["use"]["visible"]
    shown = _shown(acts.find(str(photos), **form.shown(CONFIG)))
    assert shown["clock"].active and shown["stop"]["visible"] and not shown["find"]["interactive"]
    with pytest.raises(gr.Error, match="searched for already"):
        acts.find(str(photos), **form.shown(CONFIG))
    shown = _ended(acts)
    assert not shown["clock"].active and shown["find"]["interactive"] and not shown["stop"]["visible"]
    assert shown["curve"]["layout"]["xaxis"]["type"] == "log"
    assert acts.tick(shown["seen"]) == gr.skip() and acts.tick(-1) != gr.skip()
    assert runs.list_runs(acts.work.runs_dir) == []


def test_the_suggestion_goes_into_the_fields_that_need_it(acts: rate_card.Acts) -> None:
    assert acts.use("") == (gr.skip(), gr.skip())
    result = finding.RatesResult("", "b", "full", 0, [1e-3], [1.0], [1.0], 2e-3, 1e-4, True, 40, 1.0)
    acts.work.finder._move(Standing("done", result=result))
    assert _shown(acts.draw())["use"] == gr.update(visible=True, value="Use 0.002")
    assert acts.use("") == ("0.002", gr.skip()), "an empty field follows by itself"
    assert acts.use("0.5") == ("0.002", "0.0001")
    alone = dataclasses.replace(result, recipe="lp-ft", frozen_stages=8, backbone_suggestion=None)
    acts.work.finder._move(Standing("done", result=alone))
    assert acts.use("0.5") == ("0.002", gr.skip()), "nothing was found out about the stages"


def test_it_is_stopped_and_makes_way_for_a_training(acts: rate_card.Acts, photos: Path) -> None:
    acts.find(str(photos), **form.shown(CONFIG))
    acts.stop()
    assert "was stopped" in _ended(acts)["card"]
    acts.find(str(photos), **form.shown(CONFIG))
    config = form.read(form.shown(CONFIG) | {"data": str(photos), "epochs": "1"})
    acts.work.start(config)
    assert not acts.work.finder.is_under_way
    job = acts.work.worker.job
    assert job is not None
    acts.find(str(photos), **form.shown(CONFIG))
    assert job.wait(60) and job.error is None
    _ended(acts)


def test_what_stands_in_the_way_is_said(acts: rate_card.Acts, photos: Path) -> None:
    with pytest.raises(gr.Error, match="No photos are chosen"):
        acts.find("", **form.shown(CONFIG))
    acts.find(
        str(photos), **(form.shown(CONFIG) | {"recipe": "auto", "backbone": "bundled", "weights": "default"})
    )
    assert "chooses its own learning rates" in _ended(acts)["card"]
    with pytest.raises(UsageError, match="epochs is 'x'"):
        form.read(form.shown(CONFIG) | {"epochs": "x"})
