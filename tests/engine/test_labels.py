"""Augmentation by choice, mixing, smoothing and balance in whole trainings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.engine.conftest import Trainer
from tests.engine.test_activations import notices
from tests.engine.test_train import assert_same, train_until
from tl_app.config import TrainConfig
from tl_app.data.augment import PLAIN, Augmentation
from tl_app.data.mixing import mixed
from tl_app.engine import epoch
from tl_app.engine.labels import augmentation_of
from tl_app.engine.step import accumulate, classify
from tl_app.errors import UsageError
from tl_app.events import EpochDone, Event, StepDone
from tl_app.transfer.losses import LabelLoss

ALL = {"mixup": 0.4, "cutmix": 1.0, "label_smoothing": 0.1, "balance": "sampling", "flip": "both"}


@pytest.fixture
def few_reds(photos: Path) -> None:
    """Leaves 4 of 12 photos of one class."""
    for path in sorted((photos / "red").iterdir())[4:]:
        path.unlink()


def steps(events: list[Event]) -> list[float]:
    return [event.loss for event in events if isinstance(event, StepDone)]


def val_losses(events: list[Event]) -> list[float]:
    return [event.val_loss for event in events if isinstance(event, EpochDone)]


@pytest.mark.parametrize(
    "settings",
    [
        {"recipe": "full", **ALL, "rotation": 20.0, "erasing": 0.3},
        {"recipe": "partial", "backbone": "resnet18", "cache": "on", **ALL},
        {"recipe": "head", "views": 2, **ALL, "balance": "loss"},
        {"recipe": "partial", "cache": "off", "augmentation": "trivial", **ALL},
    ],
    ids=["photos", "kept maps", "kept vectors", "frozen in each step"],
)
def test_resuming_anywhere_ends_with_the_same_bits(
    trainer: Trainer, tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epoch, "EPOCH_CHECKPOINT_SECONDS", 0.0)
    whole = list(trainer(tmp_path / "whole", **settings))
    for done in (2, 5):
        folder = tmp_path / f"stopped-{done}"
        first = train_until(trainer, folder, done, **settings)
        second = list(trainer(folder, **settings))
        assert_same(tmp_path / "whole", folder)
        assert steps(first + second) == steps(whole)


@pytest.mark.parametrize(
    "changed",
    [{"mixup": 0.4}, {"cutmix": 1.0}, {"label_smoothing": 0.2}, {"rotation": 30.0}, {"flip": "none"}],
)
def test_each_setting_changes_the_training(trainer: Trainer, tmp_path: Path, changed: dict[str, Any]) -> None:
    plain = list(trainer(tmp_path / "plain", epochs=2))
    assert steps(list(trainer(tmp_path / "changed", epochs=2, **changed))) != steps(plain)


def test_validation_neither_mixes_nor_smooths_nor_weighs(
    trainer: Trainer, tmp_path: Path, few_reds: None
) -> None:
    still = {"recipe": "head", "lr_head": 1e-8, "lr_backbone": 1e-8, "augmentation": "none"}
    plain = list(trainer(tmp_path / "plain", **still, balance="none"))
    varied = list(trainer(tmp_path / "varied", **still, mixup=0.4, label_smoothing=0.5, balance="loss"))
    assert val_losses(varied) == pytest.approx(val_losses(plain), abs=1e-4)
    assert steps(varied) != pytest.approx(steps(plain), abs=1e-2)


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_a_mixed_batch_in_parts_has_the_gradient_of_the_whole(parts: int) -> None:
    torch.manual_seed(0)
    network, photos = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 3)), torch.randint(0, 256, (7, 3, 8, 8))
    labels, loss = torch.tensor([0, 1, 2, 0, 1, 2, 2]), LabelLoss(0.1, torch.tensor([0.5, 2.0, 1.0]))
    rows, shares = mixed(photos.byte(), labels, mixup=1.0, cutmix=0.0, classes=3)
    objective = classify(network, torch.float32, loss)
    whole = loss(network(rows.float() / 255), shares) / 7
    (expected,) = torch.autograd.grad(whole, network[1].weight)
    right = (network(rows.float() / 255).argmax(1) == shares.argmax(1)).sum()
    found, correct = accumulate(lambda batch: batch.float() / 255, objective, rows, shares, parts=parts)
    torch.testing.assert_close(network[1].weight.grad, expected)
    torch.testing.assert_close(found, whole.detach())
    assert correct == right


def test_auto_weighs_uneven_classes_and_says_so_once(
    trainer: Trainer, tmp_path: Path, photos: Path, few_reds: None
) -> None:
    auto = train_until(trainer, tmp_path / "auto", 2, recipe="head")  # 10 blue, 3 red
    assert "The largest class has 3.3 times the photos of the smallest, so rare" in notices(auto)
    assert "photos of the smallest" not in notices(list(trainer(tmp_path / "auto", recipe="head")))
    asked = list(trainer(tmp_path / "loss", recipe="head", balance="loss"))
    assert steps(asked)[:2] == steps(auto)[:2] and "photos of the smallest" not in notices(asked)
    without = list(trainer(tmp_path / "none", recipe="head", balance="none"))
    assert steps(without)[:2] != steps(auto)[:2]


def test_even_classes_are_left_alone(trainer: Trainer, tmp_path: Path) -> None:
    auto, without = (list(trainer(tmp_path / name, balance=name)) for name in ("auto", "none"))
    assert steps(auto) == steps(without) and "of the smallest" not in notices(auto)


def test_balanced_draws_are_the_same_from_photos_and_from_kept_activations(
    trainer: Trainer, tmp_path: Path, few_reds: None
) -> None:
    settings = {"recipe": "head", "views": 3, "epochs": 4, "precision": "fp32", "balance": "sampling"}
    kept = list(trainer(tmp_path / "kept", cache="on", **settings))
    every_step = list(trainer(tmp_path / "off", cache="off", **settings))
    torch.testing.assert_close(steps(kept), steps(every_step), rtol=5e-3, atol=5e-3)


def test_what_mixing_means_for_kept_activations_is_said(trainer: Trainer, tmp_path: Path) -> None:
    both = {"mixup": 0.2, "cutmix": 1.0}
    said = notices(list(trainer(tmp_path / "head", recipe="head", **both)))
    assert (
        "(manifold mixup)" in said and "CutMix is off: what is kept of a photo has no places to cut" in said
    )
    said = notices(
        list(trainer(tmp_path / "maps", recipe="partial", backbone="resnet18", cache="on", **both))
    )
    assert "CutMix cuts the kept maps" in said
    said = notices(list(trainer(tmp_path / "full", recipe="full", **both)))
    assert "MixUp" not in said and "CutMix" not in said


def test_the_settings_become_one_augmentation() -> None:
    assert augmentation_of(TrainConfig()) == Augmentation() == Augmentation("light", "horizontal", 0.0, 0.0)
    assert augmentation_of(TrainConfig(augmentation="none")) == PLAIN
    config = TrainConfig(augmentation="strong", flip="both", rotation=9.0, erasing=0.2)
    assert augmentation_of(config) == Augmentation("strong", "both", 9.0, 0.2)


@pytest.mark.parametrize("changed", [{"rotation": 5.0}, {"erasing": 0.1}, {"flip": "vertical"}])
def test_choices_of_an_augmentation_that_is_off_are_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"Augmentation is 'none', but.*{next(iter(changed))}"):
        TrainConfig(augmentation="none", **changed)
    TrainConfig(augmentation="none", flip="none")


def test_kept_views_are_told_apart_by_every_choice(
    trainer: Trainer, tmp_path: Path, computed: list[int]
) -> None:
    for number, changed in enumerate(({}, {"flip": "none"}, {"rotation": 9.0}, {"erasing": 0.5}, {})):
        list(trainer(tmp_path / str(number), recipe="head", views=2, **changed))
    assert computed == [24, 20, 0, 20, 0, 20, 0, 20, 0, 0]
