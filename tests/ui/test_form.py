from __future__ import annotations

import dataclasses

import gradio as gr
import pytest

from tl_app.config import TrainConfig
from tl_app.errors import UsageError
from tl_app.ui import form
from tl_app.ui.app import create_app

NAMES = [spec.name for spec in dataclasses.fields(TrainConfig)]


def _values(**changes: object) -> dict[str, object]:
    return form.shown(TrainConfig()) | changes


def test_the_page_has_a_control_for_every_setting_and_no_other():
    ids = [block.elem_id for block in create_app().blocks.values() if getattr(block, "elem_id", None)]
    fields = sorted(name.removeprefix("tl-field-") for name in ids if name.startswith("tl-field-"))
    assert fields == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_label_and_explanation_come_from_the_field(name: str):
    with gr.Blocks():
        control = form.control(name)
    assert control.label == form.FIELDS[name].metadata["label"]
    assert form.FIELDS[name].metadata["help"] in control.info


@pytest.mark.parametrize("name", [n for n in NAMES if form.FIELDS[n].metadata["choices"]])
def test_every_choice_is_offered(name: str):
    assert [value for _, value in form.choices(name)] == list(form.FIELDS[name].metadata["choices"])


def test_the_untouched_form_is_the_default_config():
    assert form.read(_values()) == TrainConfig()


def test_a_config_comes_back_from_the_form():
    config = TrainConfig(
        data="/photos",
        recipe="partial",
        freeze=3,
        epochs=7,
        lr_head=3e-4,
        image_size=160,
        seed=5,
        batch_size=8,
    )
    assert form.read(form.shown(config)) == config


@pytest.mark.parametrize("recipe", ["head", "full", "scratch"])
def test_only_a_partial_run_names_its_freezing_depth(recipe: str):
    assert form.read(_values(recipe=recipe, freeze=4)).freeze is None
    assert form.read(_values(recipe="partial", freeze=4)).freeze == 4


def test_numbers_as_people_type_them():
    config = form.read(_values(lr_head=" 1e-3 ", batch_size="16", weight_decay=0, lr_backbone="0,0001"))
    assert (config.lr_head, config.batch_size, config.weight_decay) == (1e-3, 16, 0.0)
    assert config.lr_backbone == 1e-4


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batch_size": "many"}, "batch_size is 'many'"),
        ({"batch_size": "0"}, "Allowed: from 1"),
        ({"batch_size": "2.5"}, "whole number"),
        ({"lr_head": "nan"}, "lr_head"),
        ({"image_size": "9999"}, "image_size"),
    ],
)
def test_what_is_not_allowed_is_refused_by_name(changes: dict[str, object], said: str):
    with pytest.raises(UsageError, match=said):
        form.read(_values(**changes))
