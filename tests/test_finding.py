"""The learning-rate finder: its reading of a curve, and that it trains as the engine does and leaves nothing behind."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tl_app import api, cli, finding, plots
from tl_app.config import TrainConfig
from tl_app.data.index import scan
from tl_app.engine.epoch import sweep
from tl_app.engine.setup import resolve
from tl_app.engine.train import first_phase, train
from tl_app.errors import Interrupted, ResourceError, UsageError
from tl_app.events import Progress, StepDone
from tl_app.jobs import Worker
from tl_app.locks import DeviceLock

TINY: dict[str, Any] = {
    "backbone": "mobilenet_v3_small",
    "weights": "random",
    "image_size": 32,
    "batch_size": 8,
    "device": "cpu",
}


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made, to see what is left."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def _last(steps: Any) -> tuple[finding.RatesResult, list[Any]]:
    events = []
    while True:
        try:
            events.append(next(steps))
        except StopIteration as end:
            return end.value, events


def test_the_running_mean_is_corrected_for_its_start() -> None:
    assert finding.smooth([2.0, 2.0, 2.0]) == pytest.approx([2.0, 2.0, 2.0])
    assert finding.smooth([1.0, 3.0])[1] == pytest.approx((0.09 * 1 + 0.1 * 3) / 0.19)


def test_the_middle_of_the_fall_is_suggested() -> None:
    rates = np.geomspace(1e-7, 10, 161)
    decades = np.log10(rates)
    fall = 2 / (1 + np.exp(4 * (decades + 3)))  # half of it is done at 1e-3
    explosion = np.where(decades > -1, 10 * (decades + 1), 0)
    noise = np.random.default_rng(0).normal(0, 0.05, 161)
    for curve in (fall + explosion, fall + explosion + noise, 1 + fall + explosion):
        assert finding.suggest(list(rates), list(curve)) == pytest.approx(1e-3, rel=0.15)
    assert finding.suggest(list(rates), [1.0] * 161) is None
    assert finding.suggest(list(rates), list(1 + explosion)) is None
    assert finding.suggest([], []) is None


@pytest.mark.parametrize("recipe", ["head", "full"])
def test_it_finds_and_leaves_nothing_behind(recipe: str, photos: Path, home: Path, scratch: Path) -> None:
    config = TrainConfig(data=str(photos), recipe=recipe, lr_head=0.01, lr_backbone=0.002, **TINY)
    result, events = _last(finding.find(config, scan(photos), lambda: False))
    assert result.steps == 40 and len(result.rates) == len(result.losses) == len(result.smoothed) <= 40
    assert result.rates == pytest.approx(np.geomspace(1e-7, 10, 40)[: len(result.rates)])
    assert result.exploded or len(result.rates) == 40
    assert result.frozen_stages == (8 if recipe == "head" else 0)
    if recipe == "head" or result.suggestion is None:
        assert result.backbone_suggestion is None
    else:
        assert result.backbone_suggestion == pytest.approx(result.suggestion / 5, rel=0.05)
    progress = [event for event in events if isinstance(event, Progress) and event.unit == "steps"]
    assert [event.done for event in progress] == list(range(1, len(result.rates) + 1))
    assert not (home / "runs").exists() and list(scratch.iterdir()) == []
    with DeviceLock("cpu"):
        pass  # it was given back
    figure = plots.rate_curve(result.rates, result.losses, result.smoothed, 1e-3)
    assert figure["layout"]["xaxis"]["type"] == "log"
    assert figure["data"][-1]["x"] == [1e-3] and figure["data"][-1]["y"][0] in result.smoothed


@pytest.mark.parametrize("recipe", ["lp-ft", "gradual"])
@pytest.mark.parametrize("steps", [1, 40])
def test_of_a_recipe_that_begins_with_the_head_only_that_is_searched(
    recipe: str, steps: int, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where one epoch holds all the steps there are, or fewer than the head's own part of the recipe."""
    monkeypatch.setattr(finding, "_LEAST_STEPS", steps)
    monkeypatch.setattr(finding, "_PASSES", 1)
    probe = {"epochs": 30, "probe_epochs": 25} if recipe == "lp-ft" else {}
    # Weights that are no random ones, which such recipes refuse, and ship with the product.
    chosen = {**TINY, "backbone": "bundled", "weights": "default", "image_size": 64, **probe}
    config = TrainConfig(data=str(photos), recipe=recipe, **chosen)
    monkeypatch.setattr(finding, "suggest", lambda *_: 0.02)
    result, _ = _last(finding.find(config, scan(photos), lambda: False))
    assert result.recipe == recipe and result.frozen_stages > 0 and result.rates
    assert (result.suggestion, result.backbone_suggestion) == (0.02, None)


@pytest.mark.parametrize("recipe", ["head", "full"])
def test_its_steps_are_the_engines(recipe: str, photos: Path, tmp_path: Path) -> None:
    """At the base rates all along, the losses are those of a training."""
    asked = TrainConfig(data=str(photos), recipe=recipe, schedule="constant", epochs=2, views=1, **TINY)
    index = scan(photos)
    config, preprocessing = resolve(asked, len(index.used("train")))
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    trained = [e.loss for e in train(config, index, preprocessing, folders[0]) if isinstance(e, StepDone)]
    steps = first_phase(config, index, preprocessing, folders[1], lambda: False)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            training = end.value
            break
    swept = [event.loss for event in sweep(training, [1.0] * len(trained)) if isinstance(event, StepDone)]
    assert swept == trained and all(math.isfinite(loss) for loss in swept)


def test_it_takes_the_device_as_a_training_does(photos: Path, home: Path) -> None:
    config = TrainConfig(data=str(photos), recipe="full", **TINY)
    with DeviceLock("cpu"), pytest.raises(ResourceError, match="One run at a time per device"):
        next(finding.find(config, scan(photos), lambda: False))
    steps = finding.find(config, scan(photos), lambda: False)
    next(steps)
    with pytest.raises(ResourceError, match="'learning-rate finder' is being trained on cpu"):
        Worker(home / "runs").start(config)
    steps.close()
    with DeviceLock("cpu"):
        pass


def test_it_can_be_stopped(photos: Path, scratch: Path) -> None:
    config = TrainConfig(data=str(photos), recipe="full", **TINY)
    stopping: list[bool] = []
    steps = finding.find(config, scan(photos), lambda: bool(stopping))
    with pytest.raises(Interrupted, match="was stopped"):
        for event in steps:
            if isinstance(event, Progress) and event.unit == "steps" and event.done == 3:
                stopping.append(True)
    assert list(scratch.iterdir()) == []


def test_auto_has_no_rate_to_find(photos: Path) -> None:
    with pytest.raises(UsageError, match="chooses its own learning rates"):
        next(finding.find(TrainConfig(recipe="auto"), scan(photos), lambda: False))


def test_on_the_command_line(photos: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [word for name, value in TINY.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    assert cli.run(["lr-find", str(photos), "--freeze", "head", *options, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["recipe"] == "head" and len(found["rates"]) == len(found["losses"])
    assert api.list_runs() == []
    assert cli.run(["lr-find", str(photos), "--preset", "ants-and-bees", *options]) == 0
    said = capsys.readouterr().out
    assert "learning rate" in said and ("Suggestion: --lr" in said or "never fell" in said)
