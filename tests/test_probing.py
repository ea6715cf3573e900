"""The instant probe, on made-up features and on the real path from photos to an answer."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Generator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tl_app
from tl_app import cli, probing
from tl_app.config import TrainConfig
from tl_app.data.index import DatasetIndex
from tl_app.errors import Interrupted
from tl_app.events import Event, Progress
from tl_app.probing import ProbeResult


def blobs(
    classes: int, per_class: int, features: int, noise: float, seed: int = 0
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Photos of ``classes`` around one point each, on features of very different sizes."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    centres = np.random.default_rng(99).normal(size=(classes, features))
    values = centres[labels] + noise * rng.normal(size=(len(labels), features))
    return (values * np.geomspace(0.01, 100, features)).astype(np.float32), labels


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The features that the engine computes; a test changes them."""
    train, labels = blobs(3, 30, 16, 0.5)
    val, val_labels = blobs(3, 10, 16, 0.5, seed=1)
    found = SimpleNamespace(train=train, train_labels=labels, val=val, val_labels=val_labels)

    def pooled_features(config: Any, index: Any, stop: Any) -> Generator[Event, None, SimpleNamespace]:
        yield Progress("computing features", 1, 1, "photos")
        return found

    fake = ModuleType("tl_app.engine.features")
    fake.pooled_features = pooled_features  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tl_app.engine.features", fake)
    return found


def ask(
    stop: Any = lambda: False, names: tuple[str, ...] = ("a", "b", "c")
) -> tuple[ProbeResult, list[Event]]:
    index = DatasetIndex(Path("."), "photos", (), names, False)
    config = TrainConfig(data="photos", backbone="mobilenet_v2")
    steps, heard = probing.probe(config, index, stop), []
    while True:
        try:
            heard.append(next(steps))
        except StopIteration as end:
            return end.value, heard


def test_classes_that_lie_apart_are_told_apart(given: SimpleNamespace) -> None:
    result, heard = ask()
    assert result.accuracy > 0.97 and result.spread < 0.05 and result.folds == 5
    assert result.val_accuracy is not None and result.val_accuracy > 0.95 and result.val_images == 30
    assert result.per_class.keys() == {"a", "b", "c"}
    assert all(row["images"] == 30 for row in result.per_class.values())
    assert result.largest_share == pytest.approx(1 / 3)
    assert (result.backbone, result.weights) == ("mobilenet_v2", "IMAGENET1K_V2")
    fits = [event for event in heard if isinstance(event, Progress) and event.unit == "fits"]
    assert fits[-1].done == fits[-1].total == 5 * len(probing.STRENGTHS)


def test_labels_that_mean_nothing_are_not_learnt(given: SimpleNamespace) -> None:
    given.train_labels = np.random.default_rng(0).permutation(given.train_labels)
    result, _ = ask()
    assert result.accuracy < 0.5, "what a classifier has not seen counts, not what it has"
    assert result.accuracy == pytest.approx(
        np.mean([row["accuracy"] for row in result.per_class.values()]), abs=0.01
    )


def test_the_accuracy_agrees_with_scikit_learns_own(given: SimpleNamespace) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    given.train, given.train_labels = blobs(3, 60, 16, 2.0)
    result, _ = ask()
    model = make_pipeline(StandardScaler(), LogisticRegression(C=result.strength, max_iter=1000))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    scores = cross_val_score(model, given.train, given.train_labels, cv=folds)
    assert result.accuracy == pytest.approx(scores.mean(), abs=0.05)


