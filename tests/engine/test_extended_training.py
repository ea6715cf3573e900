"""Finished trainings that go on: the same folder, the same curves, and the same bits after a stop."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engine.conftest import tensors
from tl_app.backbones.staged import stage_parameters
from tl_app.config import TrainConfig
from tl_app.data.index import scan
from tl_app.engine import epoch, step
from tl_app.engine.checkpoints import LAST, read_position
from tl_app.engine.setup import resolve
from tl_app.engine.train import train
from tl_app.events import EpochDone, Event, Finished, PhaseStarted, RolledBack, StepDone
from tl_app.transfer.averages import Average
from tl_app.transfer.extensions import Extension, extend, phases_of

Trainer = Callable[..., Iterator[Event]]
STAGES = len(stage_parameters("mobilenet_v3_small")) - 1


@pytest.fixture(autouse=True)
def every_epoch_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epoch, "EPOCH_CHECKPOINT_SECONDS", 0.0)


@pytest.fixture
def trainer(photos: Path) -> Trainer:
    """``trainer(folder, extensions, …)`` trains 2 epochs of 4 steps, and what they are extended by."""
    index = scan(photos)

    def start(
        folder: Path, extensions: list[Extension], recipe: str = "head", ema: float = 0.0, **rest: Any
    ) -> Iterator[Event]:
        config = TrainConfig(
            data=str(photos),
            backbone="mobilenet_v3_small",
            weights="random",
            image_size=32,
            batch_size=6,
            epochs=2,
            recipe=recipe,
            ema=ema,
        )
        filled, preprocessing = resolve(config, len(index.used("train")))
        folder.mkdir(exist_ok=True)
        return train(filled, index, preprocessing, folder, extensions=extensions, **rest)

    return start


def extensions_of(*asked: dict[str, Any], recipe: str = "head") -> list[Extension]:
    depth = STAGES if recipe == "head" else 0
    config = TrainConfig(recipe=recipe, epochs=2, freeze=depth, lr_head=4e-3, lr_backbone=2e-4)
    known: list[Extension] = []
    for each in asked:
        phases = phases_of(config, STAGES, known)
        after = sum(phase.epochs for phase in phases)
        known.append(extend(phases, stages=STAGES, optimizer="adamw", after=after, begun=len(phases), **each))
    return known


def assert_same(one: Path, other: Path) -> None:
    left, right = tensors(one), tensors(other)
    assert left.keys() == right.keys()
    assert [name for name in left if not torch.equal(left[name], right[name])] == []


TWICE = ({"epochs": 2}, {"epochs": 1, "unfreeze": 1})


@pytest.mark.parametrize("recipe", ["head", "full"])
def test_resuming_inside_an_extension_ends_with_the_same_bits(
    trainer: Trainer, tmp_path: Path, recipe: str
) -> None:
    asked = TWICE if recipe == "head" else ({"epochs": 2}, {"epochs": 1})
    extensions = extensions_of(*asked, recipe=recipe)
    base = tmp_path / "base"
    list(trainer(base, [], recipe))
    first = tmp_path / "first"
    shutil.copytree(base, first)
    list(trainer(first, extensions[:1], recipe))
    whole = tmp_path / "whole"
    shutil.copytree(first, whole)
    losses = [e.loss for e in trainer(whole, extensions, recipe) if isinstance(e, StepDone)]
    for number, (begin, known, length) in enumerate(((base, extensions[:1], 8), (first, extensions, 4))):
        for steps in (0, 1, 4, 7):
            if steps >= length:
                continue
            folder = tmp_path / f"stopped-{number}-{steps}"
            shutil.copytree(begin, folder)
            seen: list[Event] = []

            def reached(seen: list[Event] = seen, steps: int = steps) -> bool:
                started = any(isinstance(event, PhaseStarted) for event in seen)
                return started and sum(isinstance(event, StepDone) for event in seen) >= steps

            for event in trainer(folder, known, recipe, stop=reached):
                seen.append(event)
            assert isinstance(seen[-1], Finished) and seen[-1].reason == "stopped"
            again = list(trainer(folder, known, recipe))
            assert isinstance(again[-1], Finished) and again[-1].reason == "completed"
            assert_same((first, whole)[number], folder)
            if number:
                assert [e.loss for e in seen + again if isinstance(e, StepDone)] == losses


def test_more_epochs_go_on_where_the_last_one_ended(trainer: Trainer, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    before = [e for e in trainer(folder, []) if isinstance(e, EpochDone)]
    known = extensions_of({"epochs": 2, "lr": 1e-8})
    events = list(trainer(folder, known))
    (started,) = (event for event in events if isinstance(event, PhaseStarted))
    assert (started.phase, started.phases, started.first_epoch, started.total_epochs) == (1, 2, 2, 4)
    assert started.continues and started.lr_head == 1e-8
    rows = [event for event in events if isinstance(event, EpochDone)]
    assert [row.epoch for row in rows] == [3, 4] and rows[-1].step == 16
    assert rows[0].val_loss == pytest.approx(before[-1].val_loss, rel=1e-4), "nothing was begun anew"
    counts = {float(v) for k, v in tensors(folder).items() if ".step." in k and k.startswith(f"{LAST}:opt")}
    assert counts == {16.0}, "the optimiser has counted on"
    rates = [event.lr for event in events if isinstance(event, StepDone)]
    assert rates[0] > 0.9e-8 and rates == sorted(rates, reverse=True), "from the peak, without a warm-up"


def test_one_more_stage_begins_a_phase_with_an_optimiser_of_its_own(trainer: Trainer, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    list(trainer(folder, []))
    events = list(trainer(folder, extensions_of({"epochs": 1, "unfreeze": 1})))
    (started,) = (event for event in events if isinstance(event, PhaseStarted))
    assert started.frozen_stages == STAGES - 1 and not started.continues
    held = tensors(folder)
    assert {float(v) for k, v in held.items() if ".step." in k and k.startswith(f"{LAST}:opt")} == {4.0}
    assert f"{LAST}:net.classifier.0.weight" in held, "the last stage"
    assert not any(name.startswith(f"{LAST}:net.features") for name in held), "the others are as they were"


def test_the_best_stays_the_best_until_it_is_beaten(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.engine.test_train import scripted

    folder = tmp_path / "run"
    monkeypatch.setattr(epoch, "evaluate", scripted([(0.5, 0.9), (0.9, 0.5), (0.8, 0.4), (0.95, 0.4)]))
    list(trainer(folder, []))
    last = list(trainer(folder, extensions_of({"epochs": 1})))[-1]
    assert isinstance(last, Finished) and (last.best_epoch, last.val_accuracy) == (2, 0.9)
    last = list(trainer(folder, extensions_of({"epochs": 1}, {"epochs": 1, "unfreeze": 1})))[-1]
    assert isinstance(last, Finished) and (last.best_epoch, last.val_accuracy) == (4, 0.95)
    assert [path.name for path in folder.glob("best*")] == ["best-0004.safetensors"]


def test_an_average_counts_on_in_more_of_the_same(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first updates count for more: begun again, they would throw away what was averaged before."""
    counts: list[int] = []
    real = Average.update
    monkeypatch.setattr(Average, "update", lambda self, n: (counts.append(n), real(self, n))[1])
    list(trainer(tmp_path / "run", [], ema=0.9))
    list(trainer(tmp_path / "run", extensions_of({"epochs": 1}), ema=0.9))
    assert counts == list(range(12))
    list(trainer(tmp_path / "run", extensions_of({"epochs": 1}, {"epochs": 1, "unfreeze": 1}), ema=0.9))
    assert counts[12:] == list(range(4)), "another model, another average"


