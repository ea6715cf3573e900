"""The command line as a program sees it: exit codes, and one JSON object as the last line of standard output."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tl_app import cli, predicting, runs

TINY = "--backbone mobilenet_v3_small --weights random --recipe full --epochs 2 --image-size 32".split()


def call(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, dict[str, Any], str]:
    """Runs a command with --json; returns its exit code, its object and what it wrote to standard error."""
    code = cli.run([*map(str, arguments), "--json"])
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert len(lines) == 1, captured.out
    return code, json.loads(lines[0]), captured.err


@pytest.fixture
def run(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    code, result, _ = call(capsys, "train", photos, *TINY, "--runs-dir", tmp_path / "runs", "--name", "tiny")
    assert code == 0
    return result


def test_train_reports_all_it_should(run: dict[str, Any], photos: Path) -> None:
    assert set(run) >= {
        *(
            "run",
            "best_epoch",
            "val_accuracy",
            "val_loss",
            "classes",
            "train_images",
            "val_images",
            "seconds",
        ),
        *("images_per_second", "trainable_parameters", "total_parameters"),
    }
    assert Path(run["run"]).is_dir() and run["name"] == "tiny"
    assert (run["classes"], run["train_images"], run["val_images"]) == (["blue", "red"], 20, 4)
    assert 0 <= run["val_accuracy"] <= 1 and run["trainable_parameters"] == run["total_parameters"] > 10**6


def test_predict_names_every_photo_and_says_why_not(
    run: dict[str, Any], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes((photos / "red" / "00.png").read_bytes()[:300])
    missing = tmp_path / "missing.jpg"
    code, answer, _ = call(capsys, "predict", run["run"], photos / "red" / "00.png", broken, missing)
    assert code == 0
    good, *bad = answer["predictions"]
    assert set(good) == {"path", "label", "confidence", "top", "sure", "unfamiliar"}
    assert good["label"] in ("red", "blue") and good["top"][0]["label"] == good["label"]
    assert sum(each["confidence"] for each in good["top"]) == pytest.approx(1, abs=1e-5)
    assert [each["path"] for each in bad] == [str(broken), str(missing)]
    assert all(set(each) == {"path", "error"} and each["error"] for each in bad)


def test_predict_averages_over_views_where_asked(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resnet = [*TINY, "--backbone", "resnet18"]  # after so few steps MobileNetV3 says the same of all photos
    run = call(capsys, "train", photos, *resnet, "--runs-dir", tmp_path / "runs", "--name", "tiny")[1]
    asked = ("predict", run["run"], photos / "red" / "00.png")
    shares = [
        call(capsys, *asked, *more)[1]["predictions"][0]["confidence"]
        for more in ((), ("--tta",), ("--tta",))
    ]
    assert abs(shares[0] - shares[1]) > 1e-4
    assert shares[1] == shares[2]
    (answer,) = predicting.predict(run["run"], photos / "red" / "00.png", tta=True)
    assert answer.confidence == pytest.approx(shares[1])


def test_predict_by_name_and_with_a_folder(
    run: dict[str, Any], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, answer, _ = call(
        capsys, "predict", "tiny", photos / "red", "--runs-dir", tmp_path / "runs", "--top", "1"
    )
    assert code == 0 and len(answer["predictions"]) == 12
    assert all(len(each["top"]) == 1 for each in answer["predictions"])


def test_evaluate_agrees_with_training(
    run: dict[str, Any], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, answer, _ = call(capsys, "evaluate", run["run"])
    assert code == 0 and (answer["split"], answer["images"]) == ("val", 4)
    assert answer["accuracy"] == pytest.approx(run["val_accuracy"])
    assert answer["loss"] == pytest.approx(run["val_loss"], rel=1e-5)
    low, high = answer["accuracy_interval"]
    assert low <= answer["accuracy"] <= high and answer["log_loss"] <= answer["log_loss_before"]
    assert {
        "balanced_accuracy",
        "macro_f1",
        "weighted_f1",
        "ece",
        "ece_before",
        "brier",
        "temperature",
    } <= set(answer)
    assert answer["classes"] == ["blue", "red"] and sum(map(sum, answer["confusion"])) == 4
    metrics = json.loads((Path(run["run"]) / "metrics.json").read_text())
    assert answer.pop("report") == "" and metrics["evaluation"] == answer
    assert metrics["val_accuracy"] == run["val_accuracy"]
    shutil.copytree(photos / "red", tmp_path / "other" / "red")
    code, answer, _ = call(capsys, "evaluate", run["run"], tmp_path / "other")
    assert code == 0 and (answer["split"], answer["images"]) == ("test", 12)
    assert answer["per_class"]["blue"]["images"] == 0
    (tmp_path / "other" / "red").rename(tmp_path / "other" / "green")
    code, answer, _ = call(capsys, "evaluate", run["run"], tmp_path / "other")
    assert code == 3 and "does not know: green" in answer["error"]


def test_evaluate_cross_validates_where_asked(
    run: dict[str, Any], photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, answer, _ = call(capsys, "evaluate", run["run"], "--folds", "2")
    assert code == 0 and (answer["folds"], answer["images"]) == (2, 24) and len(answer["accuracies"]) == 2
    assert cli.run(["evaluate", run["run"], "--folds", "2"]) == 0
    assert "over 2 folds" in capsys.readouterr().out
    code, answer, _ = call(capsys, "evaluate", run["run"], photos, "--folds", "2")
    assert code == 2 and "--folds was given with other photos" in answer["error"]


def test_inspect_counts_and_names_what_is_left_out(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "red" / "00.png").write_bytes(b"no photo at all")
    code, answer, _ = call(capsys, "inspect", photos)
    assert code == 0 and answer["classes"] == ["blue", "red"] and answer["made_split"]
    assert [each["path"] for each in answer["left_out"]] == ["red/00.png"]
    assert answer["train_images"] + answer["val_images"] == 23


def test_backbones_lists_every_architecture(capsys: pytest.CaptureFixture[str]) -> None:
    import torchvision

    code, answer, _ = call(capsys, "backbones")
    names = {each["name"] for each in answer["backbones"]}
    assert code == 0 and names == {"bundled", *torchvision.models.list_models(module=torchvision.models)}
    assert [each["name"] for each in answer["backbones"] if each["bundled"]] == ["bundled"]
    assert all(each["weights"] and each["stages"] for each in answer["backbones"])
    _, answer, _ = call(capsys, "backbones", "vit_b_16")
    (vit,) = (each for each in answer["backbones"] if each["name"] == "vit_b_16")
    assert any("SWAG" in each["name"] and each["licence"] for each in vit["weights"])


def test_runs_lists_the_run_with_its_command(
    run: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, answer, _ = call(capsys, "runs", "--runs-dir", tmp_path / "runs")
    (listed,) = answer["runs"]
    assert code == 0 and listed["name"] == "tiny" and listed["state"] == "completed"
    assert listed["command"].startswith("tl-app train ")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "{photos}", "--recipe", "magic"], 2, "recipe is 'magic'. Allowed: auto, head, partial"),
        (["train", "{photos}", "--backbone", "resnet19"], 2, "resnet1"),
        (["train", "{photos}", "--freeze", "99", *TINY[:4]], 2, "has 8 stages"),
        (["train", "{photos}", "--freeze", "head", "--recipe", "full"], 2, "does not go with freezing depth"),
        (["train", "{photos}", "--epochs", "many"], 2, "'--epochs'"),
        (["train"], 2, "DATA"),
        (["fly"], 2, "No such command 'fly'. See `tl-app --help`."),
        (["trian"], 2, "Did you mean 'train', 'pretrain'? See `tl-app --help`."),
        (["train", "--fast"], 2, "See `tl-app train --help`."),
        (["train", "{photos}/nowhere"], 3, "nowhere"),
        (["train", "{photos}/red"], 3, "class"),
        (["inspect", "{photos}/red/00.png"], 3, "zip"),
        (["train", "{photos}", *TINY, "--device", "cuda:7"], 4, "Device 'cuda:7' is not there"),
        (["predict", "nothing", "x.jpg"], 2, "There is no run 'nothing'"),
        (["evaluate", "nothing"], 2, "There is no run 'nothing'"),
        (["resume", "nothing"], 2, "There is no run 'nothing'"),
        (["finish", "nothing"], 2, "There is no run 'nothing'"),
        (["cache", "clear", "photos"], 2, "There is no cache 'photos'. There are boundary, decoded"),
        (["cache", "limit", "much"], 2, "'much' is not a size"),
        (["cache", "limit"], 2, "Missing argument 'size'"),
        (["cache", "shrink"], 2, "No such command 'shrink'. See `tl-app cache --help`."),
    ],
)
def test_errors_have_their_codes_and_say_what_to_do(
    photos: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    filled = [argument.format(photos=photos) for argument in arguments]
    got, answer, err = call(capsys, *filled)
    assert got == code == answer["exit_code"]
    assert message in answer["error"] and answer["error"] in err


def test_nothing_asked_for_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([]) == 2
    captured = capsys.readouterr()
    assert "Usage: tl-app" in captured.out and "save-preset" in captured.out and not captured.err


def test_every_command_is_found_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    """Of those that are not asked for, no options are made."""
    assert cli.run(["--help"]) == 0
    listed = {
        words[1] for line in capsys.readouterr().out.splitlines() if (words := line.split())[:1] == ["│"]
    }
    names = [cli._called(command) for command in cli.app.registered_commands]
    assert set(names) <= listed and "save-preset" in names
    for name in names:
        assert [cli._called(each) for each in cli._narrowed([name, "x"]).registered_commands] == [name]
        assert cli.run([name, "--help"]) == 0
        assert f"Usage: tl-app {name} " in capsys.readouterr().out
    assert cli._narrowed(["cache"]) is cli._narrowed([]) is cli.app


def test_without_json_people_read_tables(
    run: dict[str, Any], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, expected in (
        (["predict", run["run"], str(photos / "red" / "00.png")], "confidence"),
        (["evaluate", run["run"]], "on 4 photos (val)"),
        (["inspect", str(photos)], "train"),
        (["backbones", "resnet"], "resnet18"),
        (["runs", "--runs-dir", str(tmp_path / "runs")], "tiny"),
        (["resume", run["run"]], ""),
        (["finish", run["run"]], ""),
        (["cache", "info"], "decoded"),
        (["cache", "clear"], "are free again"),
    ):
        code = cli.run(arguments)
        captured = capsys.readouterr()
        assert expected in captured.out and code == (2 if arguments[0] in ("resume", "finish") else 0)


def test_the_cache_is_shown_cleared_and_limited(
    run: dict[str, Any], photos: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, info, _ = call(capsys, "cache", "info")
    assert code == 0 and set(info) == {"where", "kinds", "total_bytes", "budget_bytes"}
    assert info["where"] == str(home / "cache")
    (decoded,) = (kind for kind in info["kinds"] if kind["kind"] == "decoded")
    assert decoded["entries"] == 1 and decoded["bytes"] >= 24 * 3 * 32 * 32 and decoded["last_used"]
    code, cleared, _ = call(capsys, "cache", "clear", "boundary")
    assert code == 0 and cleared["kept"] == []
    code, cleared, _ = call(capsys, "cache", "clear", "decoded")
    assert code == 0 and cleared["freed_bytes"] >= 24 * 3 * 32 * 32
    code, info, _ = call(capsys, "cache", "limit", "2.5GB")
    assert code == 0 and info["budget_bytes"] == 2_500_000_000
    assert not [kind for kind in info["kinds"] if kind["kind"] == "decoded"]


def test_what_is_in_use_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    from tl_app import caches

    path = caches.folder("decoded", "abc")
    (path / "pixels").write_bytes(bytes(5000))
    with caches.hold(path):
        code, cleared, _ = call(capsys, "cache", "clear")
        assert code == 0 and cleared == {"freed_bytes": 0, "kept": ["decoded/abc"]}
        assert cli.run(["cache", "clear", "all"]) == 0
        assert "In use, so it stays: decoded/abc" in capsys.readouterr().out


def test_help_is_quick() -> None:
    """Loosely bounded here (a loaded machine); that torch stays out is what `test_config` checks exactly."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tl_app", "--help"], capture_output=True, text=True, check=True
    )
    assert time.monotonic() - started < 5
    for command in (
        "ui",
        "train",
        "pretrain",
        "resume",
        "evaluate",
        "predict",
        "backbones",
        "inspect",
        "runs",
        "cache",
    ):
        assert f" {command} " in done.stdout


