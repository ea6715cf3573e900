"""Each finding with a made-up history, and none for a sound run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

import tl_app
from tl_app import cli, history, runs
from tl_app.analysis import diagnosis
from tl_app.analysis.symptoms import Facts, Finding
from tl_app.config import TrainConfig
from tl_app.data.index import scan
from tl_app.events import EpochDone, Finished, PhaseStarted, RolledBack

CONFIG = TrainConfig(
    backbone="resnet18", recipe="head", epochs=12, freeze=9, lr_head=4e-3, lr_backbone=2e-4, batch_size=16
)
COUNTS = {"ants": {"train": 123, "val": 70}, "bees": {"train": 121, "val": 83}}

# A head on ants and bees: learns fast, then creeps to its end as the rate falls to 0.
TRAIN = [0.45, 0.22, 0.16, 0.13, 0.12, 0.11, 0.105, 0.10, 0.098, 0.096, 0.095, 0.095]
VAL = [0.30, 0.20, 0.17, 0.155, 0.148, 0.143, 0.139, 0.136, 0.134, 0.133, 0.132, 0.132]
ACCURACY = [0.89, 0.93, 0.94, 0.94, 0.95, 0.95, 0.95, 0.95, 0.96, 0.96, 0.96, 0.96]


def _rows(
    train: list[float], val: list[float], accuracy: list[float], train_accuracy: list[float] | None = None
) -> tuple[EpochDone, ...]:
    found, best = [], (-1.0, 0.0)
    shares = train_accuracy or [min(0.99, share + 0.01) for share in accuracy]
    for number, (loss, val_loss, share, seen) in enumerate(zip(train, val, accuracy, shares, strict=True), 1):
        better = (share, -val_loss) > best
        best = max(best, (share, -val_loss))
        found.append(
            EpochDone(number, number * 15, loss, seen, val_loss, share, better, 1.0, 100.0, 1_000_000)
        )
    return tuple(found)


def _facts(rows: tuple[EpochDone, ...] = (), config: TrainConfig = CONFIG, **changed: Any) -> Facts:
    frozen = 9 if config.recipe == "head" else 0
    facts = Facts(config, rows or _rows(TRAIN, VAL, ACCURACY), 0, frozen, 9, COUNTS)
    return dataclasses.replace(facts, **changed)


def _found(facts: Facts, asked: TrainConfig | None = None) -> dict[str, Finding]:
    asked = asked or dataclasses.replace(facts.config, freeze=None)
    return {finding.code: finding for finding in diagnosis.diagnose(facts, asked)}


def test_a_sound_run_gives_no_finding() -> None:
    assert _found(_facts()) == {}
    assert _found(_facts(complete=False, rows=_rows(TRAIN[:2], VAL[:2], ACCURACY[:2]))) == {}


def test_overfitting_is_a_rising_loss_or_a_gap() -> None:
    risen = [0.30, 0.20, 0.17, 0.16, 0.17, 0.18, 0.19, 0.21, 0.22, 0.24, 0.25, 0.26]
    found = _found(_facts(_rows(TRAIN, risen, ACCURACY)))["overfitting"]
    assert "after epoch 4 the validation loss rose from 0.16 to 0.26" in found.text
    assert found.remedy is not None and found.remedy.settings == {"augmentation": "strong"}

    gap = _rows(TRAIN, VAL, [share - 0.15 for share in ACCURACY], [0.99] * 12)
    config = dataclasses.replace(CONFIG, recipe="full", freeze=0, augmentation="strong")
    found = _found(_facts(gap, config))["overfitting"]
    assert "99.0 % of the training photos are right, but 81.0 % of the validation photos" in found.text
    assert found.remedy is not None and found.remedy.settings["recipe"] == "partial"


def test_underfitting_knows_what_guessing_gets() -> None:
    rows = _rows([0.7, 0.69, 0.68], [0.7, 0.69, 0.69], [0.5, 0.55, 0.6])
    found = _found(_facts(rows, dataclasses.replace(CONFIG, recipe="scratch", freeze=0)))["underfitting"]
    assert "only 61.0 % of the training photos are right" in found.text and "50.4 %" in found.text
    assert found.severity == "problem"
    assert found.remedy is not None and found.remedy.settings["recipe"] == "lp-ft"
    found = _found(_facts(rows))["underfitting"]
    assert found.remedy is not None and found.remedy.label == "Unfreeze all stages"
    found = _found(_facts(rows, dataclasses.replace(CONFIG, recipe="full", freeze=0)))["underfitting"]
    assert found.remedy is not None and found.remedy.settings == {"epochs": 24}


def test_a_high_rate_jumps_or_is_rolled_back() -> None:
    jumping = [*TRAIN[:5], 0.61, *TRAIN[6:]]
    found = _found(_facts(_rows(jumping, VAL, ACCURACY)))["high-rate"]
    assert "jumped to 0.61 in epoch 6" in found.text
    assert found.remedy is not None
    assert found.remedy.settings == {"lr_head": 2e-3, "lr_backbone": 1e-4} and "half" in found.remedy.label
    assert "not a number 2 times" in _found(_facts(rolled_back=2))["high-rate"].text
    between = _facts(_rows(jumping, VAL, ACCURACY), since=5)
    assert "high-rate" not in _found(between), "a phase begins anew"


def test_a_loss_that_still_falls_wants_time_or_a_higher_rate() -> None:
    slowly = [0.69 - 0.02 * number for number in range(12)]
    accuracy = [0.76 + 0.01 * number for number in range(12)]
    found = _found(_facts(_rows(slowly, slowly, accuracy)))["low-rate"]
    assert "from 0.530 to 0.470 in the last 3 epochs" in found.text
    assert found.remedy is not None and found.remedy.settings == {"lr_head": 8e-3, "lr_backbone": 4e-4}

    bending = [0.69 * 0.84**number for number in range(12)]
    found = _found(_facts(_rows(bending, bending, ACCURACY)))["unfinished"]
    assert found.remedy is not None and found.remedy.label == "Train 6 more epochs"
    assert found.remedy.settings == {"epochs": 18}
    assert "unfinished" not in _found(_facts(_rows(bending, bending, ACCURACY), complete=False))


def test_a_head_at_its_best_is_not_to_be_trained_longer() -> None:
    flat = [0.3, 0.2, 0.15, 0.14, 0.135, 0.134, 0.133, 0.133, 0.132, 0.133, 0.132, 0.132]
    early = [0.9, 0.93, 0.96, *[0.96] * 9]
    found = _found(_facts(_rows(TRAIN, flat, early)))["settled"]
    assert "stayed at 0.132 and the accuracy at 96.0 %" in found.text
    assert found.remedy is not None and found.remedy.settings == {"recipe": "lp-ft", "freeze": None}
    assert "settled" not in _found(_facts(_rows(TRAIN, flat, early), frozen_stages=5))
    assert "settled" not in _found(_facts(_rows(TRAIN, flat, [1.0] * 12)))


def test_leakage_has_three_signs() -> None:
    found = _found(_facts(shared=3))["leakage"]
    assert found.severity == "problem" and "3 validation photos of 153 are among the training" in found.text
    better = _rows(TRAIN, VAL, ACCURACY, [0.7] * 12)
    assert "far more often (96.0 %) than training photos (70.0 %)" in _found(_facts(better))["leakage"].text
    mixed = dataclasses.replace(CONFIG, mixup=0.2)
    assert "leakage" not in _found(_facts(better, mixed)), "mixed photos are hard to name"
    assert "after the first epoch" in _found(_facts(_rows(TRAIN, VAL, [1.0] * 12)))["leakage"].text


def test_counts_speak_too() -> None:
    few = {"ants": {"train": 4, "val": 70}, "bees": {"train": 60, "val": 83}}
    found = _found(_facts(counts=few, config=dataclasses.replace(CONFIG, balance="none")))
    assert "Too few training photos of 'ants' (4)" in found["few-photos"].text
    assert found["few-photos"].remedy is None, "a setting for all classes is no help for one"
    assert "'bees' has 60 training photos, 'ants' 4" in found["unbalanced"].text
    remedy = found["unbalanced"].remedy
    assert remedy is not None and remedy.settings == {"balance": "auto"}
    assert "unbalanced" not in _found(_facts(counts=few)), "auto does something about it"
    both = {"ants": {"train": 4, "val": 70}, "bees": {"train": 5, "val": 83}}
    remedy = _found(_facts(counts=both))["few-photos"].remedy
    assert remedy is not None and remedy.settings == {"head": "cosine"}


def test_a_small_validation_split_cannot_tell() -> None:
    counts = {"ants": {"train": 100, "val": 15}, "bees": {"train": 100, "val": 15}}
    found = _found(_facts(counts=counts, made_split=True))["small-validation"]
    assert "30 validation photos cannot tell much" in found.text and "from 83 to 100 %" in found.text
    assert found.remedy is not None and found.remedy.settings == {"val_fraction": 0.4}
    assert _found(_facts(counts=counts))["small-validation"].remedy is None, "the folders say what validates"


def test_a_remedy_that_contradicts_the_settings_is_not_offered() -> None:
    rows = _rows([0.7, 0.69, 0.68], [0.7, 0.69, 0.69], [0.5, 0.55, 0.6])
    config = dataclasses.replace(CONFIG, recipe="scratch", freeze=0, teacher="backbone:resnet18")
    assert _found(_facts(rows, config))["underfitting"].remedy is None


@pytest.fixture
def run(home: Path, photos: Path) -> str:
    """Of 12 photos a class, with a history that overfits and a step back."""
    config = dataclasses.replace(CONFIG, data=str(photos))
    path = runs.create_run(
        home / "runs",
        "spoilt",
        asked=dataclasses.replace(config, freeze=None),
        config=config,
        preprocessing={},
        stages=list("abcdefghi"),
        lineage=[],
        index=scan(photos),
    )
    risen = [0.30, 0.20, 0.17, 0.16, 0.17, 0.18, 0.19, 0.21, 0.22, 0.24, 0.25, 0.26]
    with open(path / history.NAME, "a+b") as file:
        history.append(
            file, PhaseStarted(0, 1, 9, 12, 15, 0, 12, 4e-3, 2e-4, 16, 1026, 11_000_000, "cpu", "fp32")
        )
        history.append(file, RolledBack(0, 0, "the loss was not a number; the learning rate is halved"))
        for row in _rows(TRAIN, risen, ACCURACY):
            history.append(file, row)
        history.append(file, Finished("completed", 12, 0.96, 0.26, 12.0, 100.0))
    runs.write_status(path, "completed", "", epochs_done=12, best_epoch=12, val_accuracy=0.96)
    return path.name


def test_a_run_is_judged_by_its_folder(run: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = tl_app.diagnose(run)
    assert [each.code for each in found.findings] == ["high-rate", "overfitting", "small-validation"]
    assert found.summary == "3 things to know about this run."

    assert cli.run(["diagnose", run, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["findings"][0]["remedy"]["settings"] == {"lr_head": 2e-3, "lr_backbone": 1e-4}
    assert cli.run(["diagnose", run]) == 0
    said = capsys.readouterr().out
    assert "Overfitting" in said and "→ Use half the learning rate: lr_head = 0.002" in said
    assert cli.run(["diagnose", "gone"]) == 2


def test_remedies_of_an_automatic_run_go_into_what_was_chosen(run: str, home: Path) -> None:
    info = runs.open_run(run, home / "runs")
    assert diagnosis.settings_of(info) == info.asked
    automatic = dataclasses.replace(info, asked=dataclasses.replace(info.asked, recipe="auto"))
    assert diagnosis.settings_of(automatic) == info.config


def test_a_run_without_epochs_is_not_judged(run: str, home: Path) -> None:
    (home / "runs" / run / history.NAME).unlink()
    assert tl_app.diagnose(run).summary == "No epoch is done yet: there is nothing to judge."


def test_remedies_of_an_extended_run_go_on_from_all_its_epochs() -> None:
    poor = _facts(
        rows=_rows([0.69] * 30, [0.69] * 30, [0.55] * 30),
        config=dataclasses.replace(CONFIG, recipe="full", freeze=0, epochs=10),
        extended=True,
    )
    remedy = _found(poor)["underfitting"].remedy
    assert remedy is not None and remedy.settings == {"epochs": 60}
    jumping = dataclasses.replace(poor, rolled_back=1)
    assert _found(jumping)["high-rate"].remedy is None, "its last rates are not those of the settings"
