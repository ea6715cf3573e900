from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from tl_app import presets
from tl_app.config import TrainConfig
from tl_app.ui import form, preset_bar, settings
from tl_app.ui.workspace import Workspace


@pytest.fixture
def acts(home: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> preset_bar._Acts:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(home / "page"))
    work = Workspace(home / "runs")
    work.scan(str(photos))
    return preset_bar._Acts(work)


def _parts(outputs: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip(("choice", "note", *settings.PARTS), outputs, strict=True))


def _values(parts: dict[str, Any]) -> dict[str, Any]:
    """What the form would hold afterwards."""
    values = {}
    for name in form.FIELDS:
        given = parts[name]
        if given == gr.skip():
            values[name] = form.shown(TrainConfig())[name]
        else:
            values[name] = given["value"] if isinstance(given, dict) else given
    return values


@pytest.mark.parametrize("key", presets.shipped())
def test_a_preset_that_ships_fills_the_form(acts: preset_bar._Acts, photos: Path, key: str) -> None:
    given = _parts(acts.choose(key, str(photos)))
    assert given["choice"] == key and presets.load(key).name in given["note"]
    assert given["data"] == gr.skip() and given["device"] == gr.skip(), "they belong to this machine"
    assert given["weights"]["value"] in [name for _, name in given["weights"]["choices"]]
    # All of them name the recommended weights, which the list calls `default`.
    assert form.read(_values(given)) == presets.load(key).config(weights="default")
    backbone = presets.load(key).settings["backbone"]
    assert backbone in str(given["backbone"]["choices"])
    assert ("head" in key or "features" in key) == (
        given["freeze"]["value"] == given["freeze"]["maximum"]
    ) or (key == "vgg16-dense")


def test_the_form_is_saved_and_loaded_again(acts: preset_bar._Acts, photos: Path) -> None:
    config = TrainConfig(data=str(photos), device="cpu", backbone="resnet18", recipe="partial", freeze=3)
    file = Path(acts.save("my name", **form.shown(config))["value"])
    assert file.name == "my-name.yaml" and str(photos) not in file.read_text()
    given = _parts(acts.load(str(file), str(photos)))
    assert given["choice"] is None and "my name" in given["note"]
    values = _values(given) | {"data": str(photos), "device": "cpu"}
    assert form.read(values) == config


def test_a_wrong_file_is_a_toast_that_names_it(acts: preset_bar._Acts, photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("settings:\n  recipe: full\n  epoch: 3\n")
    with pytest.raises(gr.Error, match="mine.yaml, line 3: settings: there is no 'epoch'. Did you mean"):
        acts.load(str(file), str(photos))
    file.write_text("name: <b>\nsettings:\n  recipe: full\n  backbone: resnet19\n")
    with pytest.raises(gr.Error, match="resnet19"):
        acts.load(str(file), str(photos))
    file.write_text("settings:\n  recipe: partial\n  backbone: resnet18\n  freeze: 6\n")
    with pytest.raises(gr.Error, match="Freezing depth 6 is too deep for resnet18. It has 5 stages"):
        acts.load(str(file), str(photos))
    file.write_text("settings:\n  recipe: full\n  backbone: resnet18\n  weights: V9\n")
    with pytest.raises(gr.Error, match="V9"):
        acts.load(str(file), str(photos))
    file.write_text("name: <b>bold</b>\nsettings:\n  recipe: full\n")
    assert "<b>bold" not in _parts(acts.load(str(file), str(photos)))["note"]


def test_no_choice_changes_nothing(acts: preset_bar._Acts) -> None:
    given = _parts(acts.choose(None, ""))
    assert all(value == gr.skip() for name, value in given.items() if name != "note")
