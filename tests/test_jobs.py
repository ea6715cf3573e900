"""Jobs and run folders: one at a time, nothing lost, whatever kills the process."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from tests.engine.conftest import tensors
from tl_app import history, reproduce, results, runs
from tl_app.config import TrainConfig
from tl_app.errors import DataError, ResourceError, UsageError
from tl_app.events import EpochDone, Event, Notice, Progress, RolledBack, StepDone
from tl_app.jobs import Job, Worker
from tl_app.snapshot import snapshot_of


def config(photos: Path, **settings: Any) -> TrainConfig:
    values = {
        "backbone": "mobilenet_v3_small",
        "weights": "random",
        "recipe": "full",
        "epochs": 2,
        "image_size": 32,
    }
    return TrainConfig(data=str(photos), **{**values, **settings})  # type: ignore[arg-type]


def finished(job: Job) -> Job:
    assert job.wait(120)
    assert job.error is None, job.error
    return job


def test_auto_decides_once_and_says_why(photos: Path, tmp_path: Path) -> None:
    worker, seen = Worker(tmp_path / "runs"), list[Event]()
    given = config(photos, backbone="bundled", weights="default", recipe="auto", epochs=None, image_size=64)
    job = finished(worker.start(given, name="auto", listener=seen.append))
    info = runs.open_run("auto", tmp_path / "runs")
    assert info.asked.recipe == "auto" and info.config.recipe in ("head", "lp-ft")
    assert [event.activity for event in seen if isinstance(event, Progress)].count("cross-validating")
    said = [event.text for event in seen if isinstance(event, Notice)]
    assert any("right" in text and text.startswith(("Head only", "Probe, then")) for text in said)
    assert any(text.startswith(f"{info.config.epochs} epochs: 20 training photos") for text in said)
    assert info.asked.augmentation == "auto" and info.config.augmentation in ("light", "strong")
    assert "--recipe auto" in reproduce.command_line(info.asked)
    assert "--augmentation" not in reproduce.command_line(info.asked)
    assert job.snapshot().state == "completed"
    values = json.loads((job.path / "config.json").read_text())
    values["asked"]["augmentation"], values["config"]["augmentation"] = "light", "strong"
    (job.path / "config.json").write_text(json.dumps(values))
    assert runs.open_run(job.path, tmp_path).asked.augmentation == "auto", (
        "older runs named what was the default then"
    )


def test_auto_keeps_to_what_was_chosen_beside_it(photos: Path, tmp_path: Path) -> None:
    worker, seen = Worker(tmp_path / "runs"), list[Event]()
    plain = {"backbone": "bundled", "weights": "default", "recipe": "auto", "image_size": 64}
    with pytest.raises(UsageError, match="Freezing depth 99 is too deep"):
        worker.start(config(photos, **plain, freeze=99), listener=seen.append)
    assert not any(getattr(event, "activity", "") == "cross-validating" for event in seen), "before the probe"
    chosen = {"freeze": 3, "epochs": 2, "probe_epochs": 1, "augmentation": "light"}
    finished(worker.start(config(photos, **plain, **chosen), name="deep"))
    info = runs.open_run("deep", tmp_path / "runs")
    assert info.config.recipe == "lp-ft" and chosen.items() <= info.config.to_dict().items()
    assert "--augmentation light" in reproduce.command_line(info.asked)


def test_a_run_is_a_folder_that_says_all(photos: Path, tmp_path: Path) -> None:
    seen: list[Event] = []
    job = finished(Worker(tmp_path / "runs").start(config(photos), name="first", listener=seen.append))
    assert sorted(path.name for path in job.path.iterdir()) == [
        "analysis",
        "checkpoints",
        "config.json",
        "history.jsonl",
        "manifest.csv",
        "metrics.json",
        "status.json",
    ]
    info, result = runs.open_run("first", tmp_path / "runs"), results.read_result(job.path)
    assert result is not None
    assert (info.state, info.epochs_done, info.classes) == ("completed", 2, ("blue", "red"))
    assert (info.val_accuracy, info.best_epoch) == (result.val_accuracy, result.best_epoch)
    assert (result.train_images, result.val_images, result.state) == (20, 4, "completed")
    scanning = [event for event in seen if isinstance(event, Progress) and event.unit == "files"]
    assert list(history.read_history(job.path)) == seen[len(scanning) :]
    live, stored = job.snapshot(), snapshot_of(info)
    for name in ("step", "steps", "epochs", "step_points", "epoch_rows", "state", "val_accuracy", "notices"):
        assert getattr(live, name) == getattr(stored, name), name
    assert live.steps == live.step == len(live.step_points) == 10


def test_a_run_made_before_classes_were_balanced_goes_on_without(photos: Path, tmp_path: Path) -> None:
    job = finished(Worker(tmp_path / "runs").start(config(photos), name="old"))
    assert runs.open_run(job.path, tmp_path).config.balance == "auto"
    values = json.loads((job.path / "config.json").read_text())
    for settings in (values["asked"], values["config"]):
        del settings["balance"]
    (job.path / "config.json").write_text(json.dumps(values))
    info = runs.open_run(job.path, tmp_path)
    assert (info.asked.balance, info.config.balance) == ("none", "none")


def test_stopping_ends_within_a_batch_and_resuming_ends_the_same(photos: Path, tmp_path: Path) -> None:
    worker = Worker(tmp_path / "runs")
    whole = finished(worker.start(config(photos), name="whole"))
    job_holder: list[Job] = []

    def stop_at_three(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 3:
            while not job_holder:
                time.sleep(0.01)
            job_holder[0].stop()

    job_holder.append(worker.start(config(photos), name="cut", listener=stop_at_three))
    finished(job_holder[0])
    info = runs.open_run("cut", worker.runs_dir)
    assert (info.state, info.resumable) == ("stopped", True)
    assert max(event.step for event in history.read_history(info.path) if isinstance(event, StepDone)) == 3
    resumed = finished(worker.resume("cut"))
    assert resumed.snapshot().step_points == whole.snapshot().step_points
    one, other = tensors(whole.path / "checkpoints"), tensors(resumed.path / "checkpoints")
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    with pytest.raises(UsageError, match="Run 'cut' is complete: all 2 epochs are done"):
        worker.resume("cut")


def test_a_second_start_names_the_running_run(photos: Path, tmp_path: Path) -> None:
    worker = Worker(tmp_path / "runs")
    first = worker.start(config(photos, epochs=1000), name="long one")
    try:
        with pytest.raises(ResourceError, match="Run 'long one' is being trained on cpu. One run at a time"):
            worker.start(config(photos))
        with pytest.raises(ResourceError, match="Run 'long one' is being trained on cpu"):
            Worker(tmp_path / "elsewhere").start(config(photos))
        with pytest.raises(UsageError, match="'long one' is being trained. Stop it first"):
            runs.delete_run(runs.open_run("long one", worker.runs_dir))
        other = subprocess.run(
            [
                sys.executable,
                "-m",
                "tl_app",
                "train",
                str(photos),
                *OPTIONS,
                "--runs-dir",
                str(tmp_path / "x"),
            ],
            capture_output=True,
            text=True,
        )
        assert other.returncode == 4 and "Run 'long one' is being trained on cpu" in other.stderr
    finally:
        worker.close()
    finished(first)
    finished(worker.start(config(photos, epochs=1)))  # the device is free again


def test_a_defect_is_told_and_kept(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("tl_app.engine.train._phase_started", broken)
    job = Worker(tmp_path / "runs").start(config(photos), name="broken")
    assert job.wait(60)
    assert isinstance(job.error, ZeroDivisionError)
    info = runs.open_run("broken", tmp_path / "runs")
    assert info.state == "failed" and "Unexpected ZeroDivisionError: oops" in info.message
    assert "oops" in (job.path / "error.log").read_text()


def test_photos_that_are_gone(photos: Path, tmp_path: Path) -> None:
    worker = Worker(tmp_path / "runs")
    job = worker.start(config(photos, epochs=1000), name="run")
    while job.snapshot().step < 1:
        time.sleep(0.01)
    worker.close()
    photos.rename(tmp_path / "away")
    with pytest.raises(DataError, match="not there|no such|does not exist|There is no"):
        worker.resume("run")
    (tmp_path / "away").rename(photos)
    job = worker.resume("run")
    worker.close()
    assert job.error is None


def test_a_killed_process_that_nobody_waited_for_counts_as_dead(photos: Path, tmp_path: Path) -> None:
    job = finished(Worker(tmp_path / "runs").start(config(photos, epochs=1), name="run"))
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    created = psutil.Process(process.pid).create_time()
    runs.write_status(job.path, "running", "")
    status = json.loads((job.path / "status.json").read_text()) | {"pid": process.pid, "pid_created": created}
    (job.path / "status.json").write_text(json.dumps(status))
    assert runs.open_run("run", tmp_path / "runs").is_running
    process.kill()
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert runs.open_run("run", tmp_path / "runs").state == "interrupted"
    process.wait()


def test_a_start_that_fails_gives_the_device_back(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(tmp_path / "runs")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Job, "_status", full)
        with pytest.raises(ResourceError, match="could not be started: No space left on device"):
            worker.start(config(photos, epochs=1), name="first")
    info = runs.open_run("first", worker.runs_dir)
    assert (info.state, info.resumable) == ("interrupted", True)
    finished(worker.resume("first"))


def test_a_disk_that_is_full_at_the_end_leaves_a_run_to_resume(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(tmp_path / "runs")
    real = runs.write_status
    calls = iter(range(100))

    def full(*arguments: Any, **values: Any) -> None:
        if next(calls) >= 3:
            raise OSError(28, "No space left on device")
        real(*arguments, **values)

    with monkeypatch.context() as patch:
        patch.setattr(runs, "write_status", full)
        job = worker.start(config(photos), name="run")
        assert job.wait(60) and isinstance(job.error, ResourceError)
    assert runs.open_run("run", worker.runs_dir).state == "interrupted"
    finished(worker.resume("run"))


def test_a_reader_that_breaks_does_not_stop_the_training(photos: Path, tmp_path: Path) -> None:
    def broken(event: Event) -> None:
        if isinstance(event, StepDone):
            raise BrokenPipeError("the terminal is gone")

    with pytest.warns(RuntimeWarning, match="No longer shown"):
        finished(Worker(tmp_path / "runs").start(config(photos, epochs=1), listener=broken))


def test_deleting_looks_again(photos: Path, tmp_path: Path) -> None:
    worker = Worker(tmp_path / "runs")
    job = worker.start(config(photos, epochs=1000), name="run")
    while job.snapshot().step < 1:
        time.sleep(0.01)
    worker.close()
    stale = runs.open_run("run", worker.runs_dir)
    worker.resume("run")
    try:
        with pytest.raises(UsageError, match="is being trained"):
            runs.delete_run(stale)
    finally:
        worker.close()


def test_spoilt_folders_are_passed_over(tmp_path: Path) -> None:
    for number, content in enumerate(("[]", "{", '{"format": 1}', "null")):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "config.json").write_text(content)
        with pytest.raises(UsageError, match="cannot be read"):
            runs.open_run(str(number), tmp_path)
    assert runs.list_runs(tmp_path) == []
    with pytest.raises(UsageError, match="There is no run"):
        runs.open_run("x" * 400, tmp_path)


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "x" * 101, "dot.", "CON\0"])
def test_names_that_are_no_names(photos: Path, tmp_path: Path, name: str) -> None:
    if name == "":
        return
    with pytest.raises(UsageError, match="cannot be the name of a run"):
        Worker(tmp_path / "runs").start(config(photos), name=name)
    assert not [path for path in (tmp_path / "runs").rglob("*") if path.name == "config.json"]


def test_a_name_is_given_once(photos: Path, tmp_path: Path) -> None:
    worker = Worker(tmp_path / "runs")
    finished(worker.start(config(photos, epochs=1), name="taken"))
    with pytest.raises(UsageError, match="There is a run named 'taken'"):
        worker.start(config(photos), name="taken")
    with pytest.raises(UsageError, match="There is no run 'takn' in .* Did you mean taken?"):
        runs.open_run("takn", worker.runs_dir)
    runs.delete_run(runs.open_run("taken", worker.runs_dir))
    assert runs.list_runs(worker.runs_dir) == [] and list(worker.runs_dir.iterdir()) == []


def test_the_command_and_the_script_say_what_differs(photos: Path, tmp_path: Path) -> None:
    job = finished(Worker(tmp_path / "runs").start(config(photos, epochs=1, lr_head=0.5)))
    info = runs.open_run(job.path, tmp_path)
    assert reproduce.command_line(info.asked) == (
        f"tl-app train {photos} --backbone mobilenet_v3_small --weights random --recipe full --epochs 1 "
        "--lr 0.5 --image-size 32 --seed 0"
    )
    assert "lr_head=0.5" in reproduce.python_script(info.asked, info.name)


def test_the_curves_as_csv(photos: Path, tmp_path: Path) -> None:
    job = finished(Worker(tmp_path / "runs").start(config(photos)))
    lines = history.history_csv(job.path).splitlines()
    assert lines[0].startswith("kind,step,epoch,loss,lr,")
    assert [line.split(",")[0] for line in lines[1:]].count("step") == 10
    assert [line.split(",")[0] for line in lines[1:]].count("epoch") == 2


OPTIONS = "--backbone mobilenet_v3_small --weights random --recipe full --epochs 4 --image-size 32".split()


def _command(photos: Path, folder: Path, name: str) -> list[str]:
    return [
        *(sys.executable, "-m", "tl_app", "train", str(photos), *OPTIONS),
        *("--runs-dir", str(folder), "--name", name, "--batch-size", "2"),
    ]


def _kill_and_resume(photos: Path, folder: Path, kills: int, seed: int) -> None:
    """Kills a run's process again and again at random moments, then lets it end and compares the weights."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(_command(photos, folder, "whole"), check=True, capture_output=True, env=environment)
    rng = random.Random(seed)
    for number in range(kills):
        process = subprocess.Popen(
            _command(photos, folder, f"cut{number}"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        while not (folder / f"cut{number}").is_dir() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0.0, 3.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
        info = runs.open_run(f"cut{number}", folder)
        assert info.state in ("interrupted", "completed"), info
        if info.state == "interrupted":
            done = subprocess.run(
                [sys.executable, "-m", "tl_app", "resume", str(info.path)],
                capture_output=True,
                text=True,
                env=environment,
            )
            assert done.returncode == 0, done.stderr
        one, other = tensors(folder / "whole" / "checkpoints"), tensors(info.path / "checkpoints")
        assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
        assert snapshot_of(runs.open_run(info.path, folder)).step_points == whole_points(folder)


def whole_points(folder: Path) -> list[tuple[int, float]]:
    return snapshot_of(runs.open_run("whole", folder)).step_points


def test_kill_9_loses_nothing(photos: Path, tmp_path: Path) -> None:
    _kill_and_resume(photos, tmp_path / "runs", kills=2, seed=0)


@pytest.mark.slow
def test_twenty_times_kill_9(photos: Path, tmp_path: Path) -> None:
    _kill_and_resume(photos, tmp_path / "runs", kills=20, seed=1)


def test_a_torn_history_is_read_and_continued(photos: Path, tmp_path: Path) -> None:
    worker = Worker(tmp_path / "runs")
    job = worker.start(config(photos, epochs=1000), name="run")
    while job.snapshot().step < 8:
        time.sleep(0.01)
    worker.close()
    info = runs.open_run("run", worker.runs_dir)
    with open(info.path / "history.jsonl", "ab") as file:
        file.write(b'{"event":"StepDone","step":99')
    before = snapshot_of(info)
    job = worker.resume("run")
    while job.snapshot().step <= before.step:
        time.sleep(0.01)
    worker.close()
    events = list(history.read_history(info.path))
    assert any(isinstance(event, RolledBack) and event.reason == "resumed" for event in events)
    steps = [step for step, _ in snapshot_of(runs.open_run("run", worker.runs_dir)).step_points]
    assert steps == list(range(1, len(steps) + 1))


def test_a_dead_process_makes_an_interrupted_run(photos: Path, tmp_path: Path) -> None:
    job = finished(Worker(tmp_path / "runs").start(config(photos, epochs=1), name="run"))
    runs.write_status(job.path, "running", "")
    assert runs.open_run("run", tmp_path / "runs").state == "running"
    status = (job.path / "status.json").read_text().replace(f'"pid": {os.getpid()}', '"pid": 999999999')
    (job.path / "status.json").write_text(status)
    info = runs.open_run("run", tmp_path / "runs")
    assert info.state == "interrupted" and info.resumable


def test_the_snapshot_thins_long_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    from tl_app import snapshot

    monkeypatch.setattr(snapshot, "MAX_POINTS", 10)
    state = snapshot.Snapshot()
    for step in range(1, 101):
        state.apply(StepDone(step, 1, 1.0, 0.1, 1.0, 1.0))
    assert len(state.step_points) <= 10 and state.step_points[-1][0] > 90
    state.apply(EpochDone(1, 100, 1, 0.5, 1, 0.5, True, 1, 1, 0))
    state.apply(RolledBack(50, 0, "resumed"))
    assert state.step_points[-1][0] <= 50 and state.epoch_rows == [] and state.best_epoch == 0
    assert dataclasses.replace(state).version == 102


def test_an_older_run_that_does_not_say_how_long_its_head_was_alone(photos: Path, tmp_path: Path) -> None:
    settings = config(photos, recipe="lp-ft", weights="default", backbone="bundled", image_size=64, epochs=3)
    path = finished(Worker(tmp_path / "runs").start(settings, name="old")).path
    values = json.loads((path / "config.json").read_text())
    for kept in ("asked", "config"):
        values[kept].pop("probe_epochs")
    (path / "config.json").write_text(json.dumps(values))
    info = runs.open_run(path, tmp_path)
    assert info.config.probe_epochs == 2 and info.asked.probe_epochs is None
    job = finished(Worker(tmp_path / "runs").extend("old", epochs=1))
    assert job.snapshot().state == "completed" and runs.open_run(path, tmp_path).epochs_done == 4