def test_the_strength_that_serves_best_is_chosen(
    given: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = np.r_[:30, 30:36, 60:66]  # so weak a fit names the largest class only
    given.train, given.train_labels = given.train[kept], given.train_labels[kept]
    monkeypatch.setattr(probing, "STRENGTHS", (1e-7,))
    assert ask()[0].accuracy == pytest.approx(30 / 42, abs=0.03)
    monkeypatch.setattr(probing, "STRENGTHS", (1e-7, 0.1, 1e-6))
    result, _ = ask()
    assert result.strength == 0.1 and result.accuracy > 0.95


def test_a_large_folder_chooses_the_strength_on_two_folds(
    given: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    every, _ = ask()
    monkeypatch.setattr(probing, "_ALL_FOLDS_WORK", 0)
    some, heard = ask()
    assert some.accuracy == pytest.approx(every.accuracy, abs=0.03)
    fits = [event for event in heard if isinstance(event, Progress) and event.unit == "fits"]
    assert fits[-1].total == 2 * len(probing.STRENGTHS) + 3


def test_a_huge_folder_is_probed_on_a_part_of_it(
    given: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "_MOST_WORK", 45 * 16 * 3)
    result, _ = ask()
    assert (result.train_images, result.probed_images) == (90, 45)
    assert [row["images"] for row in result.per_class.values()] == [15, 15, 15]
    monkeypatch.setattr(probing, "_MOST_WORK", 1)
    assert ask()[0].probed_images == 15, "never fewer than five a class"


def test_the_same_seed_gives_the_same_answer(given: SimpleNamespace) -> None:
    first, second = (dataclasses.replace(ask()[0], seconds=0, feature_seconds=0) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("counts", [(2, 2), (1, 7), (3, 40)])
def test_few_photos_are_enough(given: SimpleNamespace, counts: tuple[int, int]) -> None:
    labels = np.repeat([0, 1], counts)
    given.train = np.random.default_rng(0).normal(size=(len(labels), 6)).astype(np.float32) + labels[:, None]
    given.train_labels, given.val_labels = labels, given.val_labels[:0]
    given.val = given.val[:0, :6]
    result, _ = ask(names=("a", "b"))
    assert 0 <= result.accuracy <= 1 and np.isfinite(result.spread)
    assert 2 <= result.folds <= 5
    assert result.val_accuracy is None and result.val_images == 0


def test_features_that_do_not_vary_do_no_harm(given: SimpleNamespace) -> None:
    given.train[:, 3], given.val[:, 3] = 7.1, 7.1
    given.train[:, 4], given.val[:, 4] = 0.0, 1.0
    result, _ = ask()
    assert result.accuracy > 0.97 and result.val_accuracy is not None and result.val_accuracy > 0.9


def test_folds_have_one_size_and_spread_every_class() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [50, 23, 9]))
    fold_of = probing._folds(labels, seed=0)
    assert np.ptp(np.bincount(fold_of)) <= 1
    for number in range(3):
        assert np.ptp(np.bincount(fold_of[labels == number], minlength=5)) <= 1
    assert (fold_of != probing._folds(labels, seed=1)).any()


def test_it_can_be_stopped(given: SimpleNamespace) -> None:
    asked = iter([False] * 4 + [True] * 100)
    with pytest.raises(Interrupted):
        ask(stop=lambda: next(asked))


def test_it_stays_in_seconds(given: SimpleNamespace) -> None:
    """5,000 photos x 1,280 features x 100 classes, at a tenth of the limit's work: the cost grows in proportion."""
    given.train, given.train_labels = blobs(32, 50, 1280, 3.0)
    given.val, given.val_labels = given.train[:64], given.train_labels[:64]
    started = time.process_time()
    ask(names=tuple(map(str, range(32))))
    assert time.process_time() - started < 5


def test_from_photos_to_an_answer(photos: Path) -> None:
    heard: list[Event] = []
    settings: dict[str, Any] = {"backbone": "squeezenet1_1", "weights": "random", "image_size": 64}
    result = tl_app.probe(photos, on_event=heard.append, device="cpu", **settings)
    assert (result.train_images, result.val_images, result.weights) == (20, 4, "random")
    assert result.data == str(photos) and set(result.per_class) == {"red", "blue"}
    assert result.accuracy > 0.8, "red and blue differ in any features"
    activities = {event.activity for event in heard if isinstance(event, Progress)}
    assert "cross-validating" in activities and len(activities) >= 3


@pytest.mark.shared
def test_ants_and_bees_before_any_training(hymenoptera: Path, pretrained: Path) -> None:
    result = tl_app.probe(hymenoptera, device="cpu")
    assert result.accuracy > 0.92
    assert result.val_accuracy is not None and result.val_accuracy > 0.9
    assert abs(result.accuracy - result.val_accuracy) < 4 * result.spread + 0.02


def test_the_command_line_tells_people_and_programs(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["probe", str(photos), "--backbone", "squeezenet1_1", "--weights", "random", "--device", "cpu"]
    assert cli.run([*command, "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    answer = json.loads(lines[0])
    assert answer.keys() == {field.name for field in dataclasses.fields(ProbeResult)}
    assert answer["train_images"] == 20 and answer["backbone"] == "squeezenet1_1"
    monkeypatch.setenv("COLUMNS", "160")
    assert cli.run(command) == 0
    said = capsys.readouterr().out
    assert "of new photos right, before any training" in said and "of 4 validation photos" in said
    assert "red" in said and "blue" in said
    assert cli.run([*command[:1], "/not/there", "--json"]) == 3
    assert "/not/there" in json.loads(capsys.readouterr().out)["error"]
    assert cli.run([*command, "--image-size", "20"]) == 2
    assert "image_size is 20. Allowed: from 32" in capsys.readouterr().err
    assert cli.run([*command, "--precision", "fp8"]) == 2
    assert "precision is 'fp8'. Allowed: auto, fp32, bf16" in capsys.readouterr().err
