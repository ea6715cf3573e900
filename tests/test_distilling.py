"""A run that learns from another run's answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import tl_app
from tests.conftest import make_photos
from tests.engine.conftest import tensors
from tests.test_cli import call
from tl_app import runs
from tl_app.backbones.staged import build
from tl_app.data.preprocessing import Preprocessing
from tl_app.distilling import SOFT_LABELS, settings_from
from tl_app.engine import teacher
from tl_app.engine.step import classify
from tl_app.engine.teacher import Teacher
from tl_app.errors import UsageError
from tl_app.transfer.distillation import SOFTNESS, answers_apart
from tl_app.transfer.losses import CROSS_ENTROPY

TINY: dict[str, Any] = {"image_size": 32, "epochs": 2, "batch_size": 6, "device": "cpu", "weights": "random"}


@pytest.fixture
def run(photos: Path, tmp_path: Path) -> Path:
    made = tl_app.train(
        photos,
        backbone="mobilenet_v2",
        recipe="full",
        seed=3,
        name="large",
        runs_dir=tmp_path / "runs",
        **TINY,
    )
    return Path(made.run)


def test_the_distance_of_answers_is_hinton_s() -> None:
    student = torch.tensor([[2.0, 0.0], [0.0, 1.0]], requires_grad=True)
    other = torch.tensor([[0.0, 2.0], [0.0, 1.0]])
    own, known = (logits / SOFTNESS for logits in (student, other))
    expected = SOFTNESS**2 * (known.softmax(1) * (known.softmax(1).log() - own.softmax(1).log())).sum()
    torch.testing.assert_close(answers_apart(student, other), expected)
    assert answers_apart(other, other).item() == pytest.approx(0, abs=1e-6)
    (gradient,) = torch.autograd.grad(answers_apart(student, other), student)
    torch.testing.assert_close(gradient, (SOFTNESS * (own.softmax(1) - known.softmax(1))).detach())


def test_a_share_of_the_labels_is_the_teacher_s() -> None:
    torch.manual_seed(0)
    network = build("shufflenet_v2_x0_5", num_classes=3).eval()
    known = Teacher(build("mobilenet_v3_small", num_classes=3), Preprocessing(), torch.device("cpu"))
    photos, labels = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8), torch.tensor([0, 1, 2, 0])
    boundary = Preprocessing().normalise(photos)
    plain = classify(network, torch.float32)

    def loss(share: float) -> Tensor:
        objective = teacher.follow(plain, known, share=share, label_loss=CROSS_ENTROPY)
        return objective(photos, boundary, labels)[0]

    alone, logits = plain(photos, boundary, labels)
    torch.testing.assert_close(loss(0.0), alone)
    torch.testing.assert_close(loss(1.0), answers_apart(logits, known.answers(photos)))
    torch.testing.assert_close(loss(0.25), 0.75 * alone + 0.25 * loss(1.0))


def test_a_copy_learns_from_the_run_on_the_same_photos(run: Path) -> None:
    made = tl_app.distill(run, "shufflenet_v2_x0_5", name="small", runs_dir=run.parent, **_but("image_size"))
    first, copy = runs.open_run(run, run.parent), runs.open_run(made.run, run.parent)
    assert made.state == "completed" and copy.config.backbone == "shufflenet_v2_x0_5"
    assert copy.config.teacher == f"run:{run}" and copy.config.soft_labels == SOFT_LABELS
    assert copy.config.seed == 3 and copy.config.image_size == 32 and copy.config.imitation == 0
    assert (copy.path / "manifest.csv").read_text() == (first.path / "manifest.csv").read_text()


def test_what_the_teacher_says_counts_and_not_the_labels(tmp_path: Path) -> None:
    """The teacher has learned the two names the wrong way round, and so does its copy."""
    photos = make_photos(tmp_path / "photos", side=64)
    for old, new in (("red", "x"), ("blue", "red"), ("x", "blue")):
        (photos / old).rename(photos / new)
    plain: dict[str, Any] = {"augmentation": "none", "device": "cpu", "runs_dir": tmp_path / "runs"}
    wrong = tl_app.train(photos, backbone="auto", recipe="head", epochs=5, image_size=64, **plain)
    assert wrong.val_accuracy == 1
    for old, new in (("red", "x"), ("blue", "red"), ("x", "blue")):
        (photos / old).rename(photos / new)
    copy = tl_app.distill(wrong.run, wrong.backbone, soft_labels=1.0, epochs=4, **plain)
    assert copy.val_accuracy == 0


def test_stopping_and_going_on_ends_with_the_same_bits(run: Path) -> None:
    from tl_app.config import TrainConfig
    from tl_app.data.index import scan
    from tl_app.engine.setup import resolve
    from tl_app.engine.train import train

    settings = {**settings_from(runs.open_run(run, run.parent)), **TINY, "mixup": 0.2}
    config = TrainConfig(backbone="shufflenet_v2_x0_5", **settings)
    index = scan(config.data, seed=config.seed)
    filled, preprocessing = resolve(config, len(index.used("train")))
    for name, most in (("whole", 99), ("parts", 2)):
        folder, seen = run.parent / name, 0
        folder.mkdir()
        for event in train(filled, index, preprocessing, folder, stop=lambda: seen >= most):  # noqa: B023
            seen += type(event).__name__ == "StepDone"
        assert seen == most or most == 99
    list(train(filled, index, preprocessing, run.parent / "parts"))
    whole, parts = tensors(run.parent / "whole"), tensors(run.parent / "parts")
    assert whole.keys() == parts.keys() and all(torch.equal(whole[name], parts[name]) for name in whole)


def test_answers_that_do_not_fit_are_refused(run: Path, tmp_path: Path) -> None:
    asked = {"backbone": "shufflenet_v2_x0_5", "recipe": "full", **TINY, "runs_dir": run.parent}
    other = make_photos(tmp_path / "other")
    (other / "red").rename(other / "green")
    with pytest.raises(UsageError, match=r"answers with other classes \(blue, red\).*\(blue, green\)"):
        tl_app.train(other, teacher=f"run:{run}", soft_labels=0.5, **asked)
    with pytest.raises(UsageError, match="answers for photos of 32 pixels, not of 64"):
        tl_app.distill(run, "shufflenet_v2_x0_5", runs_dir=run.parent, **{**TINY, "image_size": 64})
    with pytest.raises(UsageError, match="no teacher was named"):
        tl_app.train(other, soft_labels=0.5, **asked)
    with pytest.raises(UsageError, match="neither its features nor its answers"):
        tl_app.train(other, teacher=f"run:{run}", imitation=0.0, **asked)


def test_the_command_makes_a_copy(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = ("--epochs", "1", "--weights", "random", "--device", "cpu", "--runs-dir", run.parent)
    code, made, err = call(capsys, "distill", "large", "--backbone", "shufflenet_v2_x0_5", *tiny)
    assert code == 0 and made["backbone"] == "shufflenet_v2_x0_5", err
    code, answer, _ = call(capsys, "distill", "large", *tiny)
    assert code == 2 and "--backbone NAME" in answer["error"]


def _but(name: str) -> dict[str, Any]:
    return {key: value for key, value in TINY.items() if key != name}
