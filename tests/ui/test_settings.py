from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from tl_app import loading, runs
from tl_app.backbones.bundled import default_backbone
from tl_app.backbones.catalogue import TIERS, list_backbones
from tl_app.backbones.staged import build
from tl_app.config import TrainConfig
from tl_app.data.index import DatasetIndex, scan
from tl_app.ui import form, picker, settings
from tl_app.ui.workspace import Workspace


def test_the_list_holds_every_backbone_in_its_group() -> None:
    everything = [name for _, name in picker.backbones()]
    assert sorted(everything) == sorted(spec.name for spec in list_backbones())
    grouped = [name for tier in TIERS for _, name in picker.backbones(tier)]
    assert grouped == everything
    assert [name for _, name in picker.GROUPS] == ["all", *TIERS]


@pytest.mark.parametrize("typed", ["ResNet-18", "resnet18", "ConvNeXt", "vit_b_16"])
def test_the_list_is_found_by_label_and_by_name(typed: str) -> None:
    assert [text for text, _ in picker.backbones() if typed.lower() in text.lower()]


def _restored(work: Workspace, source: str = "") -> dict[str, Any]:
    """What a page that was just opened is given, by part."""
    return dict(
        zip(["group", "facts", "strip", *form.FIELDS], settings._Acts(work).restore(source), strict=True)
    )


def _head_parameters(classes: int) -> str:
    width = next(build(default_backbone()).classifier.parameters()).shape[1]
    return f"{classes * (width + 1):,}"


def test_a_page_opened_early_is_given_what_waited_for_the_catalogue(home: Path, photos: Path) -> None:
    work = Workspace(home / "runs")
    work.scan(str(photos))
    given = _restored(work, str(photos))
    assert given["data"] == str(photos)
    assert len(given["backbone"]["choices"]) == len(list_backbones())
    assert given["strip"]["head"]["parameters"] == _head_parameters(2)
    assert given["strip"]["depth"] is None
    assert "value" not in given["backbone"]
    for name in ("epochs", "recipe", "freeze"):
        assert given[name] == gr.skip(), "what a person chose meanwhile stays"


def test_photos_chosen_while_the_catalogue_was_loading_stay(home: Path, photos: Path) -> None:
    work = Workspace(home / "runs")
    work.scan(str(photos))
    given = _restored(work, source="")  # as it was when the page was opened
    assert given["data"] == gr.skip()
    for number in range(3):
        shutil.copytree(photos / "red", photos / f"other {number}")
    work.scan(str(photos))
    assert _restored(work, source="")["strip"]["head"]["parameters"] == _head_parameters(5)


def test_the_head_is_that_of_the_photos_there_are_when_the_catalogue_is_loaded(
    home: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        shutil.copytree(photos / "red", photos / f"other {number}")
    work = Workspace(home / "runs")

    def choose_photos() -> None:
        if work.last_dataset() is None:
            work.scan(str(photos))

    # While the page's first question waits for the catalogue.
    monkeypatch.setattr(loading, "wait", choose_photos)
    assert _restored(work, source="")["strip"]["head"]["parameters"] == _head_parameters(5)


def test_a_page_opened_during_a_run_shows_its_settings(home: Path, photos: Path) -> None:
    class Running:
        path, name, is_alive = home / "runs" / "one", "one", True

    config = TrainConfig(data=str(photos), backbone="resnet18", recipe="scratch", epochs=7)
    made_run(home / "runs", "one", config, scan(photos))
    work = Workspace(home / "runs")
    work.worker.job = Running()  # type: ignore[assignment]
    given = _restored(work)
    assert given["epochs"] == "7" and given["recipe"] == "scratch"
    assert given["freeze"]["maximum"] == 5 and given["freeze"]["value"] == 0
    assert given["weights"]["interactive"] is False, "from scratch there are none to choose"


def test_runs_can_be_started_from(home: Path, photos: Path) -> None:
    config = TrainConfig(data=str(photos), backbone="resnet18", recipe="pretrain", epochs=1)
    path = made_run(home / "runs", "mine", config, scan(photos))
    assert not any("mine" in text for text, _ in picker.weights("resnet18", home / "runs")), (
        "no epoch is done"
    )
    runs.write_status(path, "completed", "", best_epoch=1, val_accuracy=0.5)
    assert (f"Source model mine · {photos.name}", f"run:{path}") in picker.weights("resnet18", home / "runs")
    assert not any("mine" in text for text, _ in picker.weights("resnet34", home / "runs"))
    facts = picker.facts("resnet18", f"run:{path}")
    assert "of your own run" in facts and photos.name in facts
    runs.delete_run(runs.open_run(path, home))
    assert "of your own run" in picker.facts("resnet18", f"run:{path}"), "until the list has changed"


@pytest.mark.parametrize("name", ["alpha", "layer_decay", "l2_sp", "feature_distance", "bss"])
def test_a_slider_gives_every_value_that_is_allowed(name: str) -> None:
    slider, meta = settings._advanced(name), form.FIELDS[name].metadata
    assert isinstance(slider, gr.Slider)
    assert (slider.minimum, slider.maximum) == (meta["low"], meta["high"])
    assert slider.value == form.FIELDS[name].default
    ticks = (slider.maximum - slider.minimum) / slider.step
    assert ticks == pytest.approx(round(ticks)) and 10 < ticks <= 100
    for value in (slider.minimum, slider.maximum, 1):  # a slider at a whole number gives one
        assert getattr(form.read({name: value}), name) == value


def made_run(folder: Path, name: str, config: TrainConfig, index: DatasetIndex) -> Path:
    return runs.create_run(
        folder, name, asked=config, config=config, preprocessing={}, stages=[], lineage=[], index=index
    )
