from __future__ import annotations

from pathlib import Path

import gradio as gr
import pytest

from tl_app import presets, runs
from tl_app.config import TrainConfig
from tl_app.data.index import scan
from tl_app.errors import UsageError
from tl_app.ui import runs_tab
from tl_app.ui.workspace import Workspace


@pytest.fixture
def acts(home: Path, monkeypatch: pytest.MonkeyPatch) -> runs_tab._Acts:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(home / "page"))
    return runs_tab._Acts(Workspace(home / "runs"))


@pytest.fixture
def run(home: Path, photos: Path) -> str:
    config = TrainConfig(data=str(photos), backbone="resnet18", recipe="partial", freeze=2)
    path = runs.create_run(
        home / "runs",
        "red and blue",
        asked=config,
        config=config,
        preprocessing={},
        stages=["a", "b"],
        lineage=[],
        index=scan(photos),
    )
    runs.write_status(path, "interrupted", "")
    return path.name


def test_runs_are_listed_with_what_matters(acts: runs_tab._Acts, run: str):
    table, choice, compared = acts.refresh("")
    for text in (run, "interrupted", "resnet18", "Partial, depth 2", "photos"):
        assert text in table
    assert choice["choices"] == compared["choices"] == [run]
    assert acts.refresh("", [run, "gone"])[2]["value"] == [run]


def test_without_runs_the_tab_says_what_they_are(acts: runs_tab._Acts):
    assert "No runs yet" in acts.refresh("")[0]


def test_an_opened_run_shows_its_settings_and_its_command(acts: runs_tab._Acts, run: str, home: Path):
    opened = acts.open(run)
    assert opened[0] == run
    assert opened[2]["interactive"] is False, "no finished epoch, nothing to try"
    assert opened[3]["interactive"] is True, "it can be resumed"
    csv = Path(opened[4]["value"])
    assert csv.is_relative_to(home / "page") and csv.read_text().startswith("kind,")
    preset, script = (Path(opened[place]["value"]) for place in (5, 6))
    assert presets.read(preset).settings["freeze"] == 2 and preset.name == "red-and-blue.yaml"
    command, python, settings = opened[-3:]
    assert script.read_text() == python and script.suffix == ".py"
    assert command.startswith("tl-app train") and "--freeze 2" in command
    assert "tl_app.train(" in python
    assert "Freezing depth" in settings


def test_deleting_takes_two_steps(
    acts: runs_tab._Acts, run: str, home: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(gr, "Info", lambda text: None)
    delete, confirm, question = acts.ask(run)
    assert confirm["visible"] is True and run in question["value"]
    assert (home / "runs" / run).is_dir(), "asking deletes nothing"
    acts.keep()
    assert (home / "runs" / run).is_dir()
    table, *_ = acts.delete(run)
    assert not (home / "runs" / run).exists() and "No runs yet" in table


def test_a_run_that_is_gone_is_a_toast(acts: runs_tab._Acts):
    with pytest.raises(gr.Error, match="There is no run 'gone'"):
        acts.open("gone")
    with pytest.raises(UsageError, match="Click a row"):
        runs_tab.checked("")


def test_a_complete_run_can_be_extended_and_says_by_what(acts: runs_tab._Acts, run: str, home: Path):
    assert acts.open(run)[9]["visible"] is False, "an interrupted one is resumed"
    path = home / "runs" / run
    runs.write_status(path, "completed", "", epochs_done=3)
    phase = {"epochs": 3, "frozen_stages": 1, "lr_head": 0.001, "lr_backbone": 0.001}
    runs.write_extensions(path, [{"after": 2, "begun": 1, "unfrozen": 1, "phase": phase}])
    opened = acts.open(run)
    assert opened[9]["visible"] is True and opened[10]["interactive"] is True
    command, python, settings = opened[-3:]
    assert "tl-app extend 'red and blue-again' --epochs 3" in command
    assert "tl_app.extend(result.run, epochs=3" in python
    assert "Goes on after epoch 2: 3 more epochs with b unfrozen as well" in settings
