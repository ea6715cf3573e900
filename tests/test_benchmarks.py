"""The benchmarks work: photos are made, a peer trains on them, figures and tables are right. Times nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.benchmarks import accuracy, measure, photos
from tests.benchmarks.__main__ import main
from tests.benchmarks.report import render
from tests.benchmarks.results import Results, Row, read
from tests.benchmarks.sides import ROOT, Comparison, script, sides
from tl_app.config import TrainConfig

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the benchmarks need Linux or macOS")

_MACHINE: dict[str, Any] = {
    "processor": "Some CPU",
    "units": ["avx2"],
    "cores": 2,
    "memory_gib": 8,
    "system": "Linux 6",
    "python": "3.11.7",
    "versions": {"torch": "2.9.0"},
}


def test_photos_are_split_labelled_and_made_once(tmp_path: Path) -> None:
    folder = photos.make(tmp_path, 12, (40, 30))
    files = sorted(folder.rglob("*.jpg"))
    counts = {
        f"{split}/{label}": len(list((folder / split / label).iterdir()))
        for split in ("train", "val")
        for label in photos.CLASSES
    }
    assert counts == {"train/cold": 5, "train/warm": 5, "val/cold": 1, "val/warm": 1}
    with Image.open(files[0]) as image:
        assert (image.format, image.size) == ("JPEG", (40, 30))
    redness = {path.parent.name: _mean(path, 0) - _mean(path, 2) for path in files}
    assert redness["warm"] > redness["cold"]

    before = {path: path.stat().st_mtime_ns for path in files}
    assert photos.make(tmp_path, 12, (40, 30)) == folder
    assert {path: path.stat().st_mtime_ns for path in files} == before
    (folder.parent / "made.json").unlink()  # as a process that was ended on the way leaves it
    content = files[0].read_bytes()
    files[0].write_bytes(b"half")
    assert photos.make(tmp_path, 12, (40, 30)) and files[0].read_bytes() == content


def _mean(path: Path, channel: int) -> float:
    with Image.open(path) as image:
        pixels = image.getchannel(channel).tobytes()
    return sum(pixels) / len(pixels)


def test_too_few_photos_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="from 10 on"):
        photos.make(tmp_path, 9)


def test_a_process_is_measured_with_its_children(tmp_path: Path) -> None:
    child = "import time; block = bytearray(150_000_000); time.sleep(1.5)"
    parent = f"import json, subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}]); print('hm')\n"
    parent += "print(json.dumps({'answer': 42}))"
    measured = measure.run([sys.executable, "-c", parent], measure.environment(tmp_path / "home"))
    assert measured.seconds > 1.5 and measured.memory_bytes > 150_000_000
    assert measured.said == {"answer": 42} and measured.error == ""

    failed = measure.run([sys.executable, "-c", "raise SystemExit('no photos')"], {})
    assert failed.error == "exit code 1: no photos" and failed.code == 1


def test_threads_are_not_limited_and_files_stay_in_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    env = measure.environment(tmp_path / "homes" / "own", MORE="yes")
    assert "OMP_NUM_THREADS" not in env and env["MORE"] == "yes"
    assert env["TL_APP_HOME"] == str(tmp_path / "homes" / "own")
    assert Path(env["MPLCONFIGDIR"]).is_relative_to(tmp_path / "homes")


def test_the_tutorial_trains_and_a_missing_peer_gets_a_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A whole small call: the tutorial's loop on 12 photos, and fastai with an interpreter that has no packages."""
    bare = tmp_path / "python-without-packages"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    bare.chmod(0o755)
    size = ["--photos", "12", "--epochs", "1", "--backbones", "mobilenet_v3_small"]
    out = tmp_path / "results.json"
    paths = ["--peer-python", str(bare), "--work", str(tmp_path / "work"), "--out", str(out)]
    assert main(["head", *size, "--only", "tutorial", "fastai", *paths]) == 0

    printed = capsys.readouterr()
    assert "This takes about 2 minutes" in printed.err
    assert "| PyTorch's tutorial loop, batches of 4 |" in printed.out
    assert "fastai, frozen `vision_learner`: not installed; pip install fastai" in printed.out
    assert str(tmp_path) not in printed.out
    command = f"head {' '.join(size)} --only tutorial fastai --peer-python PATH"
    assert f"python -m tests.benchmarks {command}" in printed.out

    tutorial, fastai = (Row(**values) for values in json.loads(out.read_text())["rows"])
    assert tutorial.note == "" and fastai.median_seconds is None
    assert len(tutorial.said["epoch_seconds"]) == 1 and 0 <= tutorial.said["val_accuracy"] <= 1
    assert tutorial.said["trainable_parameters"] == 1024 * 2 + 2  # a new last layer, nothing else
    assert tutorial.median_seconds is not None and tutorial.median_seconds > tutorial.said["epoch_seconds"][0]
    assert read([out]).find("head", "mobilenet_v3_small", "tutorial") is not None


