"""Cross-validation leaves every photo out once, and nothing behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.test_jobs import config, finished
from tl_app import folding, insights, resources, runs
from tl_app.data.index import scan
from tl_app.data.splits import dealt
from tl_app.errors import DataError, UsageError
from tl_app.events import EpochDone, Event, Notice
from tl_app.folding import fold_indexes
from tl_app.jobs import Job, Worker
from tl_app.runs import RunInfo


@pytest.fixture
def run(photos: Path, tmp_path: Path) -> RunInfo:
    job = finished(Worker(tmp_path / "runs").start(config(photos, epochs=1), name="one"))
    return runs.open_run(job.path, tmp_path)


def test_every_photo_is_left_out_once(photos: Path) -> None:
    index = scan(photos)
    folds = fold_indexes(index, 5, seed=0)
    left_out = [photo.path for fold in folds for photo in fold.used("val")]
    assert sorted(left_out) == sorted(photo.path for photo in index.photos) and len(folds) == 5
    for fold in folds:
        assert len(fold.used("train")) + len(fold.used("val")) == 24
        assert {photo.label for photo in fold.used("train")} == {"red", "blue"}
        assert 4 <= len(fold.used("val")) <= 5
    assert [fold.photos for fold in fold_indexes(index, 5, seed=0)] == [fold.photos for fold in folds]
    assert [fold.photos for fold in fold_indexes(index, 5, seed=1)] != [fold.photos for fold in folds]


def test_copies_of_a_photo_stay_together_and_lone_photos_train() -> None:
    labels = ["a"] * 8 + ["b"]
    keys = ["1", "1", "2", "2", "3", "3", "4", "4", "5"]
    places = dealt(labels, 2, 0, keys)
    assert places[8] == -1 and sorted(places[:8:2]) == [0, 0, 1, 1]
    assert places[0:8:2] == places[1:8:2]


def test_it_trains_once_a_fold_and_cleans_up(run: RunInfo) -> None:
    seen: list[Event] = []
    found = insights.cross_validate(run.path, 3, on_event=seen.append)
    assert found.folds == 3 and found.images == 24 and len(found.accuracies) == 3
    assert found.accuracy == pytest.approx(sum(found.accuracies) / 3) and found.spread >= 0
    low, high = found.accuracy_interval
    assert low < found.accuracy < high and sum(map(sum, found.confusion)) == 24
    assert sum(isinstance(event, EpochDone) for event in seen) == 3
    assert "Fold 2 of 3: 16 photos to train on, 8 photos left out." in [
        event.text for event in seen if isinstance(event, Notice)
    ]
    assert not list(resources.cache_dir().glob(".folds-*"))
    assert [info.name for info in runs.list_runs(run.path.parent)] == ["one"]


def test_ctrl_c_ends_the_training_under_way_and_cleans_up(
    run: RunInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Job] = []
    real = Job.wait

    def wait(job: Job, timeout_seconds: float | None = None) -> bool:
        jobs.append(job)
        if timeout_seconds is not None and len(jobs) == 1:
            raise KeyboardInterrupt
        return real(job, timeout_seconds)

    monkeypatch.setattr(Job, "wait", wait)
    with pytest.raises(KeyboardInterrupt):
        folding.cross_validated(run, 2)
    assert not jobs[0].is_alive and len(set(map(id, jobs))) == 1
    assert not list(resources.cache_dir().glob(".folds-*"))


@pytest.mark.parametrize("folds", [0, 1, 21])
def test_a_number_that_makes_no_sense_is_refused(run: RunInfo, folds: int) -> None:
    with pytest.raises(UsageError, match=f"folds is {folds}. Allowed: 2 to 20"):
        folding.cross_validated(run, folds)


def test_too_few_photos_for_so_many_folds(tmp_path: Path) -> None:
    from tests.conftest import make_photos

    index = scan(make_photos(tmp_path / "few", per_class=2))
    with pytest.raises(DataError, match="4 photos are too few for 5 folds"):
        fold_indexes(index, 5, seed=0)


def test_a_blend_is_not_trained(run: RunInfo) -> None:
    import dataclasses

    blended: Any = dataclasses.replace(run, blended=("two", 0.5))
    with pytest.raises(UsageError, match="is a blend"):
        folding.cross_validated(blended, 2)


def test_an_extended_run_is_refused(run: RunInfo) -> None:
    insights_of = runs.open_run(
        finished(Worker(run.path.parent).extend("one", epochs=1)).path, run.path.parent
    )
    with pytest.raises(UsageError, match="was extended after its end, which folds do not repeat"):
        folding.cross_validated(insights_of, 2)
