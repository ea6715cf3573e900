"""Answers are the predictor's own, computed once, and never those of another model or of other photos."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import make_photos
from tests.test_jobs import config, finished
from tl_app import caches, insights, runs
from tl_app.analysis import answers as kept
from tl_app.analysis import reading
from tl_app.analysis.answers import Answers, answers_of
from tl_app.analysis.labelled import labelled
from tl_app.analysis.learned import inherited, learned_from
from tl_app.errors import DataError, UsageError
from tl_app.evaluation import evaluate_run
from tl_app.files import write_atomically
from tl_app.jobs import Worker
from tl_app.predictor import Predictor, load_run, model_of
from tl_app.runs import RunInfo


@pytest.fixture
def run(photos: Path, tmp_path: Path) -> RunInfo:
    (photos / "red" / "broken.png").write_bytes((photos / "red" / "00.png").read_bytes()[:300])
    job = finished(Worker(tmp_path / "runs").start(config(photos, epochs=1), name="one"))
    return runs.open_run(job.path, tmp_path)


def test_they_are_what_the_predictor_says(run: RunInfo, photos: Path) -> None:
    steps: list[tuple[int, int]] = []
    found = answers_of(run, "all", on_progress=lambda *step: steps.append(step))
    assert (found.classes, found.split, found.root) == (("blue", "red"), "all", photos)
    assert len(found.paths) == 24 and not found.left_out and steps == [(24, 24)]
    assert [found.classes[label] for label in found.labels] == [path.split("/")[0] for path in found.paths]
    predictor = load_run(run)
    images = torch.stack(
        [predictor.preprocessing.center(predictor.preprocessing.load(photos / path)) for path in found.paths]
    )
    np.testing.assert_allclose(found.logits, predictor.logits(images), rtol=1e-4, atol=1e-5)
    assert found.features.shape == (24, 1024) and found.features.dtype == np.float16
    by_hand = found.features.astype(np.float32) @ predictor.network.classifier.weight.detach().numpy().T
    np.testing.assert_allclose(
        found.logits, by_hand + predictor.network.classifier.bias.detach().numpy(), rtol=1e-2, atol=1e-2
    )


def test_the_network_is_made_ready_for_all_of_them(run: RunInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    """For one batch OpenVINO would never pay."""
    expected: list[int | None] = []
    monkeypatch.setattr(Predictor, "expect", lambda _, images=None: expected.append(images))
    answers_of(run, "all")
    assert expected == [24]


def test_they_are_computed_once(run: RunInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    first = answers_of(run)
    monkeypatch.setattr(kept, "load_run", lambda *_: pytest.fail("computed a second time"))
    again = answers_of(run, on_progress=lambda *_: pytest.fail("nothing is to be computed"))
    assert (again.paths, again.contents, again.left_out, again.root) == (
        first.paths,
        first.contents,
        first.left_out,
        first.root,
    )
    for name in ("labels", "logits", "features"):
        one, other = getattr(first, name), getattr(again, name)
        assert one.dtype == other.dtype and np.array_equal(one, other)


def test_a_better_model_is_asked_anew(run: RunInfo, tmp_path: Path) -> None:
    before = answers_of(run)
    worker = Worker(tmp_path / "runs")
    job = finished(worker.extend(run.path, epochs=8))
    after = runs.open_run(job.path, tmp_path)
    assert after.best_epoch > 1  # or the test would say nothing
    assert not np.array_equal(answers_of(after).logits, before.logits)


def test_other_photos_are_asked_anew(run: RunInfo) -> None:
    answers_of(run)
    manifest = run.path / "manifest.csv"
    rows = manifest.read_text().splitlines()
    gone = next(number for number, row in enumerate(rows) if '"val"' in row and number > 1)
    manifest.write_text("\n".join(rows[:gone] + rows[gone + 1 :]) + "\n")
    assert len(answers_of(run).paths) == 3


def test_a_spoilt_file_is_made_again(run: RunInfo) -> None:
    first = answers_of(run).logits.copy()
    file = run.path / "analysis" / "val.safetensors"
    write_atomically(
        file, file.read_bytes()[:50]
    )  # cut in place, it would be gone from under those who map it
    assert np.array_equal(answers_of(run).logits, first)


def test_other_photos_of_the_same_classes_are_not_kept(run: RunInfo, photos: Path) -> None:
    found = answers_of(run, None, data=photos)
    assert found.split == "test" and len(found.paths) == 24 and list(found.left_out) == ["red/broken.png"]
    assert not (run.path / "analysis" / "test.safetensors").exists()


def test_what_cannot_be_asked_says_so(run: RunInfo) -> None:
    with pytest.raises(UsageError, match="split is 'dev'. Allowed: train, val, test, all"):
        answers_of(run, "dev")
    with pytest.raises(DataError, match="no photos in the test split"):
        answers_of(run, "test")


def test_what_was_answered_outlives_the_photos(run: RunInfo, photos: Path, tmp_path: Path) -> None:
    first = answers_of(run)
    photos.rename(tmp_path / "elsewhere")
    assert np.array_equal(answers_of(run).logits, first.logits)
    with pytest.raises(DataError, match="There is no"):
        answers_of(run, "train")


def test_thousands_of_answers_open_at_once(run: RunInfo) -> None:
    """10,000 photos of 1,000 classes are read without a copy of their figures: they are mapped."""
    photos = labelled(run, None, "val")
    model = model_of(run)
    assert model is not None
    many = Answers(
        run.classes,
        photos.index.root,
        tuple(map(str, range(10_000))),
        ("0" * 32,) * 10_000,
        np.zeros(10_000, np.int64),
        np.zeros((10_000, 1000), np.float32),
        np.zeros((10_000, 1280), np.float16),
        "val",
        {},
    )
    kept._write(run, many, kept._fingerprint(photos, model))
    resident = _resident_bytes()
    found = answers_of(run)
    assert found.logits.shape == (10_000, 1000)
    assert _resident_bytes() - resident < 30e6


def _resident_bytes() -> int:
    import psutil

    return int(psutil.Process(os.getpid()).memory_info().rss)


def test_a_photo_that_comes_back_is_asked_after_all(run: RunInfo, photos: Path) -> None:
    path = photos / answers_of(run).paths[0]
    content = path.read_bytes()
    (run.path / "analysis" / "val.safetensors").unlink()
    path.unlink()
    caches.clear("decoded")
    without = answers_of(run)
    assert len(without.left_out) == 1 and len(without.paths) == 3
    assert answers_of(run).left_out == without.left_out, "it is still gone"
    path.write_bytes(content)
    assert len(answers_of(run).paths) == 4 and not answers_of(run).left_out


def test_what_a_source_run_learned_counts_too(run: RunInfo, photos: Path, tmp_path: Path) -> None:
    settings = config(photos, epochs=1, seed=5, weights=f"run:{run.path}", recipe="full")
    second = runs.open_run(finished(Worker(tmp_path / "runs").start(settings, name="two")).path, tmp_path)
    own = {photo.content_hash for photo in labelled(second, None, "train").photos}
    assert learned_from(second) == own | inherited(second) and inherited(second) == learned_from(run)
    assert inherited(second) - own, "another seed, another split"
    with pytest.raises(UsageError, match="has learned 20 photos of these already, so folds would flatter"):
        insights.cross_validate(second.path, 2)
    _, found = evaluate_run(second, photos, None, "cpu")
    assert found.known == 24 and "has learned 24 photos of these" in reading.caution(found)
    assert reading.headline(found)[1].endswith("on 24 photos")
    made = make_photos(tmp_path / "others", per_class=3, side=50)
    for number, file in enumerate(sorted(made.rglob("*.png"))):
        file.write_bytes(file.read_bytes() + bytes([number]))
    assert "seen none of these photos" in reading.caution(evaluate_run(second, made, None, "cpu")[1])
