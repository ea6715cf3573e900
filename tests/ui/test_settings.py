from __future__ import annotations

import shutil
from pathlib import Path

import gradio as gr
import pytest

from tl_app import runs
from tl_app.backbones.catalogue import TIERS, list_backbones
from tl_app.config import TrainConfig
from tl_app.data.index import scan
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


def _restored(work: Workspace, source: str = "") -> dict[str, object]:
    """What a page that was just opened is given, by part."""
    return dict(
        zip(["group", "facts", "strip", *form.FIELDS], settings._Acts(work).restore(source), strict=True)
    )


def test_a_page_opened_early_is_given_what_waited_for_the_catalogue(home: Path, photos: Path) -> None:
    work = Workspace(home / "runs")
    work.scan(str(photos))
    given = _restored(work, str(photos))
    assert given["data"] == str(photos)
    assert len(given["backbone"]["choices"]) == len(list_backbones())  # type: ignore[index]
    assert given["strip"]["head"]["parameters"] == "2,562"  # type: ignore[index]
    assert given["strip"]["depth"] is None  # type: ignore[index]
    assert "value" not in given["backbone"]  # type: ignore[operator]
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
    assert _restored(work, source="")["strip"]["head"]["parameters"] == "6,405"  # type: ignore[index]


def test_a_page_opened_during_a_run_shows_its_settings(home: Path, photos: Path) -> None:
    class Running:
        path, name, is_alive = home / "runs" / "one", "one", True

    config = TrainConfig(data=str(photos), backbone="resnet18", recipe="scratch", epochs=7)
    runs.create_run(
        home / "runs", "one", asked=config, config=config, preprocessing={}, stages=[], index=scan(photos)
    )
    work = Workspace(home / "runs")
    work.worker.job = Running()  # type: ignore[assignment]
    given = _restored(work)
    assert given["epochs"] == "7" and given["recipe"] == "scratch"
    assert given["freeze"]["maximum"] == 5 and given["freeze"]["value"] == 0  # type: ignore[index]
    assert given["weights"]["interactive"] is False, "from scratch there are none to choose"  # type: ignore[index]
