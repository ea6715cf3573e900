from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.engine.conftest import Trainer
from tests.engine.test_train import assert_same, train_until
from tl_app.backbones.staged import build
from tl_app.data.preprocessing import Preprocessing
from tl_app.engine import epoch, teacher
from tl_app.engine.blocks import compared
from tl_app.engine.step import classify
from tl_app.engine.teacher import Teacher
from tl_app.errors import UsageError
from tl_app.events import EpochDone, Finished, Notice, PhaseStarted, StepDone
from tl_app.transfer.distillation import Imitation

DISTILLED = {"recipe": "pretrain", "teacher": "backbone:mobilenet_v2", "backbone": "shufflenet_v2_x0_5"}

BLOCKWISE = {**DISTILLED, "backbone": "mobilenet_v2", "blockwise_epochs": 1, "epochs": 1, "batch_size": 8}


@pytest.fixture(autouse=True)
def every_epoch_is_saved(monkeypatch: pytest.MonkeyPatch, pretrained: Path) -> None:
    monkeypatch.setattr(epoch, "EPOCH_CHECKPOINT_SECONDS", 0.0)


def test_what_is_made_small_is_labels_plus_distance() -> None:
    torch.manual_seed(0)
    network = build("shufflenet_v2_x0_5", num_classes=3).eval()
    known = Teacher(build("shufflenet_v2_x0_5"), Preprocessing(), torch.device("cpu"))
    photos, labels = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8), torch.tensor([0, 1, 2, 0])
    boundary = Preprocessing().normalise(photos)
    found = known(photos)
    imitation = Imitation([(found[n].shape[1], found[n].shape[1]) for n in compared(known.blocks)])

    def loss(weight: float) -> tuple[torch.Tensor, torch.Tensor]:
        objective = teacher.imitate(network, imitation, known, weight=weight, precision=torch.float32)
        return objective(photos, boundary, labels)

    plain, logits = classify(network, torch.float32)(photos, boundary, labels)
    torch.testing.assert_close(loss(0.0)[0], plain)
    torch.testing.assert_close(loss(0.0)[1], logits)
    distance = (loss(1.0)[0] - plain).item()
    assert distance > 0
    assert (loss(3.0)[0] - plain).item() == pytest.approx(3 * distance, rel=1e-4)
    loss(1.0)[0].backward()
    for hint in imitation.each():
        assert (
            hint.map is not None and hint.map.weight.grad is not None and hint.map.weight.grad.abs().sum() > 0
        )


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "squeezenet1_1", "vit_b_32"])
def test_any_network_can_learn_from_any_other(name: str, trainer: Trainer, tmp_path: Path) -> None:
    settings: dict[str, Any] = {**DISTILLED, "backbone": name, "epochs": 1, "batch_size": 20}
    events = list(trainer(tmp_path / "run", **settings))
    assert isinstance(events[-1], Finished) and events[-1].reason == "completed"


def test_imitating_brings_the_features_closer(trainer: Trainer, tmp_path: Path) -> None:
    settings: dict[str, Any] = {**DISTILLED, "epochs": 15, "augmentation": "none", "imitation": 10.0}
    events = list(trainer(tmp_path / "run", **settings))
    losses = [event.train_loss for event in events if isinstance(event, EpochDone)]
    assert losses[-1] < 0.8 * losses[0]
    assert isinstance(events[-1], Finished) and events[-1].reason == "completed"


def test_resuming_ends_with_the_same_bits(trainer: Trainer, tmp_path: Path) -> None:
    list(trainer(tmp_path / "whole", **DISTILLED))
    for steps in (0, 5):
        first = train_until(trainer, tmp_path / f"{steps}", steps, **DISTILLED)
        assert sum(isinstance(event, StepDone) for event in first) == steps
        list(trainer(tmp_path / f"{steps}", **DISTILLED))
        assert_same(tmp_path / "whole", tmp_path / f"{steps}")


def test_resuming_within_block_wise_epochs_or_after_them_ends_with_the_same_bits(
    trainer: Trainer, tmp_path: Path
) -> None:
    whole = list(trainer(tmp_path / "whole", **BLOCKWISE))
    phases = [event for event in whole if isinstance(event, PhaseStarted)]
    assert [phase.lr_backbone for phase in phases] == [0.05, phases[1].lr_head]
    per_epoch = phases[0].steps_per_epoch
    assert per_epoch >= 2
    for steps in (1, per_epoch + 1):
        train_until(trainer, tmp_path / f"{steps}", steps, **BLOCKWISE)
        list(trainer(tmp_path / f"{steps}", **BLOCKWISE))
        assert_same(tmp_path / "whole", tmp_path / f"{steps}")


def test_blocks_that_learn_alone_come_closer_than_a_network_that_learns_as_one(
    trainer: Trainer, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {**BLOCKWISE, "augmentation": "none", "imitation": 100.0}
    alone = list(trainer(tmp_path / "alone", **settings | {"blockwise_epochs": 6}))
    as_one = list(trainer(tmp_path / "one", **settings | {"blockwise_epochs": 0, "epochs": 7}))
    (*_, mine), (*_, theirs) = ([e for e in events if isinstance(e, EpochDone)] for events in (alone, as_one))
    assert mine.train_loss < 0.8 * theirs.train_loss


def test_block_wise_epochs_need_the_same_blocks(trainer: Trainer, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="teacher with the same blocks"):
        list(trainer(tmp_path / "run", **BLOCKWISE | {"backbone": "shufflenet_v2_x0_5"}))


def test_the_model_is_the_network_alone(trainer: Trainer, tmp_path: Path) -> None:
    events = list(trainer(tmp_path / "run", **DISTILLED))
    (best,) = (tmp_path / "run").glob("best-*.safetensors")
    names = set(load_file(best))
    assert names and all(name.startswith("net.") for name in names)
    assert any(name.startswith("imitation.") for name in load_file(tmp_path / "run" / "last.safetensors"))
    assert any("all layers begin for this task" in e.text for e in events if isinstance(e, Notice))
