"""Exports answer as their run does, and one that does not is refused by the name of a photo."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import tl_app
from tl_app.data.index import DatasetIndex
from tl_app.errors import ExportError, UsageError, UserError
from tl_app.export import check, exporting, formats
from tl_app.export.check import Ask
from tl_app.export.formats import FORMATS
from tl_app.export.kept import read_exports
from tl_app.export.original import Original
from tl_app.runs import RunInfo

FOLDER = next(row for row in FORMATS if row.name == "safetensors")  # the quickest one


def test_a_broken_export_is_refused_and_an_older_good_one_stays(
    run: RunInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    (good,) = tl_app.export_run(run.path, "safetensors")
    before = (Path(good.file) / "model.safetensors").stat()

    def broken(path: Path, original: Original) -> Ask:
        ask = FOLDER.answers(path, original)
        return lambda photos: ask(photos)[:, ::-1]

    monkeypatch.setattr(formats, "FORMATS", (dataclasses.replace(FOLDER, answers=broken),))
    with pytest.raises(
        ExportError, match=r"of the photo (red|blue)/\d+\.png the run says '.+' \(.+%\), the export"
    ):
        tl_app.export_run(run.path, "safetensors")
    assert (Path(good.file) / "model.safetensors").stat() == before
    assert sorted(path.name for path in (run.path / "exports").iterdir()) == ["exports.json", "safetensors"]
    kept, refused = read_exports(run)
    assert kept.passed and not refused.passed and not refused.file and "does not answer" in refused.error


def test_one_that_never_was_good_leaves_no_file(run: RunInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "_put", lambda *_: pytest.fail("it was put in place"))
    row = dataclasses.replace(
        FOLDER, answers=lambda *_: lambda photos: np.full((len(photos), 2), np.nan, np.float32)
    )
    monkeypatch.setattr(formats, "FORMATS", (row,))
    with pytest.raises(ExportError, match="of the photo"):
        tl_app.export_run(run.path, "safetensors")
    assert [path.name for path in (run.path / "exports").iterdir()] == ["exports.json"]


def test_one_format_that_fails_stops_no_other(run: RunInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(original: Original, path: Path) -> str:
        raise RuntimeError("the exporter is broken")

    first = dataclasses.replace(FOLDER, name="first", label="First", file="first", write=fails)
    second = dataclasses.replace(FOLDER, name="second", label="Second", file="second", needs=("first",))
    monkeypatch.setattr(formats, "FORMATS", (first, second, FOLDER))
    rows = tl_app.export_run(run.path, "all", strict=False)
    assert [(row.format, row.passed) for row in rows] == [
        ("first", False),
        ("second", False),
        ("safetensors", True),
    ]
    assert "could not be made: RuntimeError: the exporter is broken" in rows[0].error
    assert "Second is made from first, which could not be made" in rows[1].error
    assert [row.format for row in read_exports(run)] == ["first", "second", "safetensors"]
    with pytest.raises(ExportError, match="the exporter is broken"):
        tl_app.export_run(run.path, "first")


def test_photos_that_are_gone_are_said_and_half_of_them_are_too_many(run: RunInfo, odd_photos: Path) -> None:
    tl_app.evaluate(run.path)
    index = DatasetIndex.read_manifest(run.path / "manifest.csv")
    val = [odd_photos / photo.path for photo in index.used("val")]
    assert len(val) >= 3
    val[0].unlink()
    (row,) = tl_app.export_run(run.path, "safetensors")
    assert row.passed and row.photos == len(val) - 1 and "1 validation photo could not be read" in row.note
    for path in val[1:-1]:
        path.unlink()
    with pytest.raises(ExportError, match="cannot be read, 1 can.*At least half"):
        tl_app.export_run(run.path, "safetensors")


def test_names_that_nothing_opens_are_refused_before_anything_is_made(run: RunInfo) -> None:
    config = json.loads((run.path / "config.json").read_text())
    config["classes"][0] = "re\u202ed"
    (run.path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="re.u202ed"):
        tl_app.export_run(run.path, "safetensors")
    assert not list((run.path / "exports").glob("*"))


def test_a_point_is_a_point() -> None:
    labels = np.zeros(100, np.int64)
    own = np.zeros(100, np.int64)
    for lost, fine in ((0, True), (1, True), (2, False)):
        said = np.array([1] * lost + [0] * (100 - lost))
        assert check.holds(said, own, labels) is fine


def test_weights_of_a_file_of_their_own(run: RunInfo, tmp_path: Path) -> None:
    """Their licence is not known, and their folder is nobody's business."""
    config = json.loads((run.path / "config.json").read_text())
    weights = shutil.copy(run.path / "checkpoints" / "start.safetensors", tmp_path / "own.safetensors")
    config["config"]["weights"] = config["asked"]["weights"] = f"file:{weights}"
    (run.path / "config.json").write_text(json.dumps(config))
    (row,) = tl_app.export_run(run.path, "safetensors")
    about = json.loads((Path(row.file) / "config.json").read_text())["tl_app"]
    assert about["weights"] == "file:own.safetensors" and "file of the owner" in about["licence"]
    assert str(tmp_path) not in json.dumps(about)
    assert tl_app.read_export(row.file).classes


def test_without_its_photos_nothing_can_be_checked(run: RunInfo, odd_photos: Path, tmp_path: Path) -> None:
    tl_app.evaluate(run.path)
    shutil.rmtree(odd_photos)
    with pytest.raises(ExportError, match="photos of run 'odd' are gone, so no export of it can be checked"):
        tl_app.export_run(run.path, "safetensors")
    (row,) = tl_app.export_run(run.path, "safetensors", unchecked=True, out=tmp_path / "copies")
    assert row.passed is None and row.photos == 0
    assert Path(row.file) == tmp_path / "copies" / "safetensors" and Path(row.file).is_dir()
    (kept,) = tl_app.list_exports(run.path)
    assert kept.passed is None and kept.file != row.file


def test_a_newer_model_makes_an_export_stale(run: RunInfo) -> None:
    tl_app.export_run(run.path, "safetensors")
    tl_app.export_run(run.path, "safetensors")  # in the place of the first
    assert not tl_app.list_exports(run.path)[0].stale
    table = run.path / "exports" / "exports.json"
    table.write_text(table.read_text().replace("best-0001", "best-0007"))
    assert tl_app.list_exports(run.path)[0].stale


def test_unknown_formats_are_refused(run: RunInfo) -> None:
    with pytest.raises(UsageError, match=r"'tflite' is no format to export to. Allowed: onnx, .*all"):
        tl_app.export_run(run.path, ["tflite"])
    with pytest.raises(UsageError, match="No format was named"):
        tl_app.export_run(run.path, [])
