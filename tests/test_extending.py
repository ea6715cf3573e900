"""Complete runs that go on, and runs that are made complete: what their folders, curves and commands say."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.test_jobs import config, finished
from tl_app import api, cli, extending, history, plots, reproduce, results, runs
from tl_app.errors import UsageError
from tl_app.events import EpochDone, Event, Finished, Notice, StepDone
from tl_app.jobs import Job, Worker
from tl_app.snapshot import snapshot_of


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path / "runs")


def at_step(step: int, act: Callable[[Job], None]) -> tuple[list[Job], Callable[[Event], None]]:
    """A listener that does something to the job, which is put into the list, at a step."""
    holder: list[Job] = []

    def listen(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == step:
            while not holder:
                time.sleep(0.01)
            act(holder[0])

    return holder, listen


def test_an_extended_run_keeps_its_folder_and_its_curves(photos: Path, worker: Worker) -> None:
    first = finished(worker.start(config(photos, recipe="head"), name="run"))
    before = snapshot_of(runs.open_run("run", worker.runs_dir))
    depth = before.frozen_stages
    seen: list[Event] = []
    job = finished(worker.extend("run", epochs=3, listener=seen.append))
    assert job.path == first.path
    assert isinstance(seen[0], Notice) and seen[0].text.startswith("Goes on after epoch 2: 3 more epochs at")
    info = runs.open_run("run", worker.runs_dir)
    assert (info.state, info.epochs_done, info.epochs, info.frozen_stages) == ("completed", 5, 5, depth)
    live, stored = job.snapshot(), snapshot_of(info)
    for name in (
        "step",
        "steps",
        "epochs",
        "step_points",
        "epoch_rows",
        "state",
        "phase_starts",
        "extended_after",
    ):
        assert getattr(live, name) == getattr(stored, name), name
    assert stored.step_points[: len(before.step_points)] == before.step_points
    assert [row.epoch for row in stored.epoch_rows] == [1, 2, 3, 4, 5]
    finished(worker.extend("run", epochs=1, unfreeze=1))
    info = runs.open_run("run", worker.runs_dir)
    assert (info.epochs_done, info.epochs, info.frozen_stages) == (6, 6, depth - 1)
    stored = snapshot_of(info)
    assert stored.phase_starts == [(0, depth), (2, depth), (5, depth - 1)] and stored.extended_after == [2]
    labels = [note["text"] for note in plots.curves(stored)["layout"]["annotations"]]
    assert labels == ["more epochs", f"freezing depth {depth - 1}"]
    result = results.read_result(info.path)
    assert result is not None and (result.epochs, result.frozen_stages) == (6, depth - 1)
    lines = history.history_csv(info.path).splitlines()
    assert [line.split(",")[0] for line in lines].count("epoch") == 6


def test_a_stop_in_an_extension_can_be_resumed(photos: Path, worker: Worker) -> None:
    finished(worker.start(config(photos), name="run"))
    holder, listen = at_step(12, Job.stop)  # two epochs are ten steps
    holder.append(worker.extend("run", epochs=2, listener=listen))
    finished(holder[0])
    info = runs.open_run("run", worker.runs_dir)
    assert (info.state, info.resumable, info.epochs_done, info.epochs) == ("stopped", True, 2, 4)
    with pytest.raises(UsageError, match="'run' is not complete: 2 of 4 epochs are done.*Resume it"):
        worker.extend("run")
    finished(worker.resume("run"))
    info = runs.open_run("run", worker.runs_dir)
    assert (info.state, info.epochs_done, len(info.extensions)) == ("completed", 4, 1)
    with pytest.raises(UsageError, match="complete: all 4 epochs are done. Extend it"):
        worker.resume("run")


def test_numbers_out_of_range_leave_the_run_as_it_was(photos: Path, worker: Worker) -> None:
    job = finished(worker.start(config(photos, epochs=1), name="run"))
    kept = {path.name: path.read_bytes() for path in job.path.iterdir() if path.is_file()}
    with pytest.raises(UsageError, match="every stage is trained already"):
        worker.extend("run", unfreeze=1)
    with pytest.raises(UsageError, match="Allowed: from 1 to 1000"):
        worker.extend("run", epochs=0)
    assert kept == {path.name: path.read_bytes() for path in job.path.iterdir() if path.is_file()}
    finished(worker.extend("run", epochs=1))  # the device is free


def test_an_extension_that_never_began_gives_its_place_to_the_next(photos: Path, worker: Worker) -> None:
    """As when the process is killed between the record and the start."""
    finished(worker.start(config(photos, epochs=1), name="run"))
    extending.extended(runs.open_run("run", worker.runs_dir), epochs=7)
    finished(worker.extend("run", epochs=1))
    info = runs.open_run("run", worker.runs_dir)
    assert (info.epochs_done, info.epochs, len(info.extensions)) == (2, 2, 1)


def test_finishing_now_completes_the_run_with_its_best(photos: Path, worker: Worker) -> None:
    holder, listen = at_step(12, Job.finish)
    holder.append(worker.start(config(photos, epochs=50), name="run", listener=listen))
    job = finished(holder[0])
    info = runs.open_run("run", worker.runs_dir)
    assert (info.state, info.resumable, info.epochs_done) == ("completed", False, 2)
    result = results.read_result(job.path)
    assert result is not None and result.state == "completed" and result.best_epoch in (1, 2)
    assert (job.path / "checkpoints" / f"best-{result.best_epoch:04d}.safetensors").is_file()
    assert "# it was finished early, after 2 of 50 epochs" in reproduce.command_of(info)
    with pytest.raises(UsageError, match="it was finished after 2 epochs. Extend it"):
        worker.resume("run")
    with pytest.raises(UsageError, match="'run' has ended"):
        job.finish()
    finished(worker.extend("run", epochs=2))
    info = runs.open_run("run", worker.runs_dir)
    assert (info.epochs_done, info.epochs) == (4, 4)
    steps = [step for step, _ in snapshot_of(info).step_points]
    assert steps == list(range(1, 21)), "the epoch that was cut short goes on"


def test_a_stopped_run_is_finished_later(photos: Path, worker: Worker) -> None:
    """As after Ctrl-C: it gets its soup, is calibrated, and can be extended."""
    holder, listen = at_step(17, Job.stop)
    holder.append(worker.start(config(photos, epochs=50, soup=2, ema=0.5), name="run", listener=listen))
    finished(holder[0])
    before = runs.open_run("run", worker.runs_dir)
    assert (before.state, before.epochs_done) == ("stopped", 3)
    events: list[Event] = []
    job = finished(worker.finish("run", listener=events.append))
    info = runs.open_run("run", worker.runs_dir)
    assert (info.state, info.epochs_done, info.best_epoch) == ("completed", 3, before.best_epoch)
    assert not [event for event in events if isinstance(event, StepDone | EpochDone)], "nothing is trained"
    assert any(isinstance(event, Notice) and "soup" in event.text.lower() for event in events)
    result = results.read_result(job.path)
    assert result is not None and result.state == "completed" and (job.path / "analysis").is_dir()
    with pytest.raises(UsageError, match="'run' is complete. Extend it"):
        worker.finish("run")
    finished(worker.extend("run", epochs=1))
    assert runs.open_run("run", worker.runs_dir).epochs_done == 4


def test_nothing_can_be_finished_before_the_first_epoch(photos: Path, worker: Worker) -> None:
    errors: list[UsageError] = []

    def attempt(job: Job) -> None:
        with pytest.raises(UsageError, match="no best model yet") as caught:
            job.finish()
        errors.append(caught.value)
        job.stop()

    holder, listen = at_step(1, attempt)
    holder.append(worker.start(config(photos), name="run", listener=listen))
    finished(holder[0])
    assert errors and runs.open_run("run", worker.runs_dir).state == "stopped"
    with pytest.raises(UsageError, match="no best model yet.*Resume it to train more"):
        worker.finish("run")


def test_finishing_while_photos_are_read_again(
    photos: Path, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tl_app.errors import Interrupted

    finished(worker.start(config(photos, epochs=1), name="run"))

    def interrupted(*_: Any, stop: Callable[[], bool], **__: Any) -> Any:
        while not stop():
            time.sleep(0.01)
        raise Interrupted("Reading photos was stopped.")
        yield

    monkeypatch.setattr("tl_app.engine.train.train", interrupted)
    job = worker.extend("run")
    assert results.read_result(job.path) is None, "the earlier end is no longer the result"
    job.finish()
    finished(job)
    info = runs.open_run("run", worker.runs_dir)
    assert (info.state, info.epochs_done, info.best_epoch) == ("completed", 1, 1)
    assert isinstance(list(history.read_history(job.path))[-1], Finished)


def test_the_command_and_the_python_lines_say_that_a_run_was_extended(photos: Path, worker: Worker) -> None:
    finished(worker.start(config(photos, epochs=1, recipe="head", lr_head=0.004), name="my run"))
    finished(worker.extend("my run", epochs=2))
    finished(worker.extend("my run", epochs=1, unfreeze=2, lr=0.001))
    info = runs.open_run("my run", worker.runs_dir)
    assert reproduce.command_of(info) == (
        f"{reproduce.command_line(info.asked)} --name 'my run-again'"
        " && tl-app extend 'my run-again' --epochs 2 --lr 0.002"
        " && tl-app extend 'my run-again' --epochs 1 --lr 0.001 --unfreeze 2 --lr-backbone 0.001"
    )
    lines = reproduce.script_of(info).splitlines()
    first = lines.index("result = tl_app.extend(result.run, epochs=2, lr=0.002)")
    assert lines[first : first + 2] == [
        "result = tl_app.extend(result.run, epochs=2, lr=0.002)",
        "result = tl_app.extend(result.run, epochs=1, lr=0.001, unfreeze=2, lr_backbone=0.001)",
    ]
    compile("\n".join(lines), "lines", "exec")
    one = finished(worker.start(info.asked, name="my run-again"))
    for each in ({"epochs": 2, "lr": 0.002}, {"epochs": 1, "lr": 0.001, "unfreeze": 2, "lr_backbone": 0.001}):
        api.extend(one.path, **each)  # type: ignore[arg-type]
    again = snapshot_of(runs.open_run("my run-again", worker.runs_dir))
    assert again.step_points == snapshot_of(info).step_points


def test_extend_as_a_program_sees_it(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(*arguments: str) -> tuple[int, dict[str, Any]]:
        code = cli.run([*arguments, "--runs-dir", str(tmp_path / "runs"), "--json"])
        (line,) = capsys.readouterr().out.splitlines()
        return code, json.loads(line)

    finished(Worker(tmp_path / "runs").start(config(photos, recipe="head", epochs=1), name="run"))
    code, result = call("extend", "run", "--epochs", "1")
    assert (code, result["state"], result["epochs"]) == (0, "completed", 2)
    depth = result["frozen_stages"]
    code, result = call("extend", "run", "--epochs", "1", "--unfreeze")
    assert (code, result["epochs"], result["frozen_stages"]) == (0, 3, depth - 1)
    code, result = call("extend", "run", "--unfreeze", "2", "--epochs", "1", "--lr", "0.001")
    assert (code, result["epochs"], result["frozen_stages"]) == (0, 4, depth - 3)
    code, listed = call("runs")
    (run,) = listed["runs"]
    assert code == 0 and (run["epochs"], run["epochs_done"], len(run["extensions"])) == (4, 4, 3)
    assert run["command"].count("tl-app extend run-again") == 3
    code, result = call("extend", "run", "--unfreeze", "99")
    assert code == 2 and f"Allowed: from 0 to {depth - 3}" in result["error"]
    code, result = call("extend", "nowhere")
    assert code == 2 and "There is no run 'nowhere'" in result["error"]


def test_the_terminal_suggests_an_end_once(capsys: pytest.CaptureFixture[str]) -> None:
    from tests.test_plateau import rows
    from tl_app.events import PhaseStarted
    from tl_app.snapshot import Snapshot
    from tl_app.terminal import TrainDisplay

    so_far = Snapshot(epoch_rows=rows([0.9, 0.8]))
    history_ = rows([0.9] + [0.8] * 15)
    with TrainDisplay(so_far) as display:
        display.show(PhaseStarted(0, 1, 5, 20, 10, 0, 20, 1e-3, 1e-4, 8, 10, 100, "cpu", "fp32"))
        for row in history_[2:]:
            assert isinstance(row, EpochDone)
            display.show(row)
    said = capsys.readouterr().err
    assert said.count("Ctrl-C ends here and keeps the best.") == 1
    assert "No better epoch in the last 5; the best is epoch 1 at 90.0 %." in said
