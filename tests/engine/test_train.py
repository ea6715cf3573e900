from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engine.conftest import Trainer, tensors
from tl_app.backbones.staged import build
from tl_app.engine import epoch, step
from tl_app.engine import evaluate as evaluation
from tl_app.engine.checkpoints import LAST, START, is_finite, read_position
from tl_app.engine.evaluate import Evaluation
from tl_app.errors import DivergedError, ResourceError, UsageError
from tl_app.events import (
    CheckpointSaved,
    EpochDone,
    Event,
    Finished,
    Notice,
    PhaseStarted,
    RolledBack,
    StepDone,
)

Settings = dict[str, Any]


def kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


def assert_same(one: Path, other: Path) -> None:
    left, right = tensors(one), tensors(other)
    assert left.keys() == right.keys()
    assert [name for name in left if not torch.equal(left[name], right[name])] == []


@pytest.fixture(autouse=True)
def every_epoch_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epoch, "EPOCH_CHECKPOINT_SECONDS", 0.0)


def train_until(trainer: Trainer, folder: Path, steps: int, **settings: Any) -> list[Event]:
    """Trains and says stop when so many steps are reported."""
    events: list[Event] = []

    def reached() -> bool:
        started = any(isinstance(event, PhaseStarted) for event in events)
        return started and sum(isinstance(event, StepDone) for event in events) >= steps

    for event in trainer(folder, stop=reached, **settings):
        events.append(event)
    return events


def test_the_events_tell_the_whole_story(trainer: Trainer, tmp_path: Path) -> None:
    events = list(trainer(tmp_path / "run"))
    steps = [event for event in events if isinstance(event, StepDone)]
    epochs = [event for event in events if isinstance(event, EpochDone)]
    (started,) = (event for event in events if isinstance(event, PhaseStarted))
    assert [event.step for event in steps] == list(range(1, 9))  # 20 photos in batches of 5, twice
    assert [event.epoch for event in epochs] == [1, 2]
    assert started.steps_per_epoch == 4 and started.trainable_parameters == started.total_parameters
    last = events[-1]
    assert isinstance(last, Finished) and last.reason == "completed"
    best = next(event for event in reversed(epochs) if event.is_best)
    assert (last.best_epoch, last.val_accuracy, last.val_loss) == (
        best.epoch,
        best.val_accuracy,
        best.val_loss,
    )
    assert (
        sum(isinstance(event, CheckpointSaved) for event in events) == 3
    )  # at the start, and after each epoch


def test_it_learns_from_scratch(trainer: Trainer, tmp_path: Path) -> None:
    settings = {"backbone": "shufflenet_v2_x0_5", "recipe": "scratch", "epochs": 25, "augmentation": "none"}
    events = list(trainer(tmp_path / "run", **settings))
    assert max(event.val_accuracy for event in events if isinstance(event, EpochDone)) == 1.0


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_same_seed_same_result_and_another_seed_another(
    trainer: Trainer, tmp_path: Path, optimizer: str
) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        list(trainer(tmp_path / name, seed=seed, optimizer=optimizer))
    assert_same(tmp_path / "a", tmp_path / "b")
    with pytest.raises(AssertionError):
        assert_same(tmp_path / "a", tmp_path / "c")


@pytest.mark.parametrize(
    "settings",
    [
        {"recipe": "head"},
        {"recipe": "partial", "augmentation": "strong", "schedule": "one-cycle"},
        {"recipe": "full", "optimizer": "sgd", "schedule": "step"},
        {"recipe": "scratch", "optimizer": "adam", "augmentation": "none"},
    ],
    ids=lambda settings: settings["recipe"],
)
def test_resuming_anywhere_ends_with_the_same_bits(
    trainer: Trainer, tmp_path: Path, settings: Settings
) -> None:
    whole = list(trainer(tmp_path / "whole", **settings))
    for steps in (0, 1, 4, 5, 8):  # before the first, within an epoch, before an evaluation, …
        folder = tmp_path / f"stopped-{steps}"
        first = train_until(trainer, folder, steps, **settings)
        assert isinstance(first[-1], Finished) and first[-1].reason == "stopped"
        assert sum(isinstance(event, StepDone) for event in first) == steps
        second = list(trainer(folder, **settings))
        assert_same(tmp_path / "whole", folder)
        assert second[-1].val_accuracy == whole[-1].val_accuracy  # type: ignore[union-attr]
        losses = [e.loss for e in first + second if isinstance(e, StepDone)]
        assert losses == [e.loss for e in whole if isinstance(e, StepDone)]