def finished_within_an_epoch(trainer: Trainer, folder: Path) -> None:
    """After 6 of 8 steps."""
    seen: list[Event] = []
    stop = lambda: sum(isinstance(each, StepDone) for each in seen) >= 6  # noqa: E731
    for event in trainer(folder, [], stop=stop, finish=lambda: True):
        seen.append(event)


def after_the_first_epoch(**asked: Any) -> list[Extension]:
    config = TrainConfig(recipe="head", epochs=2, freeze=STAGES, lr_head=4e-3, lr_backbone=2e-4)
    phases = phases_of(config, STAGES)
    return [extend(phases, stages=STAGES, optimizer="adamw", after=1, begun=1, epochs=1, **asked)]


def test_another_phase_begins_with_an_epoch_of_its_own(trainer: Trainer, tmp_path: Path) -> None:
    """The steps of the epoch that was cut short were another model's, and so were its figures."""
    folder, known = tmp_path / "run", after_the_first_epoch(unfreeze=1)
    finished_within_an_epoch(trainer, folder)
    shutil.copytree(folder, tmp_path / "stopped")
    events = list(trainer(folder, known))
    steps = [event for event in events if isinstance(event, StepDone)]
    assert [event.step for event in steps] == [7, 8, 9, 10], "as many as an epoch has"
    (started,) = (event for event in events if isinstance(event, PhaseStarted))
    assert started.total_steps == 10
    assert steps[0].lr < started.lr_head, "it warms up"
    (row,) = (event for event in events if isinstance(event, EpochDone))
    assert row.train_loss == pytest.approx(sum(event.loss for event in steps) / 4)
    seen: list[Event] = []
    for event in trainer(
        tmp_path / "stopped",
        known,
        stop=lambda: sum(isinstance(each, StepDone) for each in seen) >= 1,
    ):
        seen.append(event)
    list(trainer(tmp_path / "stopped", known))
    assert_same(folder, tmp_path / "stopped")


