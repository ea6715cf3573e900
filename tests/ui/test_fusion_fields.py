"""The two controls of feature fusion on the Train tab."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from tl_app import runs
from tl_app.backbones.catalogue import list_backbones
from tl_app.config import TrainConfig
from tl_app.data.index import scan
from tl_app.ui import form, picker, settings
from tl_app.ui.settings import PARTS, filled
from tl_app.ui.strip import HEAD_FIELDS, stage_count, value_of
from tl_app.ui.workspace import Workspace

THREE = ("linear", 1024, "pool", "", 3, "")
TWO = ("linear", 1024, "pool", "", 1, "resnet18")
PLAIN = ("linear", 1024, "pool", "", 1, "")


@pytest.fixture
def acts(home: Path) -> settings._Acts:
    return settings._Acts(Workspace(home / "runs"))


def test_the_strip_shows_fused_stages_as_one_and_a_larger_head() -> None:
    assert HEAD_FIELDS[-2:] == settings._FUSION
    plain, three, two = (value_of("resnet18", None, 2, head) for head in (PLAIN, THREE, TWO))
    assert [stage["name"] for stage in three["stages"]] == ["stem", "layer1", "layer2 to layer4"]
    assert [stage["name"] for stage in two["stages"]] == ["stem to layer4 + resnet18"]
    heads = [shown["head"]["parameters"] for shown in (plain, three, two)]
    assert heads == ["1,026", "1,794", "2,050"]
    assert "of 22.4 M" in two["summaries"][1] and "of 11.2 M" in plain["summaries"][5]
    assert two["summaries"][1].endswith("The one stage is frozen.")
    assert stage_count("resnet18", THREE) == 3


@pytest.mark.parametrize("second", ["maxvit_t", "resnet19"])
def test_what_cannot_be_fused_is_drawn_without(second: str) -> None:
    head = ("linear", 1024, "pool", "64", 1, second)
    assert value_of("resnet18", None, 2, head) == value_of(
        "resnet18", None, 2, ("linear", 1024, "pool", "64")
    )


def test_another_recipe_turns_fusion_off_and_back_to_the_head_lets_it_be_set(acts: settings._Acts) -> None:
    stages, second, slider, strip = acts.fusion_for("resnet18", "full", 3, "", *THREE)
    assert (stages["value"], stages["interactive"]) == (1, False)
    assert (second["value"], second["interactive"]) == ("", False)
    assert slider["maximum"] == 5 and len(strip["stages"]) == 5
    on = acts.fusion_for("resnet18", "head", 5, "", *PLAIN)
    assert on[0] == on[1] == gr.update(interactive=True) and on[2:] == (gr.skip(), gr.skip())
    off = acts.fusion_for("resnet18", "full", 0, "", *PLAIN)
    assert off[0] == gr.update(interactive=False) and off[2:] == (gr.skip(), gr.skip())


def test_the_strip_of_another_recipe_has_all_stages_at_once(acts: settings._Acts) -> None:
    assert acts.recipe_chosen("resnet18", "full", "default", "", *THREE)[2]["maximum"] == 5
    assert acts.recipe_chosen("resnet18", "head", "default", "", *THREE)[2]["maximum"] == 3
    assert acts.backbone_chosen("resnet18", "partial", "", *THREE)[2]["maximum"] == 5


def test_settings_with_a_fusion_come_back_into_the_form() -> None:
    config = TrainConfig(backbone="resnet18", fuse_stages=2, fuse_backbone="bundled")
    shown: dict[str, Any] = dict(zip(PARTS, filled(config, 2, None), strict=True))
    assert shown["fuse_stages"] == gr.update(value=2, interactive=True)
    assert shown["fuse_backbone"]["value"] == "bundled" and shown["fuse_backbone"]["interactive"]
    assert shown["freeze"]["maximum"] == 1
    full = dict(zip(PARTS, filled(TrainConfig(backbone="resnet18", recipe="full"), 2, None), strict=True))
    assert not full["fuse_stages"]["interactive"] and not full["fuse_backbone"]["interactive"]
    assert form.read(form.shown(config)) == config


def test_any_backbone_may_be_the_second_and_none_comes_first() -> None:
    found = picker.second_backbones()
    assert found[0] == ("None", "") and len(found) == len(list_backbones()) + 1


def test_runs_on_fused_features_are_not_offered_as_weights(home: Path, photos: Path) -> None:
    for name, more in (("plain", {}), ("fused", {"fuse_stages": 2})):
        config = TrainConfig(data=str(photos), backbone="resnet18", **more)  # type: ignore[arg-type]
        path = runs.create_run(
            home / "runs",
            name,
            asked=config,
            config=config,
            preprocessing={},
            stages=[],
            lineage=[],
            index=scan(photos),
        )
        runs.write_status(path, "completed", "", best_epoch=1, val_accuracy=0.5)
    named = [text for text, _ in picker.weights("resnet18", home / "runs")]
    assert any("plain" in text for text in named) and not any("fused" in text for text in named)
