"""A run is calibrated when its training ends, from what that kept, and where that was missed when it is evaluated."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.test_jobs import config, finished
from tl_app import evaluation, history, resources, results, runs
from tl_app.analysis import calibration, familiar, judging
from tl_app.analysis.metrics import Bin
from tl_app.engine import checkpoints
from tl_app.errors import DataError
from tl_app.evaluation import evaluate_run
from tl_app.events import Event, Finished, Notice, Progress
from tl_app.jobs import Worker
from tl_app.predictor import load_run
from tl_app.runs import RunInfo

HEAD = {"backbone": "bundled", "weights": "default", "recipe": "head", "image_size": 64, "precision": "fp32"}


def _trained(photos: Path, tmp_path: Path, name: str = "one", **settings: Any) -> RunInfo:
    job = finished(Worker(tmp_path / "runs").start(config(photos, **settings), name=name))
    return runs.open_run(job.path, tmp_path)


def _stored(info: RunInfo) -> dict[str, Any]:
    return json.loads((info.path / "metrics.json").read_text())  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "trained",
    [
        {},
        {"head": "mlp", "hidden": 16, "pooling": "flatten"},
        {"recipe": "partial", "freeze": 4, "epochs": 2},
    ],
    ids=["head", "head on maps", "stages"],
)
def test_after_training_frozen_stages_are_not_run_again(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: dict[str, Any]
) -> None:
    """The activations are there; the network need not see a photo a second time."""
    monkeypatch.setattr(judging, "load_run", lambda *_: pytest.fail("the network was loaded"))
    monkeypatch.setattr(judging, "answers_of", lambda *_, **__: pytest.fail("photos were asked again"))
    info = _trained(photos, tmp_path, **{**HEAD, **trained})
    monkeypatch.undo()
    early = _stored(info)["evaluation"]
    late = dataclasses.asdict(evaluate_run(info, None, None, "auto")[0])
    assert late.pop("report") == ""
    assert early.keys() == late.keys() and not (set(early) & set(_stored(info)) - {"run", "classes"})
    for name, value in late.items():
        if isinstance(value, float):
            assert early[name] == pytest.approx(value, abs=2e-3), name
    assert early["confusion"] == late["confusion"] and early["images"] == 4


@pytest.mark.parametrize("settings", [HEAD, {"epochs": 1}], ids=["head", "full"])
def test_a_finished_run_is_calibrated(photos: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    info = _trained(photos, tmp_path, **settings)
    model = checkpoints.model_id(info.path / "checkpoints")
    assert model is not None
    made, known = (part.read(info.path / "analysis", model) for part in (calibration, familiar))
    assert made is not None and made.images == 4 and made.log_loss <= made.log_loss_before
    assert known is not None and known.rows.shape[0] == 20
    stored = _stored(info)["evaluation"]
    assert stored["temperature"] == made.temperature and stored["accuracy"] == info.val_accuracy
    assert stored["unfamiliar_share"] is not None
    events = list(history.read_history(info.path))
    assert isinstance(events[-1], Finished) and results.read_result(info.path) is not None
    predictor = load_run(info)
    assert predictor.calibration == made and predictor.temperature == made.temperature


def test_a_run_of_before_works_and_is_calibrated_when_it_is_evaluated(photos: Path, tmp_path: Path) -> None:
    info = _trained(photos, tmp_path, epochs=1)
    shutil.rmtree(info.path / "analysis")
    plain = _stored(info)
    plain.pop("evaluation")
    (info.path / "metrics.json").write_text(json.dumps(plain))
    result = results.read_result(info.path)
    assert result is not None and result.val_accuracy == info.val_accuracy
    before = load_run(info)
    (answer,) = before.predict([photos / "red" / "00.png"])
    assert before.temperature == 1 and answer.sure is None and answer.unfamiliar is None
    found = evaluate_run(info, None, None, "auto")[0]
    assert found.calibrated_on == 4 and _stored(info)["evaluation"]["ece"] == found.ece
    (answer,) = load_run(info).predict([photos / "red" / "00.png"])
    assert answer.sure is not None and answer.unfamiliar is not None
    assert results.read_result(info.path) == result


def test_other_photos_are_judged_with_the_calibration_of_val(photos: Path, tmp_path: Path) -> None:
    info = _trained(photos, tmp_path, epochs=1)
    shutil.rmtree(info.path / "analysis")
    found = evaluate_run(info, photos, None, "auto")[0]
    val = evaluate_run(info, None, None, "auto")[0]
    assert found.split == "test" and found.images == 24
    assert found.temperature == val.temperature and found.calibrated_on == 4
    assert "test_evaluation" not in _stored(info)  # they are not the run's own


def test_test_photos_are_kept_apart(photos: Path, tmp_path: Path) -> None:
    split = tmp_path / "split"
    for part, names in (("train", range(8)), ("val", range(8, 10)), ("test", range(10, 12))):
        for label in ("red", "blue"):
            (split / part / label).mkdir(parents=True)
            for name in names:
                shutil.copy(photos / label / f"{name:02d}.png", split / part / label)
    info = _trained(split, tmp_path, epochs=1)
    assert "test_evaluation" not in _stored(info)  # looked at only when asked
    found = evaluate_run(info, None, "test", "auto")[0]
    stored = _stored(info)
    assert stored["test_evaluation"]["split"] == found.split == "test"
    assert stored["evaluation"]["split"] == "val"
    assert stored["evaluation"]["temperature"] == stored["test_evaluation"]["temperature"]


def test_a_better_model_is_not_judged_by_the_calibration_of_another(photos: Path, tmp_path: Path) -> None:
    info = _trained(photos, tmp_path, epochs=1)
    before = checkpoints.model_id(info.path / "checkpoints")
    path = info.path / "analysis" / "calibration.json"
    path.write_text(path.read_text().replace(json.dumps(before)[1:-1], "another"))
    assert load_run(info).temperature == 1.0 and load_run(info).calibration is None


def test_a_training_that_cannot_be_calibrated_is_done_all_the_same(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise DataError("The photos are gone.")

    monkeypatch.setattr(evaluation, "judged_by_training", fail)
    info = _trained(photos, tmp_path, epochs=1)
    said = [event.text for event in history.read_history(info.path) if isinstance(event, Notice)]
    assert info.state == "completed" and "evaluation" not in _stored(info)
    assert said[-1] == "Not calibrated yet; `tl-app evaluate` does it: The photos are gone."


def test_stopping_it_leaves_a_complete_run(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked to stop while it is calibrated, a run has nothing left to train."""
    real = evaluation.judged_by_training

    def judged(info: RunInfo, report: Any) -> Any:
        job.stop()
        report(0, 4)
        return real(info, report)

    monkeypatch.setattr(evaluation, "judged_by_training", judged)
    started: list[Event] = []
    job = Worker(tmp_path / "runs").start(config(photos, epochs=1), listener=started.append)
    finished(job)
    info = runs.open_run(job.path, tmp_path)
    assert info.state == "completed" and "evaluation" not in _stored(info)
    assert not [event for event in started if isinstance(event, Progress) and event.activity == "calibrating"]


def test_without_kept_activations_the_predictor_is_asked(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_cache = _trained(photos, tmp_path, **HEAD)
    without = _trained(photos, tmp_path, name="two", cache="off", **HEAD)
    one, other = _stored(with_cache)["evaluation"], _stored(without)["evaluation"]
    assert one["confusion"] == other["confusion"]
    shutil.rmtree(resources.cache_dir() / "boundary")
    again = judging.judged_by_training(with_cache, lambda *_: None)
    np.testing.assert_allclose(again.calibration.temperature, one["temperature"], rtol=1e-2)


def test_a_bin_is_plain_json(photos: Path, tmp_path: Path) -> None:
    stored = _stored(_trained(photos, tmp_path, epochs=1))["evaluation"]
    assert sum(Bin(**each).images for each in stored["reliability"]) == 4
