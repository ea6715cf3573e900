"""Presets as files: what is saved, what is read, and what a wrong file is told; and that each one that ships runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

import tl_app
from tl_app import cli, presets, resources, runs
from tl_app.backbones.catalogue import get_backbone
from tl_app.config import TrainConfig
from tl_app.errors import ResourceError, UsageError
from tl_app.transfer.schedules import lr_factor

SHIPPED = sorted(path.stem for path in (resources.assets_dir() / "presets").iterdir())
CLASSICS = [
    "ants-and-bees",
    "ants-and-bees-features",
    "cifar10-resnet18",
    "resnet50-crop-flip",
    "vgg16-dense",
]

FULL = TrainConfig(
    data="/home/me/photos",
    device="cuda:1",
    backbone="resnet18",
    weights="run:/home/me/runs/my source",
    recipe="partial",
    freeze=3,
    lr_head=1e-5,
    weight_decay=0.0,
    cache="off",
    seed=7,
)


def test_what_is_saved_is_what_differs_and_never_the_machine(tmp_path: Path) -> None:
    preset = presets.of_config(FULL, "Mine", "one\n line")
    text = presets.to_yaml(preset)
    assert "/home" not in text and "cuda" not in text
    assert preset.description == "one line"
    assert preset.settings == {
        "backbone": "resnet18",
        "weights": "run:my source",
        "recipe": "partial",
        "freeze": 3,
        "lr_head": 1e-5,
        "weight_decay": 0.0,
        "cache": "off",
        "seed": 7,
    }
    assert presets.of_config(TrainConfig(data="x")).settings == {"recipe": TrainConfig.recipe}
    assert presets.from_yaml(text, "there.yaml") == preset
    presets.save(preset, tmp_path / "mine.yaml")
    assert presets.load(tmp_path / "mine.yaml") == preset
    with pytest.raises(UsageError, match="mine.yaml is there already"):
        presets.save(preset, tmp_path / "mine.yaml")
    with pytest.raises(ResourceError, match="cannot be written"):
        presets.save(preset, tmp_path / "nowhere" / "mine.yaml")


def test_every_setting_survives_the_file() -> None:
    values: dict[str, Any] = {}
    for spec in dataclasses.fields(TrainConfig):
        meta, plain = spec.metadata, str(spec.type).split(" | ")[0]
        if spec.name not in presets.LEFT_OUT:
            number = meta["low"] + 0.3 if meta["low"] is not None else None
            values[spec.name] = {
                "str": meta["choices"][-1] if meta["choices"] else "yes",
                "int": int(meta["high"] or 3),
                "float": number,
            }[plain]
    text = presets.to_yaml(presets.Preset("", "n", "d", values))
    for name, value in values.items():  # one by one, since all of them together contradict each other
        recipe = "head" if name.startswith("fuse_") else "full"
        beside = {"teacher": "backbone:x"} if name == "soft_labels" else {}
        only = presets.to_yaml(presets.Preset("", "n", "d", {"recipe": recipe, name: value, **beside}))
        if name in ("freeze", "start", "batchnorm", "blockwise_epochs", "pooling", "probe_epochs"):
            continue
        read = presets.from_yaml(only, "f").settings[name]
        assert read == value and type(read) is type(value), (name, only)
    assert set(values) == {line.split(":")[0].strip() for line in text.splitlines() if line.startswith("  ")}


@pytest.mark.parametrize(
    ("written", "name", "value"),
    [
        ("lr_head: 1e-3", "lr_head", 0.001),  # which YAML itself takes for text
        ("cache: off", "cache", "off"),  # and this for `false`
        ("epochs: 20.0", "epochs", 20),
        ("epochs:", "epochs", None),
        ("weights: 'random'", "weights", "random"),
        ("weight_decay: 0", "weight_decay", 0.0),
        ("augmentation: none", "augmentation", "none"),
    ],
)
def test_values_are_read_by_the_settings_type(written: str, name: str, value: Any) -> None:
    assert presets.from_yaml(f"settings:\n  recipe: full\n  {written}\n", "f.yaml").settings[name] == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "p.yaml is no preset. A preset has `name`"),
        ("- recipe", "p.yaml is no preset"),
        ("recipe: full", "p.yaml, line 1: there is no 'recipe'. Allowed: name, description, settings"),
        ("name: x", "p.yaml, line 1: there are no settings"),
        ("settings: full", "line 1: there are no settings"),
        ("settings:\n  epochs: 3", "line 2: settings: there is no recipe"),
        (
            "settings:\n  recipe: full\n  epoch: 3",
            "line 3: settings: there is no 'epoch'. Did you mean epochs",
        ),
        ("settings:\n  recipe: full\n  data: x", "line 3: settings: data is not part of a preset"),
        ("settings:\n  recipe: full\n  device: cpu", "line 3: settings: device is not part of a preset"),
        ("settings:\n  recipe: full\n  epochs: many", "line 3: epochs is 'many'. It must be a whole number"),
        ("settings:\n  recipe: full\n  epochs: yes", "line 3: epochs is 'yes'. It must be a whole number"),
        ("settings:\n  recipe: full\n  epochs: 2000", "line 3: epochs is 2000. Allowed: from 1 to 1000"),
        ("settings:\n  recipe: full\n  lr_head: .nan", "line 3: lr_head is '.nan'"),
        ("settings:\n  recipe: full\n  lr_head: nan", "line 3: lr_head is nan. Allowed"),
        ("settings:\n  recipe: full\n  seed: 1e999", "line 3: seed is inf. It must be a whole number"),
        ("settings:\n  recipe: full\n  dropout:", "line 3: dropout has no value"),
        ("settings:\n  recipe: full\n  epochs: [3]", "line 3: epochs is a list or a mapping"),
        ("settings:\n  recipe: full\n  recipe: head", "line 3: settings: recipe is there twice"),
        ("settings:\n  recipe: magic", "line 2: recipe is 'magic'. Allowed: auto, head"),
        ("settings:\n  recipe: full\n  freeze: 2", "p.yaml: Recipe 'full' trains every stage"),
        ("settings:\n  ? [a]\n  : 3", "line 2: settings: there is no '…'"),
        ("name: [a]\nsettings: {recipe: full}", "line 1: name is not one line"),
        ("name: |\n  a\n  b\nsettings: {recipe: full}", "line 1: name is not one line"),
        (f"name: {'x' * 101}\nsettings: {{recipe: full}}", "name is not one line. Allowed: up to 100"),
        ("settings: {recipe: full", "line 1: this is no YAML"),
        ("settings:\n\trecipe: full", "line 2: this is no YAML"),
        ("a: 1\n---\nb: 2", "this is no YAML"),
        ("name: \x07", "this is no YAML"),
        ("[" * 20_000, "nested too deeply"),
        ("settings: !!python/object/apply:os.system [ls]", "there are no settings"),
    ],
)
def test_a_wrong_file_is_told_where_and_what_is_allowed(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"^{message}" if message.startswith("p.yaml") else message):
        presets.from_yaml(text, "p.yaml")


def test_a_file_that_is_something_else(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_text("#" * (presets.MOST_BYTES + 1))
    with pytest.raises(UsageError, match="large.yaml is too large for a preset. Allowed: 64 KiB"):
        presets.load(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="large.yaml is no text"):
        presets.load(path)
    with pytest.raises(UsageError, match="no preset 'ants-and-bee'.*Did you mean ants-and-bees?"):
        presets.load("ants-and-bee")
    with pytest.raises(UsageError, match=f"{tmp_path} cannot be read|no preset"):
        presets.load(tmp_path)


def test_a_preset_and_options_beside_it_on_the_command_line(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[TrainConfig] = []

    def start(self: Any, config: TrainConfig, **_: Any) -> Any:
        started.append(config)
        raise UsageError("Enough.")

    monkeypatch.setattr("tl_app.jobs.Worker.start", start)
    arguments = ["train", str(photos), "--preset", "ants-and-bees", "--epochs", "3", "--freeze", "head"]
    assert cli.run(arguments) == 2 and "Enough." in capsys.readouterr().err
    (config,) = started
    assert (config.epochs, config.recipe, config.freeze) == (3, "head", None)
    assert (config.batch_size, config.lr_head, config.optimizer) == (4, 0.001, "sgd")
    assert cli.run(["train", str(photos), "--preset", "ants"]) == 2
    assert "There is no preset 'ants'" in capsys.readouterr().err


def test_presets_are_listed_and_saved(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import json

    from tl_app.data.index import scan

    assert cli.run(["presets", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["presets"]
    assert [row["key"] for row in listed] == SHIPPED and all(row["description"] for row in listed)
    assert cli.run(["presets"]) == 0 and "ants-and-bees" in capsys.readouterr().out
    config = dataclasses.replace(FULL, data=str(photos), weights="default")
    index = scan(photos)
    runs.create_run(
        tmp_path, "one", asked=config, config=config, preprocessing={}, stages=[], lineage=[], index=index
    )
    file = tmp_path / "one.yaml"
    arguments = ["save-preset", "one", str(file), "--runs-dir", str(tmp_path), "--name", "Mine"]
    assert cli.run([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["freeze"] == 3
    assert presets.load(file).config(data=str(photos), device="cuda:1") == config
    assert cli.run(arguments) == 2 and "is there already" in capsys.readouterr().err


def test_the_classic_tutorials_ship() -> None:
    assert set(CLASSICS) <= set(SHIPPED) == set(presets.shipped())
    ants = presets.load("ants-and-bees").config()
    assert (ants.backbone, ants.optimizer, ants.lr_head, ants.lr_backbone) == ("resnet18", "sgd", 1e-3, 1e-3)
    assert (ants.epochs, ants.batch_size, ants.weight_decay, ants.recipe) == (25, 4, 0.0, "full")
    dense = presets.load("vgg16-dense").config()
    assert (dense.backbone, dense.head, dense.pooling) == ("vgg16", "mlp", "flatten")
    assert (dense.hidden, dense.dropout) == (1024, 0.5)


def test_the_rate_drops_as_in_the_tutorial() -> None:
    """Against torch's own StepLR, at a few steps per epoch."""
    config, steps = presets.load("ants-and-bees").config(), 5
    assert config.step_epochs and config.epochs and config.lr_head
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=config.lr_head)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.1)
    for epoch in range(config.epochs):
        for step in range(epoch * steps, (epoch + 1) * steps):
            factor = lr_factor(
                config.schedule,
                step,
                config.epochs * steps,
                drop_steps=config.step_epochs * steps,
                drop_factor=config.step_gamma,
            )
            assert config.lr_head * factor == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("key", SHIPPED)
