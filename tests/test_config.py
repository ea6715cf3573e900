from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from typing import Any

import pytest

from tl_app import cli
from tl_app.config import TrainConfig
from tl_app.contradictions import depth_settings
from tl_app.errors import UsageError
from tl_app.fields import field_type, option
from tl_app.ui import form


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "epochs is 0. Allowed: from 1 to 1000"),
        ({"epochs": True}, "epochs is True. It must be a whole number"),
        ({"epochs": 2.5}, "It must be a whole number"),
        ({"lr_head": float("nan")}, "lr_head is nan"),
        ({"lr_head": "fast"}, "It must be a number or empty"),
        ({"recipe": "heads"}, "recipe is 'heads'. Allowed: auto, head, partial, full, lp-ft"),
        ({"image_size": 8}, "from 32 to 1024"),
        ({"recipe": "full", "freeze": 3}, "trains every stage, but freezing depth 3"),
        ({"recipe": "scratch", "batchnorm": "keep"}, "needs pretrained weights"),
        ({"recipe": "scratch", "weights": "IMAGENET1K_V1"}, "starts from random weights"),
        ({"recipe": "lp-ft", "weights": "random"}, "begins with a head on learnt features"),
        ({"recipe": "lp-ft", "teacher": "backbone:x"}, "Recipes with a teacher: full, scratch, pretrain"),
        ({"recipe": "full", "probe_epochs": 2}, "recipe 'full' has no such part"),
        ({"blockwise_epochs": 2}, "no teacher whose blocks are imitated"),
    ],
)
def test_a_wrong_setting_says_what_is_allowed(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TrainConfig(**values)


def test_an_unknown_setting_suggests_the_close_one() -> None:
    with pytest.raises(UsageError, match="no setting 'epoch'. Did you mean epochs"):
        TrainConfig.from_dict({"epoch": 3})


def test_settings_survive_a_round_trip() -> None:
    config = TrainConfig(data="x", freeze=3, recipe="partial", lr_head=0.5)
    assert TrainConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("recipe", "freeze", "expected"),
    [
        (None, None, {}),
        (None, "head", {"recipe": "head"}),
        (None, "none", {"recipe": "full", "freeze": 0}),
        (None, "4", {"recipe": "partial", "freeze": 4}),
        (None, 4, {"recipe": "partial", "freeze": 4}),
        ("partial", "none", {"recipe": "partial", "freeze": 0}),
        ("full", None, {"recipe": "full"}),
        ("scratch", "none", {"recipe": "scratch", "freeze": 0}),
    ],
)
def test_depth_as_people_write_it(
    recipe: str | None, freeze: int | str | None, expected: dict[str, Any]
) -> None:
    assert depth_settings(recipe, freeze) == expected


@pytest.mark.parametrize(
    ("recipe", "freeze", "message"),
    [
        (None, "deep", "Allowed: a number of stages, 'head' for all of them, or 'none'"),
        (None, "-1", "Freezing depth is '-1'"),
        ("full", "head", "Recipe 'full' does not go with freezing depth 'head'"),
    ],
)
def test_depth_that_makes_no_sense(recipe: str | None, freeze: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        depth_settings(recipe, freeze)


def test_every_setting_has_an_explanation_and_a_valid_default() -> None:
    for spec in dataclasses.fields(TrainConfig):
        assert spec.metadata["group"] in {"basic", *form.GROUPS}
        assert spec.metadata["label"] and spec.metadata["help"].endswith("."), spec.name
        plain, optional = field_type(spec)
        assert isinstance(spec.default, plain) or (optional and spec.default is None)


def test_the_command_line_has_exactly_the_settings() -> None:
    options = inspect.signature(cli.train).parameters
    settings = {spec.name for spec in dataclasses.fields(TrainConfig)}
    assert settings | {"name", "preset", "runs_dir", "trust", "json"} == set(options)
    for name in settings - {"data"}:
        (declared,) = options[name].annotation.__metadata__
        assert option(name) in (declared.default, *(declared.param_decls or ()))


def test_light_modules_do_not_load_torch_or_gradio() -> None:
    code = (
        "import sys, tl_app, tl_app.config, tl_app.errors, tl_app.events, tl_app.plots, tl_app.cli, tl_app.jobs\n"
        "assert not {'torch', 'gradio', 'pandas', 'torchvision'} & set(sys.modules), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
