from __future__ import annotations

import dataclasses
from pathlib import Path

import gradio as gr
import pytest

from tl_app import history, runs
from tl_app.config import TrainConfig
from tl_app.data.index import scan
from tl_app.errors import UsageError
from tl_app.events import EpochDone
from tl_app.snapshot import snapshot_of
from tl_app.ui import diagnosis_card, form, settings
from tl_app.ui.workspace import Workspace


@pytest.fixture
def work(home: Path) -> Workspace:
    return Workspace(home / "runs")


@pytest.fixture
def run(home: Path, photos: Path) -> runs.RunInfo:
    """A run that learned next to nothing in its three epochs."""
    config = TrainConfig(data=str(photos), backbone="resnet18", recipe="partial", freeze=2, epochs=3)
    path = runs.create_run(
        home / "runs",
        "weak",
        asked=config,
        config=dataclasses.replace(config, lr_head=1e-3, lr_backbone=1e-4),
        preprocessing={},
        stages=["a", "b", "c"],
        lineage=[],
        index=scan(photos),
    )
    with open(path / history.NAME, "a+b") as file:
        for epoch in (1, 2, 3):
            history.append(file, EpochDone(epoch, epoch, 0.7, 0.5, 0.7, 0.5, epoch == 1, 1.0, 9.0, 1))
    runs.write_status(path, "completed", "", epochs_done=3, best_epoch=1)
    return runs.open_run(path, home / "runs")


def test_the_card_has_a_sentence_and_a_button_per_finding(run: runs.RunInfo) -> None:
    card = diagnosis_card.card(run, snapshot_of(run))
    assert "Underfitting: only 50.0 %" in card and 'data-name="underfitting"' in card
    assert "Train twice as long →" in card and "tl-error" in card
    assert diagnosis_card.card(run, dataclasses.replace(snapshot_of(run), epoch_rows=[])) == ""


def test_a_remedy_fills_the_form_with_the_runs_settings(
    run: runs.RunInfo, work: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(gr, "Info", said.append)
    filled = dict(zip(settings.PARTS, diagnosis_card.fill(work, run.name, "underfitting", ""), strict=True))
    assert filled["epochs"] == "6" and filled["recipe"] == "partial"
    assert filled["freeze"]["value"] == 2 and filled["backbone"]["value"] == "resnet18"
    assert filled["data"] == gr.skip() and filled["device"] == gr.skip(), "the photos are chosen elsewhere"
    assert "choose them on the Data tab" in said[0]
    diagnosis_card.fill(work, run.name, "underfitting", run.config.data)
    assert len(said) == 1
    assert set(form.FIELDS) <= set(filled)


def test_a_finding_that_is_gone_says_so(run: runs.RunInfo, work: Workspace) -> None:
    with pytest.raises(UsageError, match="Nothing is suggested for 'unbalanced'"):
        diagnosis_card.fill(work, run.name, "unbalanced", "")
