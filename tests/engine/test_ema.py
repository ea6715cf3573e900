"""The running average of the weights: it is evaluated and kept, while training goes on with the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engine.conftest import Trainer, tensors
from tests.engine.test_train import assert_same, train_until
from tl_app.engine import epoch, step
from tl_app.engine.checkpoints import LAST
from tl_app.events import EpochDone, Event, RolledBack
from tl_app.runs import PROBE
from tl_app.transfer.recipes import Phase

BUNDLED: dict[str, Any] = {
    "backbone": "bundled",
    "weights": "default",
    "image_size": 64,
}  # features that a head can learn from
HEAD, DEEPER = Phase(2, 9, 2e-4, 1e-5), Phase(2, 7, 1e-5, 1e-5)


@pytest.fixture(autouse=True)
def every_epoch_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epoch, "EPOCH_CHECKPOINT_SECONDS", 0.0)


@pytest.fixture
def two_phases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tl_app.transfer.extensions.plan", lambda *_: [HEAD, DEEPER])


def best_of(folder: Path) -> dict[str, torch.Tensor]:
    return {
        name.partition(":")[2]: value for name, value in tensors(folder).items() if name.startswith("best")
    }


def last_of(folder: Path, prefix: str) -> dict[str, torch.Tensor]:
    start = f"{LAST}:{prefix}"
    return {
        name.removeprefix(start): value for name, value in tensors(folder).items() if name.startswith(start)
    }


def val_losses(events: list[Event]) -> list[float]:
    return [event.val_loss for event in events if isinstance(event, EpochDone)]


@pytest.mark.parametrize("recipe", ["head", "full"])
def test_the_average_is_the_model_and_training_does_not_feel_it(
    trainer: Trainer, tmp_path: Path, recipe: str
) -> None:
    plain = list(trainer(tmp_path / "plain", recipe=recipe, **BUNDLED))
    averaged = list(trainer(tmp_path / "averaged", recipe=recipe, ema=0.9, **BUNDLED))
    weights, same = last_of(tmp_path / "averaged", "net."), last_of(tmp_path / "plain", "net.")
    assert weights and all(torch.equal(weights[name], same[name]) for name in same)
    assert val_losses(plain) != val_losses(averaged)
    average = last_of(tmp_path / "averaged", "average.net.")
    assert set(average) == {name for name, value in weights.items() if value.is_floating_point()}
    assert any(not torch.equal(value, weights[name]) for name, value in average.items())


def test_what_is_kept_is_the_average_of_every_step(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Followed beside the engine, on the weights that the optimiser leaves."""
    seen: list[dict[str, torch.Tensor]] = []
    real = step.within_memory

    def watched(run: Any, optimizer: torch.optim.Optimizer, **rest: Any) -> Any:
        params = [p for group in optimizer.param_groups for p in group["params"]]
        if not seen:
            seen.append([p.detach().clone() for p in params])  # type: ignore[arg-type]
        result = real(run, optimizer, **rest)
        seen.append([p.detach().clone() for p in params])  # type: ignore[arg-type]
        return result

    monkeypatch.setattr(epoch, "within_memory", watched)
    list(trainer(tmp_path / "run", recipe="full", ema=0.3, epochs=1))
    expected = [value.double() for value in seen[0]]
    for n, weights in enumerate(seen[1:]):
        decay = min(0.3, (1 + n) / (10 + n))
        expected = [decay * mean + (1 - decay) * now for mean, now in zip(expected, weights, strict=True)]
    kept = best_of(tmp_path / "run")
    largest = max(expected, key=torch.Tensor.numel)
    (found,) = (value for value in kept.values() if value.shape == largest.shape)
    torch.testing.assert_close(found.double(), largest, rtol=1e-5, atol=1e-7)