def test_all_sides_get_the_same_task() -> None:
    on = Comparison("partial", Path("photos"), "resnet18", 10, 0, "python-of-peers")
    chosen = {side.name: side for side in sides(on)}
    unfrozen = chosen["tutorial"].command[chosen["tutorial"].command.index("--unfrozen") + 1 :]
    assert len(unfrozen) == 15 and all(name.startswith("layer4.") for name in unfrozen)
    ours = chosen["ours"].command
    assert ours[ours.index("--freeze") + 1] == "4"  # of five stages
    assert (
        ours[ours.index("--without") + 1] == "openvino" and "--without" not in chosen["ours-openvino"].command
    )
    for side in chosen.values():
        assert side.command[side.command.index("--epochs") + 1] == "10"
        assert side.command[side.command.index("--backbone") + 1] == "resnet18"


def test_peers_run_in_their_own_interpreter_and_one_epoch_is_priced_from_the_cache() -> None:
    on = Comparison("head", Path("photos"), "resnet18", 10, 100, "python-of-peers")
    chosen = {side.name: side for side in sides(on)}
    assert {name for name, side in chosen.items() if side.command[0] == "python-of-peers"} == {
        "fastai",
        "fastai-augmented",
        "ultralytics",
    }
    assert [side.name for side in chosen.values() if side.warm] == ["ours-again", "ours-further"]
    again, further = chosen["ours-again"].command, chosen["ours-further"].command
    assert [a for a, b in zip(again, further, strict=True) if a != b] == ["10"] and "110" in further
    views = {
        name: side.command[side.command.index("--views") + 1]
        for name, side in chosen.items()
        if "--views" in side.command
    }
    assert views["ours"] == "1" and views["ours-views"] == "10"


def test_tables_and_goals_say_what_was_measured() -> None:
    results = _results(tutorial=600.0, ours=20.0, floor=16.0)
    text = render(results)
    assert "Machine: Some CPU, avx2, 2 cores, 8 GiB, Linux 6, Python 3.11.7; torch 2.9.0." in text
    assert "**Head only, resnet18, 2,000 photos, 10 epochs**" in text
    line = "| tl-app, one view | 20.0 s (19.0–21.0) | 30.0× | 1.25× | – | 1.00 GB (2.00 GB) | 97.5 % |"
    assert line in text
    assert "fastai" not in text  # nobody measured it, so there is no column of gaps
    assert "| resnet18: tl-app, one view faster than the tutorial loop | ≥ 25× | 30.0× | yes |" in text
    assert "| resnet18: tl-app, one view over the floor | ≤ 1.5× | 1.25× | yes |" in text
    assert "| resnet18: second run over the first | ≤ 0.35× | 0.30× | yes |" in text
    # The loop's epoch took 60 s; 100 more of ours took 4 s.
    assert "| resnet18, head: one more epoch cheaper than the loop's | ≥ 1000× | 1500× | yes |" in text
    assert "one more epoch" in text and "40 ms" in text
    assert "| yes |" in text and "| no |" not in text
    assert "| resnet18: tl-app, one view faster than the tutorial loop | ≥ 25× | 20.0× | no |" in render(
        _results(tutorial=400.0, ours=20.0, floor=16.0)
    )


