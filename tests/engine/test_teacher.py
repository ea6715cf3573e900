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
from tl_app.engine.step import classify
from tl_app.engine.teacher import Teacher
from tl_app.events import EpochDone, Finished, Notice, StepDone
from tl_app.transfer.distillation import Imitation

DISTILLED = {"recipe": "pretrain", "teacher": "backbone:mobilenet_v2", "backbone": "shufflenet_v2_x0_5"}


@pytest.fixture(autouse=True)
def every_epoch_is_saved(monkeypatch: pytest.MonkeyPatch, pretrained: Path) -> None:
    monkeypatch.setattr(epoch, "EPOCH_CHECKPOINT_SECONDS", 0.0)


def test_what_is_made_small_is_labels_plus_distance() -> None:
    torch.manual_seed(0)
    network = build("shufflenet_v2_x0_5", num_classes=3).eval()
    known = Teacher(build("shufflenet_v2_x0_5"), Preprocessing(), torch.device("cpu"))
    photos, labels = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8), torch.tensor([0, 1, 2, 0])
    boundary = Preprocessing().normalise(photos)
    imitation = Imitation([(each.shape[1], each.shape[1]) for each in known(photos)])

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
    for hint in imitation._each():
        assert hint.map.weight.grad is not None and hint.map.weight.grad.abs().sum() > 0


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


def test_the_model_is_the_network_alone(trainer: Trainer, tmp_path: Path) -> None:
    events = list(trainer(tmp_path / "run", **DISTILLED))
    (best,) = (tmp_path / "run").glob("best-*.safetensors")
    names = set(load_file(best))
    assert names and all(name.startswith("net.") for name in names)
    assert any(name.startswith("imitation.") for name in load_file(tmp_path / "run" / "last.safetensors"))
    assert any("all layers begin for this task" in e.text for e in events if isinstance(e, Notice))
