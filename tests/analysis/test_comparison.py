"""Runs side by side, and the test on the photos that they have in common."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import tl_app
from tests.conftest import make_photos
from tl_app import cli, runs
from tl_app.analysis import comparison, pairs
from tl_app.analysis.footprint import footprint
from tl_app.analysis.pairs import Pair
from tl_app.errors import UsageError

TINY: dict[str, Any] = {
    "backbone": "mobilenet_v3_small",
    "weights": "random",
    "image_size": 32,
    "epochs": 1,
    "views": 1,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs `one`, `two` and `other`: the last with another split of the same photos."""
    folder = tmp_path_factory.mktemp("compared")
    photos = make_photos(folder / "photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TL_APP_HOME", str(folder / "home"))
        for name, more in (
            ("one", {"recipe": "head"}),
            ("two", {"recipe": "partial", "lr_head": 0.01}),
            ("other", {"recipe": "head", "seed": 3, "val_fraction": 0.5}),
        ):
            tl_app.train(photos, name=name, runs_dir=folder / "runs", **{**TINY, **more})
    return folder


def test_runs_side_by_side(trained: Path, home: Path) -> None:
    seen: list[tuple[int, int]] = []
    infos = [runs.open_run(name, trained / "runs") for name in ("one", "two")]
    found = comparison.compare_runs(infos, lambda done, total: seen.append((done, total)))
    assert seen == [(0, 2), (1, 2), (2, 2)]
    one, two = found.runs
    assert (one.name, one.recipe, one.frozen_stages, one.stages) == ("one", "head", 8, 8)
    assert one.accuracy_low <= one.accuracy <= one.accuracy_high and one.val_images == 4
    assert one.trainable_parameters < two.trainable_parameters < two.total_parameters
    assert one.model_bytes > 4 * one.total_parameters, "weights and BatchNorm's statistics"
    assert one.cpu_seconds > 0 and one.gflops == two.gflops > 0
    assert {each.setting for each in found.differences} == {"recipe", "freeze", "lr_head", "lr_backbone"}
    assert [each.values for each in found.differences if each.setting == "recipe"] == [("head", "partial")]
    (pair,) = found.pairs
    assert pair.images == 4 and pair.trained_on == 0 and pair.p_value is not None
    assert "too close to call" in pair.sentence, "four photos prove nothing"
    assert len(found.curves["data"]) == 6 and found.curves["data"][1]["name"] == "one"
    json.dumps(found.curves, allow_nan=False)


def test_photos_that_the_other_was_trained_on_are_left_out(trained: Path) -> None:
    infos = [runs.open_run(name, trained / "runs") for name in ("one", "other")]
    (pair,) = comparison.compare_runs(infos).pairs
    val, train = ({}, {})
    for info in infos:
        contents, _, _ = comparison._answers(info)
        val[info.name], train[info.name] = set(contents), comparison.learned_from(info)
    assert pair.images == len(val["one"] & val["other"])
    assert pair.trained_on == len(val["one"] & train["other"]) + len(val["other"] & train["one"]) > 0
    assert f"{pair.trained_on} photos that one validates with" in pair.sentence


def test_operations_are_counted_as_torchvision_does(trained: Path) -> None:
    from tl_app.backbones.catalogue import get_backbone
    from tl_app.backbones.staged import build

    network = build("mobilenet_v3_small", num_classes=1000, image_size=224).eval()
    from tl_app.analysis.footprint import _gflops

    assert _gflops(network, 224) == pytest.approx(get_backbone("mobilenet_v3_small").gflops, rel=0.05)
    found = footprint(runs.open_run("one", trained / "runs"))
    assert found.gflops < 0.01


def test_photos_that_moved_away_cost_the_test_not_the_table(trained: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(trained / "runs" / name, tmp_path / name)
        manifest = tmp_path / name / "manifest.csv"
        manifest.write_text(manifest.read_text().replace(str(trained / "photos"), str(tmp_path / "gone")))
        (tmp_path / name / "analysis" / "val.safetensors").unlink(
            missing_ok=True
        )  # which outlive their photos
    found = comparison.compare_runs([runs.open_run(tmp_path / name, tmp_path) for name in ("one", "two")])
    assert len(found.runs) == 2
    assert found.pairs[0].p_value is None and str(tmp_path / "gone") in found.pairs[0].sentence


def test_what_cannot_be_compared_is_said(trained: Path) -> None:
    one = runs.open_run("one", trained / "runs")
    with pytest.raises(UsageError, match="1 run cannot be compared"):
        comparison.compare_runs([one])
    with pytest.raises(UsageError, match="Run 'one' is named twice"):
        comparison.compare_runs([one, one])


def test_counts_for_the_test() -> None:
    first = (["a", "b", "c", "d", "e"], ["x", "x", "y", "y", "x"], ["x", "y", "y", "x", "x"])
    second = (["a", "b", "c", "d", "z"], ["x", "x", "y", "x", "x"], ["x", "x", "x", "x", "x"])
    assert pairs.paired(first, second, [set(), set()]) == (3, 0, 1, 1), (
        "d has two labels, e and z one run each"
    )
    assert pairs.paired(first, second, [set(), {"a", "e"}]) == (2, 2, 1, 1)


def _pair(only_first: int, only_second: int, p_value: float | None, names: str = "AB") -> Pair:
    return Pair(names[0], names[1], 153, 0, only_first, only_second, p_value, None, "")


def test_sentences_are_corrected_for_their_number() -> None:
    (alone,) = pairs.corrected([_pair(2, 12, 0.01)])
    assert alone.sentence.startswith("B is better than A (p = 0.01); of 153 common validation photos only A")
    (close,) = pairs.corrected([_pair(4, 6, 0.4)])
    assert close.sentence.startswith("A or B: too close to call (p = 0.4)")
    (none,) = pairs.corrected([Pair("A", "B", 0, 7, 0, 0, None, None, "")])
    assert "no validation photo in common" in none.sentence and "7 photos that one" in none.sentence
    three = pairs.corrected([_pair(2, 12, 0.01), _pair(20, 1, 0.0001, "AC"), _pair(3, 9, 0.03, "BC")])
    assert [each.adjusted for each in three] == pytest.approx([0.02, 0.0003, 0.03])
    assert "A is better than C (p < 0.001, corrected for 3 pairs)" in three[1].sentence


def test_on_the_command_line(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--runs-dir", str(trained / "runs")]
    assert cli.run(["compare", "one", "two", "other", *where, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in values["runs"]] == ["one", "two", "other"] and len(values["pairs"]) == 3
    assert cli.run(["compare", "one", "two", *where]) == 0
    said = capsys.readouterr().out
    assert "too close to call" in said and "Learning rate, head" in said and "GFLOPs" in said
    assert cli.run(["compare", "one", *where]) == 2
    assert "2 to 8" in capsys.readouterr().err
