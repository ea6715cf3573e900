"""Models between a probe and a tuned network: the ends are those two bit for bit, and each point is measured."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import tl_app
from tl_app import blending, cli, reproduce, results, rows, runs
from tl_app.data.index import DatasetIndex
from tl_app.engine import checkpoints, setup
from tl_app.errors import ResourceError, UsageError
from tl_app.jobs import Worker
from tl_app.runs import RunInfo
from tl_app.snapshot import snapshot_of
from tl_app.transfer.recipes import Phase

PHASES = [Phase(2, 9, 2e-4, 1e-5), Phase(2, 5, 2e-4, 1e-4)]
Train = Callable[..., RunInfo]


@pytest.fixture
def train(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """``train(phases, **settings)`` trains a run named ``tuned`` with those phases."""

    def start(phases: list[Phase] = PHASES, **settings: Any) -> RunInfo:
        monkeypatch.setattr("tl_app.transfer.extensions.plan", lambda *_: phases)
        tl_app.train(
            photos,
            name="tuned",
            runs_dir=tmp_path / "runs",
            backbone="bundled",
            recipe="full",
            image_size=64,
            epochs=4,
            **settings,
        )
        return runs.open_run("tuned", tmp_path / "runs")

    return start


def model_of(info: RunInfo) -> dict[str, torch.Tensor]:
    network = setup.empty_network(info.config, len(info.classes))
    assert checkpoints.load_best(info.path / "checkpoints", network)
    return checkpoints.weights(network)


def same_bits(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        one[name].numpy().tobytes() == other[name].numpy().tobytes() for name in one
    )


@pytest.mark.parametrize("settings", [{}, {"ema": 0.9}, {"batchnorm": "adapt"}], ids=str)
def test_the_ends_are_the_two_models_bit_for_bit(
    train: Train, tmp_path: Path, settings: dict[str, Any]
) -> None:
    info = train(**settings)
    never_beaten = "batchnorm" in settings  # statistics of six photos are poor ones
    assert (info.best_epoch <= 2) == never_beaten
    ends = blending.read_ends(info)
    probe, tuned = (
        tl_app.blend("tuned", alpha, runs_dir=tmp_path / "runs", name=f"end {alpha}") for alpha in (0, 1)
    )
    assert probe.kept is not None and tuned.kept is not None
    of_probe = model_of(runs.open_run(probe.kept.run, tmp_path))
    of_tuned = model_of(runs.open_run(tuned.kept.run, tmp_path))
    assert never_beaten or same_bits(of_tuned, model_of(info))
    assert same_bits(of_tuned, ends.tuned)
    start = load_file(info.path / "checkpoints" / checkpoints.START)
    head = load_file(info.path / "checkpoints" / runs.PROBE)
    assert head and same_bits(of_probe, {**start, **head}) and same_bits(of_probe, ends.probe)
    assert not same_bits(of_probe, of_tuned)


@pytest.mark.parametrize("settings", [{"ema": 0.9}, {"ema": 0.9, "batchnorm": "adapt"}, {}], ids=str)
def test_a_head_whose_stages_are_unfrozen_afterwards_is_a_probe_too(
    train: Train, photos: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    where = tmp_path / "runs"
    info = train(PHASES[:1], **settings)
    network = setup.empty_network(info.config, len(info.classes))
    checkpoints.load_end(info.path / "checkpoints", network)
    head_alone = {name: value.clone() for name, value in checkpoints.weights(network).items()}
    tl_app.extend("tuned", epochs=1, runs_dir=where)
    assert not runs.open_run("tuned", where).has_probe
    checkpoints.load_end(info.path / "checkpoints", network)
    longer = {name: value.clone() for name, value in checkpoints.weights(network).items()}
    assert not same_bits(head_alone, longer)
    tl_app.extend("tuned", epochs=3, unfreeze=7, lr=2e-4, lr_backbone=1e-4, runs_dir=where)
    info = runs.open_run("tuned", where)
    assert info.has_probe
    ends = blending.read_ends(info)
    assert same_bits(ends.probe, longer)
    if info.best_epoch > 3:
        assert same_bits(ends.tuned, model_of(info))
    for alpha, weights in ((0, ends.probe), (1, ends.tuned)):
        kept = tl_app.blend("tuned", alpha, runs_dir=where).kept
        assert kept is not None and same_bits(model_of(runs.open_run(kept.run, where)), weights)


def test_the_probe_is_the_model_that_the_first_phase_ended_with(train: Train, tmp_path: Path) -> None:
    info = train(precision="fp32")  # what is kept of frozen stages is coarser in bf16
    epochs = snapshot_of(info).epoch_rows
    result = tl_app.blend("tuned", runs_dir=tmp_path / "runs")
    assert [point.alpha for point in result.points] == list(blending.ALPHAS) and result.images == 4
    assert result.points[0].loss == pytest.approx(epochs[1].val_loss, rel=2e-2)
    assert result.points[-1].loss == pytest.approx(info.val_loss, rel=2e-2)
    assert result.tuned == f"epoch {info.best_epoch}"


def test_a_probe_that_was_never_beaten_is_blended_with_the_end(train: Train) -> None:
    """Tuning that did harm may still be of use in part; the last weights are an average here."""
    info = train([PHASES[0], Phase(1, 5, 1e-2, 1e-2)], ema=0.9)
    assert info.best_epoch <= 2
    ends, last = blending.read_ends(info), load_file(info.path / "checkpoints" / checkpoints.LAST)
    assert ends.name == "epoch 3, the last one"
    average = {name: value for name, value in last.items() if name.startswith("average.")}
    assert average and all(
        torch.equal(ends.tuned[name.removeprefix("average.")], value) for name, value in average.items()
    )


def test_a_kept_blend_is_a_run_like_any_other(train: Train, photos: Path, tmp_path: Path) -> None:
    info, where = train(), tmp_path / "runs"
    before = {path: path.read_bytes() for path in info.path.rglob("*") if path.is_file()}
    result = tl_app.blend("tuned", 0.3, runs_dir=where)
    for path, content in before.items():
        assert path.read_bytes() == content, f"{path.name} of the original moved"
    assert result.kept is not None and result.alpha == 0.3
    kept = runs.open_run("tuned blend 0.3", where)
    assert (kept.state, kept.blended) == ("completed", ("tuned", 0.3))
    assert (kept.config, kept.asked, kept.lineage) == (info.config, info.asked, info.lineage)
    (point,) = result.points
    assert kept.val_accuracy == result.kept.val_accuracy == point.accuracy
    assert result.kept.combined == "blend, α = 0.3" and result.kept == results.read_result(kept.path)
    measured = tl_app.evaluate("tuned blend 0.3", runs_dir=where)
    assert measured.accuracy == point.accuracy and measured.loss == pytest.approx(point.loss, rel=1e-3)
    assert tl_app.predict("tuned blend 0.3", photos / "red" / "00.png", runs_dir=where)[0].label
    notices = [notice.text for notice in snapshot_of(kept).notices]
    assert (
        "A blend of run tuned: 70 % its probe, 30 %" in notices[-1]
        and "of 4 validation photos" in notices[-1]
    )
    assert tl_app.blend("tuned", 0.3, runs_dir=where).kept.name == "tuned blend 0.3 2"  # type: ignore[union-attr]


@pytest.mark.parametrize("settings", [{}, {"ema": 0.9}, {"soup": 3}], ids=str)
def test_a_kept_blend_can_be_extended(train: Train, tmp_path: Path, settings: dict[str, Any]) -> None:
    info, where = train(**settings), tmp_path / "runs"
    kept = tl_app.blend("tuned", 0.5, runs_dir=where, name="half").kept
    assert kept is not None
    weights, steps = model_of(runs.open_run("half", where)), snapshot_of(info).step
    result = tl_app.extend("half", epochs=2, lr=1e-3, lr_backbone=1e-3, runs_dir=where)
    assert (result.state, result.epochs) == ("completed", info.epochs_done + 2)
    snapshot, network = snapshot_of(runs.open_run("half", where)), setup.empty_network(info.config, 2)
    assert snapshot.step > steps and snapshot.extended_after == [info.epochs_done]
    checkpoints.load_end(Path(kept.run) / "checkpoints", network)
    assert not same_bits(checkpoints.weights(network), weights)
    assert result.val_accuracy is not None and kept.val_accuracy is not None
    assert result.val_accuracy >= kept.val_accuracy, "the blend is the best until it is beaten"
    more = tl_app.extend("half", epochs=1, unfreeze=2, runs_dir=where)
    assert more.frozen_stages == result.frozen_stages - 2


def test_a_kept_blend_names_the_commands_that_make_it_again(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train()
    where = tmp_path / "runs"
    tl_app.extend("tuned", epochs=1, runs_dir=where)
    tl_app.blend("tuned", 0.3, runs_dir=where, name="mix")
    one = tl_app.extend("mix", epochs=1, unfreeze=1, lr=1e-4, runs_dir=where)
    runs.delete_run(runs.open_run("tuned", where))
    info = runs.open_run("mix", where)
    commands = [shlex.split(each) for each in rows.run(info)["command"].split(" && ")]
    assert [each[1:3] for each in commands[1:]] == [
        ["extend", "tuned-again"],
        ["blend", "tuned-again"],
        ["extend", "mix-again"],
    ]
    for program, *arguments in commands:
        assert program == "tl-app" and cli.run([*arguments, "--runs-dir", str(where)]) == 0
    capsys.readouterr()
    again = runs.open_run("mix-again", where)
    assert same_bits(model_of(again), model_of(info)) and again.val_loss == one.val_loss
    lines = reproduce.script_of(info).splitlines()
    compile("\n".join(lines), "lines", "exec")
    assert [line.partition("(")[0] for line in lines if line.startswith("result = ")] == [
        "result = tl_app.train",
        "result = tl_app.extend",
        "result = tl_app.blend",
        "result = tl_app.extend",
    ]
    assert "result = tl_app.blend(result.run, alpha=0.3).kept" in lines


def test_it_can_be_started_from(train: Train, photos: Path, tmp_path: Path) -> None:
    train()
    kept = tl_app.blend("tuned", 0.5, runs_dir=tmp_path / "runs").kept
    assert kept is not None
    job = Worker(tmp_path / "runs").start(
        tl_app.TrainConfig(data=str(photos), weights=f"run:{kept.name}", image_size=64, epochs=2)
    )
    assert job.wait(120) and job.error is None
    start = load_file(job.path / "checkpoints" / checkpoints.START)
    weights = model_of(runs.open_run(kept.run, tmp_path))
    stages = [name for name in start if "classifier" not in name]
    assert stages and all(torch.equal(start[name], weights[name]) for name in stages)


def test_points_are_measured_once_and_between_them_estimated(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = train()
    blending.blend_run(info)
    calls: list[int] = []
    real = blending.evaluate
    monkeypatch.setattr(blending, "evaluate", lambda *a, **k: (calls.append(1), real(*a, **k))[1])
    result = blending.blend_run(info, [0.0, 0.6, 1.0])
    assert len(calls) == 1 and [point.alpha for point in result.points] == [0.0, 0.25, 0.5, 0.6, 0.75, 1.0]
    known = blending.measured(info)
    assert known is not None
    assert known.estimate(0.6) == result.points[3]
    near = known.estimate(0.6000001)
    assert near.alpha == 0.6000001 and near.loss == pytest.approx(result.points[3].loss, rel=1e-3, abs=1e-4)
    position = checkpoints.read_position(info.path / "checkpoints" / checkpoints.LAST)
    assert position is not None
    position.step += 1
    path = info.path / "checkpoints" / checkpoints.LAST
    save_file(load_file(path), path, {"position": json.dumps(vars(position))})
    assert blending.measured(info) is None, "after more training the ends are others"
    (info.path / "blend.safetensors").write_bytes(b"spoilt")
    assert blending.measured(info) is None and blending.blend_run(info, [0.5]).points[0].alpha == 0.5


def test_points_on_other_photos_are_measured_again(
    train: Train, photos: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    info = train()
    assert blending.blend_run(info).left_out == 0
    gone = DatasetIndex.read_manifest(info.path / "manifest.csv").used("val")[0]
    (photos / gone.path).unlink()
    shutil.rmtree(home / "cache")  # where it is kept decoded
    result = blending.blend_run(info, [0.6])
    assert [point.alpha for point in result.points] == [0.0, 0.25, 0.5, 0.6, 0.75, 1.0]
    assert (result.images, result.left_out, result.alpha) == (3, 1, 0.6)
    known = blending.measured(info)
    assert known is not None and {len(rows_) for rows_ in known.probabilities.values()} == {3}
    assert cli.run(["blend", "tuned", "--runs-dir", str(tmp_path / "runs")]) == 0
    assert "on 3 validation photos; 1 more cannot be read any more" in capsys.readouterr().out


def test_two_at_once_take_turns(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    info = train()
    blending.blend_run(info, [0.0, 1.0])
    both = threading.Barrier(2)
    real = blending.measured

    def met(info: RunInfo) -> blending.Measured | None:
        known = real(info)
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(1)  # both have read the file before either writes
        return known

    monkeypatch.setattr(blending, "measured", met)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda alpha: blending.blend_run(info, [alpha]), (0.3, 0.7)))
    known = real(info)
    assert known is not None and sorted(known.points) == [0.0, 0.3, 0.7, 1.0]


def test_a_folder_that_cannot_be_written_says_so(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    info = train()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(blending, "write_tensors", full)
    with pytest.raises(ResourceError, match="'tuned' cannot be kept in its folder: No space left"):
        blending.blend_run(info, [0.0])


def test_an_estimate_is_the_mean_of_the_logits() -> None:
    logits = torch.tensor([[2.0, 0.0], [-1.0, 0.0]]), torch.tensor([[-4.0, 0.0], [-3.0, 0.0]])
    known = blending.Measured("", "", torch.tensor([0, 1]))
    for alpha, rows_ in zip((0.0, 1.0), logits, strict=True):
        known.probabilities[alpha] = rows_.softmax(1)
        known.points[alpha] = blending.BlendPoint(alpha, 0.5, 1.0)
    mixed = known.estimate(0.25)  # logits 0.5 and −1.5
    assert mixed.accuracy == 1.0
    expected = torch.nn.functional.cross_entropy(
        torch.tensor([[0.5, 0.0], [-1.5, 0.0]]), torch.tensor([0, 1])
    )
    assert mixed.loss == pytest.approx(expected.item(), rel=1e-5)


def test_what_cannot_be_blended_says_why(train: Train, tmp_path: Path) -> None:
    info = train([Phase(1, 9, 4e-3, 1e-4)])
    assert not info.has_probe
    with pytest.raises(UsageError, match="did not train the head alone first. Train with recipe lp-ft"):
        blending.blend_run(info)
    (info.path / "checkpoints" / runs.PROBE).touch()
    with pytest.raises(UsageError, match="α is 1.5. Allowed: 0"):
        blending.blend_run(info, [1.5])


def test_a_run_that_stopped_within_its_first_phase(train: Train, tmp_path: Path) -> None:
    info = train([PHASES[0]])
    head = {name: value for name, value in model_of(info).items() if "classifier" in name}
    checkpoints.save_weights(info.path / "checkpoints" / runs.PROBE, head, epoch=2)
    with pytest.raises(UsageError, match="head alone so far, so there is no tuned model"):
        blending.read_ends(info)


def test_the_command(train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train()
    assert cli.run(["blend", "tuned", "--runs-dir", str(tmp_path / "runs")]) == 0
    text = capsys.readouterr().out
    assert "on 4 validation photos" in text and text.count(" %") == 5 and "--alpha" in text
    arguments = ["blend", "tuned", "--alpha", "0.5", "--name", "half", "--runs-dir", str(tmp_path / "runs")]
    assert cli.run([*arguments, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["kept"]["name"] == "half" and answer["alpha"] == 0.5 and len(answer["points"]) == 5
    assert cli.run([*arguments, "--json"]) == 2
    assert "There is a run named 'half'" in json.loads(capsys.readouterr().out)["error"]