def test_a_head_on_standardised_features_is_averaged_and_folded(trainer: Trainer, tmp_path: Path) -> None:
    list(trainer(tmp_path / "run", recipe="head", ema=0.9))
    average, standard = last_of(tmp_path / "run", "average.net."), last_of(tmp_path / "run", "standard.")
    weight = average["classifier.3.weight"] * standard["scale"]
    best = best_of(tmp_path / "run")
    torch.testing.assert_close(best["net.classifier.3.weight"], weight)
    bias = average["classifier.3.bias"] - weight @ standard["mean"]
    torch.testing.assert_close(best["net.classifier.3.bias"], bias, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("recipe", ["head", "full"])
def test_resuming_anywhere_ends_with_the_same_bits(trainer: Trainer, tmp_path: Path, recipe: str) -> None:
    settings = {"recipe": recipe, "ema": 0.95}
    list(trainer(tmp_path / "whole", **settings))
    for steps in (1, 4, 5, 8):
        train_until(trainer, tmp_path / f"stopped-{steps}", steps, **settings)
        list(trainer(tmp_path / f"stopped-{steps}", **settings))
        assert_same(tmp_path / "whole", tmp_path / f"stopped-{steps}")


@pytest.mark.usefixtures("two_phases")
@pytest.mark.parametrize("settings", [BUNDLED | {"ema": 0.95}, BUNDLED], ids=["average", "plain"])
def test_each_phase_has_its_own_average_and_resumes_in_it(
    trainer: Trainer, tmp_path: Path, settings: dict[str, Any]
) -> None:
    list(trainer(tmp_path / "whole", **settings))
    assert (tmp_path / "whole" / PROBE).is_file()
    for steps in (3, 8, 9, 13):  # in the first phase, at its end, in the second
        train_until(trainer, tmp_path / f"stopped-{steps}", steps, **settings)
        list(trainer(tmp_path / f"stopped-{steps}", **settings))
        assert_same(tmp_path / "whole", tmp_path / f"stopped-{steps}")


def poisoned(monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    """A gradient that is not a number, once."""
    real, calls = step.accumulate, iter(range(1000))

    def faulty(*args: Any, **kwargs: Any) -> Any:
        loss, correct = real(*args, **kwargs)
        return (loss * float("nan") if next(calls) == call else loss), correct

    monkeypatch.setattr(epoch, "accumulate", faulty)


@pytest.mark.parametrize("ema", [0.0, 0.95])
def test_nan_brings_the_average_back_too(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ema: float
) -> None:
    """Half the rate of 0 is 0: what a roll-back restores is all there is to see at the end."""
    settings = {"recipe": "full", "ema": ema, "lr_head": 1e-8, "lr_backbone": 1e-8, "batchnorm": "adapt"}
    list(trainer(tmp_path / "plain", **settings))
    poisoned(monkeypatch, 6)
    events = list(trainer(tmp_path / "poisoned", **settings))
    assert sum(isinstance(event, RolledBack) for event in events) == 1
    one, other = tensors(tmp_path / "plain"), tensors(tmp_path / "poisoned")
    assert one.keys() == other.keys()
    for name, value in one.items():
        if "optimizer" not in name:
            torch.testing.assert_close(other[name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.usefixtures("two_phases")
@pytest.mark.parametrize("call", [1, 9], ids=["before any epoch", "in a phase"])
@pytest.mark.parametrize("ema", [0.0, 0.95])
def test_nan_before_a_phase_has_a_checkpoint(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int, ema: float
) -> None:
    """The checkpoint is that of the phase before: its head is folded, and the phase goes on as the one it is."""
    settings = {"ema": ema, "schedule": "constant", **BUNDLED}
    plain = list(trainer(tmp_path / "plain", **settings))
    poisoned(monkeypatch, call)
    events = list(trainer(tmp_path / "poisoned", **settings))
    assert sum(isinstance(event, RolledBack) for event in events) == 1
    assert last_of(tmp_path / "plain", "").keys() == last_of(tmp_path / "poisoned", "").keys()
    if call > 1:  # at half the rate the later phase goes about the same way
        assert val_losses(events)[-1] == pytest.approx(val_losses(plain)[-1], rel=0.25)
    assert val_losses(events)[-1] < 0.6
    with monkeypatch.context() as patch:
        patch.setattr(epoch, "accumulate", step.accumulate)
        again = list(trainer(tmp_path / "poisoned", **settings))  # nothing left to do, and nothing in the way
    assert again[-1].val_loss == events[-1].val_loss  # type: ignore[union-attr]


def test_a_plain_run_keeps_no_average_and_no_probe(trainer: Trainer, tmp_path: Path) -> None:
    list(trainer(tmp_path / "run", recipe="head"))
    assert not [name for name in tensors(tmp_path / "run") if "average" in name or "probe" in name]