@pytest.mark.parametrize("taken", [2, 5, 9, 12])
def test_an_abandoned_training_goes_on_from_its_last_checkpoint(
    trainer: Trainer, tmp_path: Path, taken: int
) -> None:
    """What ``kill -9`` leaves: nothing is saved at the end."""
    list(trainer(tmp_path / "whole"))
    abandoned = trainer(tmp_path / "killed")
    for _ in range(taken):
        next(abandoned)
    del abandoned
    (tmp_path / "killed" / ".last.safetensors.0.tmp").write_bytes(b"half a checkpoint")
    events = list(trainer(tmp_path / "killed"))
    assert_same(tmp_path / "whole", tmp_path / "killed")
    assert not list((tmp_path / "killed").glob(".*"))
    assert isinstance(events[-1], Finished)


def test_checkpoints_within_an_epoch(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epoch, "CHECKPOINT_SECONDS", 0.0)
    list(trainer(tmp_path / "whole"))
    abandoned = trainer(tmp_path / "killed")
    while not (isinstance(event := next(abandoned), StepDone) and event.step == 3):
        pass
    del abandoned
    resumed = next(event for event in trainer(tmp_path / "killed") if isinstance(event, RolledBack))
    assert resumed.step == 2  # step 3 was reported before its checkpoint was written
    list(trainer(tmp_path / "killed"))
    assert_same(tmp_path / "whole", tmp_path / "killed")


def test_frozen_stages_never_move_and_are_not_saved_twice(trainer: Trainer, tmp_path: Path) -> None:
    list(trainer(tmp_path / "run", recipe="head"))
    start, best = tensors(tmp_path / "run"), {}
    best = {k.split(":")[1]: v for k, v in start.items() if k.startswith("best")}
    assert set(best) == {"net.classifier.3.weight", "net.classifier.3.bias"}
    assert not torch.equal(best["net.classifier.3.weight"], start[f"{START}:net.classifier.3.weight"])


def scripted(results: list[tuple[float, float]]) -> Any:
    """An ``evaluate`` that answers with given accuracies and losses."""
    answers: Iterator[tuple[float, float]] = iter(results)

    def evaluate(*_: Any, **__: Any) -> Evaluation:
        accuracy, loss = next(answers)
        return Evaluation(loss, accuracy, torch.zeros(1, 2), torch.zeros(1))

    return evaluate