def start(command: list[str]) -> subprocess.Popen[str]:
    """Starts a command that hears Ctrl-C, which a shell in the background would have it ignore."""
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What a process wrote; one that does not end is killed, and fails the test."""
    try:
        return process.communicate(timeout=60)
    finally:
        process.kill()


def test_ctrl_c_keeps_the_best_and_says_130(photos: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tl_app", "train", str(photos), *TINY, "--json", "--name", "long"]
    command[command.index("--epochs") + 1] = "1000"
    process = start([*command, "--runs-dir", str(tmp_path)])
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not _epochs_done(tmp_path):
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = ended(process)
    assert process.returncode == 130, err
    result = json.loads(out.splitlines()[-1])
    assert result["state"] == "stopped" and result["best_epoch"] >= 1
    assert runs.open_run("long", tmp_path).resumable


@pytest.mark.parametrize("twice", [False, True], ids=["while starting", "twice while training"])
def test_ctrl_c_always_ends_with_one_object(photos: Path, tmp_path: Path, twice: bool) -> None:
    command = [sys.executable, "-m", "tl_app", "train", str(photos), *TINY, "--json", "--name", "long"]
    command[command.index("--epochs") + 1] = "1000"
    process = start([*command, "--runs-dir", str(tmp_path)])
    deadline = time.monotonic() + 120
    if twice:
        while time.monotonic() < deadline and not _epochs_done(tmp_path):
            time.sleep(0.1)
    else:
        time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    if twice:
        time.sleep(0.02)
        process.send_signal(signal.SIGINT)
    out, err = ended(process)
    assert process.returncode == 130, err
    assert len(out.splitlines()) == 1 and isinstance(json.loads(out), dict)


def test_square_brackets_are_shown_as_they_are(
    run: dict[str, Any], photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    odd = photos / "photo [copy] [" / "x.png"
    odd.parent.mkdir()
    shutil.copy(photos / "red" / "00.png", odd)
    assert cli.run(["predict", run["run"], str(odd), str(photos / "[" / "y].png")]) == 0
    assert "photo [copy] [/x.png" in capsys.readouterr().out


def test_one_photo_may_be_given_by_itself(run: dict[str, Any], photos: Path) -> None:
    import tl_app

    (answer,) = tl_app.predict(run["run"], str(photos / "red" / "00.png"))
    assert answer.label in ("red", "blue")


def test_a_defect_still_ends_with_one_object(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("tl_app.api.list_runs", broken)
    code, answer, err = call(capsys, "runs")
    assert code == 1 and "Unexpected ZeroDivisionError: oops" in answer["error"] and "Traceback" in err
    (home / "file").write_text("")
    monkeypatch.setenv("TL_APP_HOME", str(home / "file"))
    code, answer, _ = call(capsys, "train", str(home))
    assert code in (3, 4) and answer["error"]


def test_a_command_ends_quietly(run: dict[str, Any], photos: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tl_app",
        "predict",
        run["run"],
        str(photos / "red" / "00.png"),
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["predictions"][0]["label"] in ("red", "blue")
    assert "leak" not in done.stderr and "Exception ignored" not in done.stderr


def test_a_source_model_is_made_and_started_from(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--runs-dir", str(tmp_path))
    tiny = [word for word in TINY if word not in ("--recipe", "full")]
    code, made, _ = call(capsys, "pretrain", str(photos), *tiny, "--name", "mine", *where)
    assert code == 0 and made["lineage"] == ["photos"] and made["shared_layers"] == []
    settings = ("--epochs", "1", "--device", "cpu", "--name", "next", *where)
    code, result, err = call(capsys, "train", str(photos), "--weights", "run:mine", *settings)
    assert code == 0 and result["backbone"] == made["backbone"], err
    assert result["lineage"] == ["photos", "photos"] and result["task_layers"] == ["head"]
    assert "Shared with photos: the" in " ".join(err.split()) and "specific: the head" in " ".join(
        err.split()
    )
    code, listed, _ = call(capsys, "runs", *where)
    assert [run["lineage"] for run in listed["runs"]] == [["photos", "photos"], ["photos"]]
    assert cli.run(["train", str(photos), "--weights", "run:mine", *settings[:4], *where]) == 0
    shown = capsys.readouterr().out
    assert "photos → photos:" in shown and "the head task-specific" in shown
    code, answer, _ = call(capsys, "pretrain", str(photos), "--recipe", "head")
    assert code == 2 and "--recipe" in answer["error"]


def test_without_a_network_the_bundled_backbone_is_there(photos: Path, tmp_path: Path) -> None:
    """Nothing on disk, and a proxy that refuses: a first training, and one that would need a download."""
    env = os.environ | {
        "TORCH_HOME": str(tmp_path / "torch"),
        "https_proxy": "http://127.0.0.1:9",
        "no_proxy": "",
    }

    def run(*words: str) -> tuple[int, dict[str, Any], str]:
        command = [sys.executable, "-m", "tl_app", *words, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=120)
        return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr

    code, result, err = run("train", str(photos), "--epochs", "1", "--device", "cpu")
    assert code == 0 and result["backbone"] == "bundled" and "Traceback" not in err
    assert result["lineage"] == ["ImageNet-1K (teacher)", "Caltech-101", "photos"]
    code, answer, err = run("train", str(photos), "--epochs", "1", "--backbone", "resnet18")
    assert code == 4 and "bundled BUNDLED" in answer["error"] and "Traceback" not in err


def _epochs_done(folder: Path) -> int:
    return next((info.epochs_done for info in runs.list_runs(folder)), 0)