def _results(*, tutorial: float, ours: float, floor: float, photos: int = 2000) -> Results:
    results = Results({**_MACHINE, "versions": dict(_MACHINE["versions"])})
    results.commands.append("python -m tests.benchmarks head")

    def add(side: str, label: str, seconds: list[float], **said: Any) -> None:
        row = results.begin(Row("head", "resnet18", side, label, photos, 10, seconds, said=said))
        row.memory_bytes, row.shared_once_bytes = 2_000_000_000, 1_000_000_000

    add("tutorial", "the loop", [tutorial], epoch_seconds=[60.0, 60.0, 61.0], val_accuracy=0.9)
    add("floor", "floor", [floor])
    add("ours", "tl-app, one view", [ours - 1, ours, ours + 1], val_accuracy=0.975)
    add("ours-again", "again", [0.3 * ours], epochs=10)
    add("ours-further", "further", [0.3 * ours + 4.0], epochs=110)
    return results


def test_goals_are_for_the_size_they_were_set_for() -> None:
    assert "Goals" not in render(_results(tutorial=600.0, ours=20.0, floor=16.0, photos=60))


def test_pieces_join_when_they_were_measured_alike(tmp_path: Path) -> None:
    for number, seconds in enumerate((600.0, 500.0)):
        piece = Results(_MACHINE, tmp_path / f"{number}.json")
        side = ("tutorial", "ours")[number]
        piece.begin(Row("head", "resnet18", side, side, 2000, 10, [seconds]))
        piece.commands.append(f"command {number}")
        piece.save()
    joined = read([tmp_path / "0.json", tmp_path / "1.json"])
    assert [row.side for row in joined.of("head", "resnet18")] == ["tutorial", "ours"]
    assert "measured in several calls" in render(joined).lower()

    other = Results({**_MACHINE, "cores": 64})
    with pytest.raises(ValueError, match="another machine: cores"):
        other.merge(tmp_path / "0.json")
    fewer = Results(dict(_MACHINE))
    fewer.begin(Row("head", "resnet18", "ours", "ours", 500, 10))
    with pytest.raises(ValueError, match="other photos or epochs"):
        fewer.merge(tmp_path / "0.json")


def test_a_module_can_be_hidden_from_ours() -> None:
    """One machine measures ours with and without an extra: hiding a module must work like not installing it."""
    env = {"PYTHONPATH": str(ROOT)}
    assert (
        subprocess.run(script(sys.executable, "ours", "--help"), capture_output=True, env=env).returncode == 0
    )
    hidden = script(sys.executable, "ours", "--without", "typer", "--help")
    done = subprocess.run(hidden, capture_output=True, text=True, env=env)
    assert done.returncode == 1 and "import of typer halted" in done.stderr


def test_every_row_of_the_accuracy_table_is_a_setting_there_is() -> None:
    for row, settings in accuracy.ROWS.items():
        assert TrainConfig.from_dict(settings) != TrainConfig() or row == "head only"
    assert set(accuracy.RECIPES) <= set(accuracy.ROWS)


def test_photos_to_validate_on_are_the_same_for_every_number_and_seed(photos: Path, tmp_path: Path) -> None:
    def names(count: int, seed: int) -> tuple[set[str], set[str]]:
        folder = accuracy.sampled(photos, tmp_path / f"{count}-{seed}", count, seed)
        train, val = (
            {f"{path.parent.name}/{path.name}" for path in (folder / split).rglob("*.png")}
            for split in ("train", "val")
        )
        assert not train & val
        return train, val

    few, val = names(1, 0)
    assert len(few) == 2 and len(val) == 2 * accuracy.VAL_PER_CLASS
    more, same = names(2, 0)
    assert few < more and same == val
    others = [names(1, seed) for seed in (1, 2, 3)]
    assert all(each[1] == val for each in others) and any(each[0] != few for each in others)


def test_the_accuracy_table_shows_medians_and_ranges() -> None:
    def result(share: float, seconds: float) -> dict[str, Any]:
        return {
            "row": "full",
            "per_class": 3,
            "backbone": "b",
            "image_size": 64,
            "val_accuracy": share,
            "seconds": seconds,
        }

    rows = [result(0.9, 3.0), result(0.7, 1.0), result(0.8, 9.0), result(0.1, 1.0) | {"image_size": 32}]
    shown = accuracy.table(rows, ["full", "auto"], [3], "b", 64)
    assert "| full | **80.0 %** (70.0–90.0), 3 s |" in shown and "| auto | – |" in shown