def test_each_preset_that_ships_runs(key: str, photos: Path, tmp_path: Path) -> None:
    """A few steps with random weights, but with weights that are there by that name."""
    preset = presets.load(key)
    named = preset.settings.get("weights", "default")
    backbone = get_backbone(preset.settings["backbone"])
    assert named in ("default", *(choice.name for choice in backbone.weights))
    small = {"epochs": 1, "image_size": 64, "batch_size": 8, "weights": "random", "device": "cpu"}
    result = tl_app.train(photos, preset=key, runs_dir=tmp_path, **small)
    assert result.state == "completed" and result.backbone == preset.settings["backbone"]
    asked = runs.open_run(result.run, tmp_path).asked
    assert asked == preset.config(data=asked.data, **small)


def test_the_engine_drops_the_rate_after_so_many_epochs(photos: Path, tmp_path: Path) -> None:
    rates: list[float] = []
    tl_app.train(
        photos,
        preset="ants-and-bees-features",
        runs_dir=tmp_path,
        on_event=lambda event: rates.append(event.lr) if hasattr(event, "lr") else None,
        **{"epochs": 4, "step_epochs": 2, "step_gamma": 0.5, "image_size": 32, "batch_size": 10},
        weights="random",
    )
    assert rates == pytest.approx([1e-3] * 4 + [5e-4] * 4)
