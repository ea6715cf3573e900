"""The command and the script of a run: both stand for the settings it was given, and the script runs."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tl_app
from tl_app import cli, reproduce, runs
from tl_app.config import TrainConfig
from tl_app.errors import UsageError

CONFIGS = [
    TrainConfig(data='/my photos/it\'s "here" \\ \n {0}'),
    TrainConfig(data="/p", recipe="full", freeze=0, lr_head=1e-5, weights="run:/runs/a b"),
    TrainConfig(data="/p", recipe="partial", freeze=4, backbone="resnet18", cache="off", seed=3),
    TrainConfig(data="/p", recipe="head", freeze=9, device="cpu", weight_decay=0.0),
    TrainConfig(data="/p", recipe="pretrain", teacher="backbone:mobilenet_v2", blockwise_epochs=2),
    TrainConfig(data="/p", recipe="full", schedule="step", step_epochs=7, step_gamma=0.5),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.recipe)
def test_command_and_script_stand_for_the_same_settings(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[TrainConfig] = []

    def start(self: Any, config: TrainConfig, **_: Any) -> Any:
        started.append(config)
        raise UsageError("Enough.")

    monkeypatch.setattr("tl_app.jobs.Worker.start", start)
    program, *arguments = shlex.split(reproduce.command_line(config))
    assert program == "tl-app" and cli.run(arguments) == 2
    with pytest.raises(UsageError, match="Enough"):
        exec(compile(reproduce.python_script(config, "one"), "script.py", "exec"), {"__name__": "__main__"})
    assert started == [config, config]


def test_the_script_runs_and_trains_the_same(
    photos: Path, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"backbone": "mobilenet_v3_small", "weights": "random", "recipe": "full", "device": "cpu"}
    first = tl_app.train(photos, **settings, epochs=1, image_size=32, name="first")
    assert cli.run(["script", "first", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert cli.run(["script", "first"]) == 0
    assert capsys.readouterr().out == shown["script"]
    assert cli.run(["runs", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["runs"]
    assert (row["script"], row["command"]) == (shown["script"], shown["command"])
    file = tmp_path / "again.py"
    file.write_text(shown["script"], encoding="utf-8")
    said = subprocess.run([sys.executable, file], check=True, capture_output=True, text=True).stdout
    again = next(info for info in runs.list_runs(home / "runs") if info.name != "first")
    assert said.strip() == (
        f"{again.path}: {first.val_accuracy:.1%} of validation photos right after epoch {first.best_epoch}"
    )
    assert again.val_loss == first.val_loss
    assert again.asked == runs.open_run("first", home / "runs").asked