def test_the_best_epoch_is_the_most_accurate_and_loss_breaks_ties(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = [(0.0, 0.9), (0.8, 0.5), (0.8, 0.4), (0.7, 0.1), (0.8, 0.6)]
    monkeypatch.setattr(epoch, "evaluate", scripted(results))
    events = list(trainer(tmp_path / "run", recipe="head", epochs=5))
    assert [event.is_best for event in events if isinstance(event, EpochDone)] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert events[-1].best_epoch == 3  # type: ignore[union-attr]
    assert [path.name for path in (tmp_path / "run").glob("best*")] == ["best-0003.safetensors"]


def test_nan_once_restores_the_checkpoint_and_halves_the_rate(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(100))
    real = step.accumulate

    def faulty(*args: Any, **kwargs: Any) -> Any:
        loss, correct = real(*args, **kwargs)
        return (loss * float("nan") if next(calls) == 5 else loss), correct

    monkeypatch.setattr(epoch, "accumulate", faulty)
    events = list(trainer(tmp_path / "run", schedule="constant"))
    back = next(event for event in events if isinstance(event, RolledBack))
    assert (back.step, back.epoch) == (4, 1) and "halved" in back.reason
    rates = [event.lr for event in events if isinstance(event, StepDone)]
    assert rates == [1e-3] * 5 + [5e-4] * 4
    assert events[-1].reason == "completed"  # type: ignore[union-attr]


def test_nan_twice_fails_plainly_and_keeps_the_best(trainer: Trainer, tmp_path: Path) -> None:
    events: list[Event] = []
    with pytest.raises(
        DivergedError, match="also at half the learning rate. Start again with a learning rate"
    ):
        for event in trainer(tmp_path / "run", optimizer="sgd", lr_head=10.0, lr_backbone=10.0, epochs=40):
            events.append(event)
    assert kinds(events).count("RolledBack") == 1
    position = read_position(tmp_path / "run" / LAST)
    assert position is not None
    for value in tensors(tmp_path / "run").values():
        assert torch.isfinite(value.float()).all()


def forgetful(limit: int) -> Any:
    """A ``_checked`` forward pass that runs out of memory beyond ``limit`` photos."""
    real = step._checked

    def forward(
        objective: Any, rows: torch.Tensor, boundary: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if len(boundary) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        result: tuple[torch.Tensor, torch.Tensor] = real(objective, rows, boundary, labels)
        return result

    return forward


def test_out_of_memory_cuts_the_batch_and_gives_the_same_gradients(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(trainer(tmp_path / "whole", recipe="head"))
    monkeypatch.setattr(step, "_checked", forgetful(3))
    events = list(trainer(tmp_path / "cut", recipe="head"))
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert notices[-1] == "Out of memory: each batch is now computed in 2 parts."
    whole, cut = tensors(tmp_path / "whole"), tensors(tmp_path / "cut")
    name = f"{LAST}:net.classifier.3.weight"
    torch.testing.assert_close(cut[name], whole[name])


def test_not_even_one_photo_fits(trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "_checked", forgetful(0))
    with pytest.raises(
        ResourceError, match="memory of cpu is too small: not even one photo at a time fits. Choose"
    ):
        list(trainer(tmp_path / "run"))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_out_of_memory_while_the_optimiser_is_set_up(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    list(trainer(tmp_path / "whole", optimizer=optimizer))
    kind = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[optimizer]
    real, failures = kind.step, iter([True])

    def faulty(self: Any, closure: Any = None) -> Any:
        if next(failures, False):
            self.state[self.param_groups[0]["params"][0]]["step"] = torch.zeros(())  # half set up
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, closure)

    monkeypatch.setattr(kind, "step", faulty)
    list(trainer(tmp_path / "again", optimizer=optimizer))
    assert_same(tmp_path / "whole", tmp_path / "again")


def test_out_of_memory_in_evaluation_halves_its_batch(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = list(trainer(tmp_path / "whole"))
    real = evaluation.to_input

    def forgetful_input(images: torch.Tensor, *rest: Any) -> torch.Tensor:
        if len(images) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(images, *rest)

    monkeypatch.setattr(evaluation, "to_input", forgetful_input)
    cut = list(trainer(tmp_path / "cut"))
    assert cut[-1].val_loss == pytest.approx(whole[-1].val_loss, rel=1e-4)  # type: ignore[union-attr]


def test_weights_that_are_not_finite_are_never_saved(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finite loss may come with an infinite gradient; stopping then must not cost the good checkpoint."""
    real, calls = step.within_memory, iter(range(100))

    def poisoned(run: Any, optimizer: torch.optim.Optimizer, **rest: Any) -> Any:
        result = real(run, optimizer, **rest)
        if next(calls) == 5:
            optimizer.param_groups[0]["params"][0].data.fill_(float("nan"))
        return result

    with monkeypatch.context() as patch:
        patch.setattr(epoch, "within_memory", poisoned)
        events = train_until(trainer, tmp_path / "run", 6)
    assert isinstance(events[-1], Finished) and events[-1].reason == "stopped"
    assert all(torch.isfinite(value.float()).all() for value in tensors(tmp_path / "run").values())
    list(trainer(tmp_path / "whole"))
    list(trainer(tmp_path / "run"))
    assert_same(tmp_path / "whole", tmp_path / "run")


@pytest.mark.parametrize(
    ("values", "finite"),
    [
        ([1.0, -2.0, 3e38], True),
        ([3e38] * 8, True),  # though their sum is not
        ([3e38] * 8 + [float("inf")], False),
        ([float("inf"), float("-inf"), 0.0], False),
        ([0.0, float("nan")], False),
    ],
)
def test_a_checkpoint_holds_finite_numbers_alone(values: list[float], finite: bool) -> None:
    network = build("mobilenet_v3_small", num_classes=2)
    assert is_finite(network, None)
    with torch.no_grad():
        network.net.classifier[3].weight.view(-1)[: len(values)] = torch.tensor(values)
    assert is_finite(network, None) == finite


def test_another_thread_that_builds_networks_changes_nothing(trainer: Trainer, tmp_path: Path) -> None:
    """Dropout draws from the process's one generator, and so does whoever loads a model meanwhile."""
    settings = {"backbone": "mobilenet_v3_small", "recipe": "full"}  # with dropout
    list(trainer(tmp_path / "alone", **settings))
    done = threading.Event()

    def build_on() -> None:
        while not done.is_set():
            build("squeezenet1_1", num_classes=2)

    other = threading.Thread(target=build_on)
    other.start()
    try:
        list(trainer(tmp_path / "beside", **settings))
    finally:
        done.set()
        other.join()
    assert_same(tmp_path / "alone", tmp_path / "beside")


def test_the_seed_reaches_dropout() -> None:
    draws = set()
    for seed in range(3):
        for number in range(3):
            torch.manual_seed(epoch._mixed(seed, number))
            draws.add(torch.rand(4).sum().item())
    assert len(draws) == 9


def test_bf16_trains_too(trainer: Trainer, tmp_path: Path) -> None:
    events = list(trainer(tmp_path / "run", recipe="partial", precision="bf16"))
    (started,) = (event for event in events if isinstance(event, PhaseStarted))
    assert started.precision == "bf16" and isinstance(events[-1], Finished)
    assert all(value.dtype != torch.bfloat16 for value in tensors(tmp_path / "run").values())


def test_a_batch_of_one_and_batchnorm(trainer: Trainer, tmp_path: Path) -> None:
    list(trainer(tmp_path / "head", recipe="head", batch_size=1, epochs=1))  # frozen: nothing to average
    with pytest.raises(
        UsageError, match="cannot train on one photo at a time. The batch size must be at least 2"
    ):
        list(trainer(tmp_path / "full", recipe="full", batch_size=1, epochs=1))


@pytest.mark.parametrize(
    ("settings", "depths"),
    [
        ({"recipe": "lp-ft", "epochs": 3}, [9, 0]),
        ({"recipe": "gradual", "epochs": 3, "freeze": 5}, [9, 7, 5]),
        ({"recipe": "lp-ft", "epochs": 2, "freeze": 7, "optimizer": "sgd"}, [9, 7]),
    ],
)
def test_resuming_in_any_phase_ends_with_the_same_bits(
    trainer: Trainer, tmp_path: Path, settings: Settings, depths: list[int]
) -> None:
    settings = {"backbone": "bundled", "weights": "default", "image_size": 64, **settings}
    whole = list(trainer(tmp_path / "whole", **settings))
    phases = [event for event in whole if isinstance(event, PhaseStarted)]
    assert [phase.frozen_stages for phase in phases] == depths
    per_epoch = phases[0].steps_per_epoch
    for steps in range(1, per_epoch * sum(phase.epochs for phase in phases), per_epoch - 1):
        folder = tmp_path / f"stopped-{steps}"
        first = train_until(trainer, folder, steps, **settings)
        assert isinstance(first[-1], Finished) and first[-1].reason == "stopped"
        list(trainer(folder, **settings))
        assert_same(tmp_path / "whole", folder)