def test_more_of_the_same_ends_the_epoch_that_was_cut_short(trainer: Trainer, tmp_path: Path) -> None:
    finished_within_an_epoch(trainer, tmp_path / "run")
    events = list(trainer(tmp_path / "run", after_the_first_epoch()))
    assert [event.step for event in events if isinstance(event, StepDone)] == [7, 8]
    (started,) = (event for event in events if isinstance(event, PhaseStarted))
    assert started.total_steps == 8


def test_nan_in_another_phase_after_an_epoch_cut_short(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished_within_an_epoch(trainer, tmp_path / "run")
    poisoned(monkeypatch)
    events = list(trainer(tmp_path / "run", after_the_first_epoch(unfreeze=1)))
    assert [event.step for event in events if isinstance(event, StepDone)] == [7, 8, 9, 10]


@pytest.mark.parametrize("finish", [True, False])
def test_a_stop_that_finishes_completes_the_run(trainer: Trainer, tmp_path: Path, finish: bool) -> None:
    seen: list[Event] = []
    for event in trainer(
        tmp_path / "run",
        [],
        stop=lambda: sum(isinstance(each, StepDone) for each in seen) >= 6,
        finish=lambda: finish,
    ):
        seen.append(event)
    last = seen[-1]
    assert isinstance(last, Finished) and last.best_epoch == 1
    assert last.reason == ("completed" if finish else "stopped")
    position = read_position(tmp_path / "run" / LAST)
    assert position is not None and (position.epoch, position.step_in_epoch) == (1, 2)


def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first loss from now on is no number."""
    real, calls = step.accumulate, iter(range(1000))

    def faulty(*args: Any, **kwargs: Any) -> Any:
        loss, correct = real(*args, **kwargs)
        return (loss * float("nan") if next(calls) == 0 else loss), correct

    monkeypatch.setattr(epoch, "accumulate", faulty)


def test_nan_before_the_first_checkpoint_of_an_extension(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is restored is of the phase before: its head saw standardised features, its checkpoint has no stages."""
    list(trainer(tmp_path / "plain", []))
    shutil.copytree(tmp_path / "plain", tmp_path / "faulty")
    known = extensions_of({"epochs": 1, "unfreeze": 1, "lr": 1e-8})
    list(trainer(tmp_path / "plain", known))
    poisoned(monkeypatch)
    events = list(trainer(tmp_path / "faulty", known))
    assert sum(isinstance(event, RolledBack) for event in events) == 2  # the resume, and the loss
    plain, faulty = tensors(tmp_path / "plain"), tensors(tmp_path / "faulty")
    assert plain.keys() == faulty.keys()
    name = f"{LAST}:net.classifier.3.weight"
    torch.testing.assert_close(plain[name], faulty[name], rtol=1e-4, atol=1e-6)
    position = read_position(tmp_path / "faulty" / LAST)
    assert position is not None and (position.phase, position.depth) == (1, STAGES - 1)


def test_nan_in_the_first_epoch_keeps_what_is_trained(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned(monkeypatch)
    list(trainer(tmp_path / "run", [], "full"))
    assert any(name.startswith(f"{LAST}:net.features.0") for name in tensors(tmp_path / "run"))
