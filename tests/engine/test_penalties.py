from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.engine.conftest import Trainer
from tests.engine.test_train import assert_same, forgetful, train_until
from tl_app.backbones.catalogue import list_backbones
from tl_app.backbones.pieces import Dropout
from tl_app.backbones.staged import StagedNetwork, build, build_weightless, split
from tl_app.config import TrainConfig
from tl_app.engine import epoch, step
from tl_app.engine.blocks import activations, blocks_of
from tl_app.engine.checkpoints import LAST, START
from tl_app.engine.penalties import Penalised, Strengths, _recorded
from tl_app.engine.step import Objective, accumulate, classify
from tl_app.errors import UsageError
from tl_app.events import Finished, Notice, PhaseStarted, StepDone
from tl_app.transfer.freezing import set_depth, train_mode
from tl_app.transfer.regularisers import BSS, FEATURE_DISTANCE, L2_SP, feature_distance, l2_sp

# One backbone of each family: the smallest.
FAMILIES = {spec.family: spec.name for spec in sorted(list_backbones(), key=lambda each: -each.parameters)}

TUNED: dict[str, Any] = {
    "backbone": "bundled",
    "weights": "default",
    "image_size": 64,
    "recipe": "full",
    "epochs": 2,
}
ALL: dict[str, Any] = {
    "l2_sp": 2.0,
    "feature_distance": 0.5,
    "bss": 3.0,
    "layer_decay": 0.7,
    "grad_clip": 0.5,
    "warmup": 0.3,
}


@pytest.fixture(autouse=True)
def every_epoch_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epoch, "EPOCH_CHECKPOINT_SECONDS", 0.0)


class Case:
    """A network that has moved away from its source, at some depth, and a batch at the boundary."""

    def __init__(self, depth: int = 3, *, keep_statistics: bool = True, name: str = "bundled") -> None:
        torch.manual_seed(0)
        architecture = "mobilenet_v2" if name == "bundled" else name
        self.network, self.depth = build(architecture, num_classes=3), depth
        self.photos, self.labels = torch.randn(7, 3, 64, 64), torch.tensor([0, 1, 2, 0, 1, 2, 0])
        with torch.no_grad():
            for _ in range(30):  # so that activations are of ordinary size in eval mode
                self.network(self.photos)
        set_depth(self.network, depth)
        train_mode(self.network, depth, keep_statistics=keep_statistics)
        self.source = copy.deepcopy(self.network).requires_grad_(False).eval()
        with torch.no_grad():
            for parameter in self.network.parameters():
                parameter += 0.05 * parameter.abs().mean() * torch.randn_like(parameter)
        self.prefix, self.suffix = split(self.network, depth)

    @property
    def plain(self) -> Objective:
        return classify(self.suffix, torch.float32)

    def objective(self, **strengths: float) -> Penalised:
        known = {"precision": torch.float32, "source": self.source}
        return Penalised(self.plain, self.network, self.depth, Strengths(**strengths), **known)  # type: ignore[arg-type]

    def totals(self, **strengths: float) -> tuple[Tensor, Tensor]:
        """The penalised and the plain sum of losses; dropout draws the same for both."""
        with torch.no_grad():
            boundary = self.prefix(self.photos)
            found = []
            for objective in (self.objective(**strengths), self.plain):
                torch.manual_seed(1)
                found.append(objective(self.photos, boundary, self.labels))
        assert torch.equal(found[0][1], found[1][1]), "the logits stay as they are"
        return found[0][0], found[1][0]

    def gradients(self, parts: int, seed: int = 1, **strengths: float) -> tuple[Tensor, list[Tensor]]:
        """The mean loss, and all gradients, of a step in so many parts."""
        self.network.zero_grad(set_to_none=True)
        objective = self.objective(**strengths)
        for prepare in (True, False):
            torch.manual_seed(seed)
            if prepare:
                objective.look(self.prefix, self.photos, self.labels, parts=parts)
            else:
                loss, _ = accumulate(self.prefix, objective, self.photos, self.labels, parts=parts)
        return loss, [p.grad for p in self.network.parameters() if p.grad is not None]

    def stages(self, network: StagedNetwork) -> list[Tensor]:
        modules = [stage.module for stage in network.stages[self.depth :]]
        with torch.no_grad():
            return activations(modules, self.prefix(self.photos))


def test_l2_sp_is_half_lambda_times_the_squared_distance_of_the_trained_backbone() -> None:
    case = Case()
    total, plain = case.totals(l2_sp=0.3)
    own, known = (
        [p for stage in network.stages[3:] for p in stage.module.parameters()]
        for network in (case.network, case.source)
    )
    squared = sum((one - two).square().sum().item() for one, two in zip(own, known, strict=True))
    assert ((total - plain) / 7).item() == pytest.approx(0.5 * 0.3 * squared, rel=1e-4)
    _, without = case.gradients(1)
    _, pulled = case.gradients(1, l2_sp=0.3)
    for one, two, gradient, before in zip(own, known, pulled, without, strict=False):
        torch.testing.assert_close(gradient - before, 0.3 * (one - two), rtol=1e-3, atol=1e-5)
    for gradient, before in zip(pulled[len(own) :], without[len(own) :], strict=True):
        assert torch.equal(gradient, before), "the head is left alone"


def test_the_feature_distance_is_that_of_the_trained_stages() -> None:
    case = Case()
    total, plain = case.totals(feature_distance=0.7)
    shares = []
    for own, known in zip(case.stages(case.network), case.stages(case.source), strict=True):
        dimensions = tuple(range(1, own.ndim))
        shares.append((own - known).square().sum(dimensions) / known.square().sum(dimensions))
    expected = 0.7 * torch.stack(shares).mean(0).sum()
    assert (total - plain).item() == pytest.approx(expected.item(), rel=1e-3) and expected > 0.01


def test_the_feature_distance_of_the_source_from_itself_is_nothing() -> None:
    case = Case()
    case.network.load_state_dict(case.source.state_dict())
    total, plain = case.totals(feature_distance=1.0)
    assert torch.equal(total, plain)


def test_bss_is_eta_times_the_smallest_singular_value_squared() -> None:
    case = Case(name="resnet18")
    total, plain = case.totals(bss=0.9)
    smallest = torch.linalg.svdvals(case.stages(case.network)[-1])[-1]
    assert ((total - plain) / 7).item() == pytest.approx(0.9 * smallest.item() ** 2, rel=1e-3)


@pytest.mark.parametrize("strengths", [{"l2_sp": 0.3}, {"feature_distance": 0.7}, {"bss": 0.9}], ids=str)
def test_in_parts_loss_and_gradient_are_those_of_the_whole_batch(strengths: dict[str, float]) -> None:
    case = Case(name="resnet18")  # no dropout, whose draws depend on the parts
    plain, before = case.gradients(1)
    whole, gradients = case.gradients(1, **strengths)
    assert whole > plain + 1e-3
    for parts in (2, 3, 7):
        loss, found = case.gradients(parts, **strengths)
        torch.testing.assert_close(loss, whole)
        for one, two, without in zip(found, gradients, before, strict=True):
            torch.testing.assert_close(one - without, two - without, rtol=1e-2, atol=1e-4)


def test_a_look_at_the_batch_changes_no_statistics_and_no_draws() -> None:
    """The stages have BatchNorm that adapts; what parts see of it, and of dropout, must be what they see without."""
    results = []
    for strengths in ({}, {"bss": 1e-12}):
        case = Case(keep_statistics=False)
        loss, _ = case.gradients(3, **strengths)
        results.append((loss, {name: value.clone() for name, value in case.network.named_buffers()}))
    (plain, buffers), (loss, looked) = results
    torch.testing.assert_close(loss, plain)
    assert all(torch.equal(buffers[name], looked[name]) for name in buffers)


@pytest.mark.parametrize("name", FAMILIES.values(), ids=FAMILIES.keys())
@pytest.mark.parametrize("cut", [blocks_of, lambda network: [s.module for s in network.stages]])
def test_every_stage_is_seen_once_whoever_runs_it(
    name: str, cut: Callable[[StagedNetwork], list[torch.nn.Module]]
) -> None:
    network = (build if name.startswith("swin_v2") else build_weightless)(name).eval()
    device = next(network.parameters()).device
    photo = torch.zeros(1, 3, network.image_size, network.image_size, device=device)
    with torch.no_grad(), _recorded([stage.module for stage in network.stages]) as found:
        given = activations(cut(network), photo)
    places = [[number for number, each in enumerate(given) if each is one] for one in found]
    assert len(found) == len(network.stages)
    assert [len(each) for each in places] == [1] * len(found) and places == sorted(places)
    assert places[-1] == [len(given) - 1]


def distances(folder: Path) -> tuple[float, float]:
    """Of the backbone from where it started: that of its weights, and that of its activations of some noise."""
    photos = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    networks = []
    for name in (LAST, START):
        network = build("mobilenet_v2", num_classes=2, image_size=32).eval()
        loaded = load_file(folder / name)
        network.net.load_state_dict({n[4:]: v for n, v in loaded.items() if n.startswith("net.")})
        networks.append([stage.module for stage in network.stages])
    own, start = ([p.detach() for stage in stages for p in stage.parameters()] for stages in networks)
    with torch.no_grad():
        apart = feature_distance(*(activations(stages, photos) for stages in networks))
    return (2 * l2_sp(own, start).item()) ** 0.5, apart.mean().item()


@pytest.mark.parametrize(("name", "which"), [("l2_sp", 0), ("feature_distance", 1)])
def test_the_larger_the_closer(trainer: Trainer, tmp_path: Path, name: str, which: int) -> None:
    settings = TUNED | {"augmentation": "none", "epochs": 4, "lr_backbone": 5e-4}
    found = []
    for strength in (0.0, 1.0, 10.0):
        folder = tmp_path / str(strength)
        list(trainer(folder, **settings | {name: strength}))
        found.append(distances(folder)[which])
    assert found[0] > 1.05 * found[1] > 1.1 * found[2] > 0


def test_shrinkage_makes_the_smallest_singular_value_smaller(trainer: Trainer, tmp_path: Path) -> None:
    smallest = []
    for strength in (0.0, 10.0):
        folder = tmp_path / str(strength)
        list(trainer(folder, **TUNED | {"epochs": 6, "lr_backbone": 1e-3, "bss": strength}))
        network = build("mobilenet_v2", num_classes=2, image_size=64).eval()
        loaded = load_file(folder / LAST)
        network.net.load_state_dict({n[4:]: v for n, v in loaded.items() if n.startswith("net.")})
        photos = torch.randn(6, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            features = activations([stage.module for stage in network.stages], photos)[-1]
        smallest.append(torch.linalg.svdvals(features)[-1].item())
    assert smallest[1] < 0.9 * smallest[0]


@pytest.mark.parametrize("recipe", ["partial", "full", "lp-ft"])
def test_resuming_with_everything_on_ends_with_the_same_bits(
    trainer: Trainer, tmp_path: Path, recipe: str
) -> None:
    settings = TUNED | ALL | {"recipe": recipe, "optimizer": "adamw" if recipe == "full" else "sgd"}
    list(trainer(tmp_path / "whole", **settings))
    for steps in (
        0,
        3,
        4,
        6,
    ):  # before the first, within an epoch, before an evaluation, within the second epoch
        folder = tmp_path / f"stopped-{steps}"
        first = train_until(trainer, folder, steps, **settings)
        assert sum(isinstance(event, StepDone) for event in first) == steps
        list(trainer(folder, **settings))
        assert_same(tmp_path / "whole", folder)


def test_a_batch_that_does_not_fit_ends_with_the_same_weights(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = TUNED | {"bss": 10.0, "l2_sp": 1.0, "epochs": 1, "optimizer": "sgd"}
    monkeypatch.setattr(Dropout, "forward", lambda self, x: x)  # its draws depend on the parts
    list(trainer(tmp_path / "whole", **settings))
    monkeypatch.setattr(step, "_checked", forgetful(3))
    events = list(trainer(tmp_path / "cut", **settings))
    assert any("computed in 2 parts" in event.text for event in events if isinstance(event, Notice))
    whole, cut = (load_file(tmp_path / name / LAST) for name in ("whole", "cut"))
    for name in (each for each in whole if each.startswith("net.") and each.endswith("weight")):
        torch.testing.assert_close(cut[name], whole[name], rtol=1e-3, atol=1e-5)


def test_one_is_the_usual_strength(trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Strengths] = []
    real = Penalised.__init__

    def noted(self: Penalised, *args: Any, **rest: Any) -> None:
        seen.append(args[3])
        real(self, *args, **rest)

    monkeypatch.setattr(Penalised, "__init__", noted)
    settings = {"epochs": 1, "l2_sp": 1.0, "feature_distance": 1.0, "bss": 1.0}
    list(trainer(tmp_path / "run", **TUNED | settings))
    assert seen == [Strengths(L2_SP, FEATURE_DISTANCE, BSS)]


def test_a_clipped_gradient_moves_the_weights_no_further(trainer: Trainer, tmp_path: Path) -> None:
    plain = {"optimizer": "sgd", "weight_decay": 0.0, "schedule": "constant", "epochs": 1, "batch_size": 20}
    settings = TUNED | plain | {"lr_head": 0.1, "lr_backbone": 0.1}
    lengths = []
    for largest in (0.0, 1e-3):
        folder = tmp_path / str(largest)
        train_until(trainer, folder, 1, **settings | {"grad_clip": largest})
        lengths.append(distances(folder)[0])
    assert 0 < lengths[1] <= 0.1 * 1e-3 * 1.001 < lengths[0]


def test_earlier_stages_move_less(trainer: Trainer, tmp_path: Path) -> None:
    settings = TUNED | {"optimizer": "adam", "weight_decay": 0.0, "schedule": "constant", "layer_decay": 0.1}
    train_until(trainer, tmp_path / "run", 1, **settings)
    last, start = (load_file(tmp_path / "run" / name) for name in (LAST, START))
    # Adam's first step is as long as the rate wherever there is a gradient.
    moved = [
        (last[f"net.features.{n}.0.weight"] - start[f"net.features.{n}.0.weight"]).abs().max()
        for n in (0, 18)
    ]
    assert moved[1] == pytest.approx(5e-5, rel=1e-2)
    assert moved[0] < 5e-5 * 0.1**7


def test_warm_up_reaches_the_steps(trainer: Trainer, tmp_path: Path) -> None:
    settings = TUNED | {"schedule": "constant", "warmup": 0.5, "lr_head": 0.01}
    rates = [e.lr for e in trainer(tmp_path / "run", **settings) if isinstance(e, StepDone)]
    assert rates == pytest.approx([0.00125, 0.00375, 0.00625, 0.00875, 0.01, 0.01, 0.01, 0.01])


@pytest.mark.parametrize("recipe", ["head", "partial"])
def test_with_the_head_alone_a_notice_says_that_nothing_happens(
    trainer: Trainer, tmp_path: Path, recipe: str
) -> None:
    settings = TUNED | {"recipe": recipe, "epochs": 1}
    plain = list(trainer(tmp_path / "plain", **settings))
    events = list(trainer(tmp_path / "run", **settings | {"bss": 1.0, "l2_sp": 1.0, "layer_decay": 0.5}))
    found = [e.text for e in events if isinstance(e, Notice) and "no effect" in e.text]
    assert not any("no effect" in e.text for e in plain if isinstance(e, Notice))
    if recipe == "head":
        assert found == [
            "Only the head is trained, so these have no effect: L2-SP, BSS, changing early layers less. "
            "Unfreeze stages to use them."
        ]
        assert_same(tmp_path / "plain", tmp_path / "run")
    else:
        assert not found


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"recipe": "scratch", "l2_sp": 1.0}, "needs one, but the start weights are random"),
        ({"weights": "random", "feature_distance": 1.0}, "needs one, but the start weights are random"),
        ({"recipe": "pretrain", "l2_sp": 1.0}, "needs one, but the start weights are random"),
        ({"recipe": "full", "start": "average", "l2_sp": 1.0}, "needs one, but the start weights are random"),
        (
            {"recipe": "full", "teacher": "run:x", "blockwise_epochs": 1, "bss": 1.0},
            "each block follows the teacher alone",
        ),
    ],
)
def test_there_must_be_a_source_to_stay_close_to(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TrainConfig(**values)
    TrainConfig(recipe="scratch", bss=1.0)  # weak features need no source


def test_beside_a_teacher_too(trainer: Trainer, tmp_path: Path) -> None:
    settings = TUNED | {"teacher": "backbone:bundled", "epochs": 1, "l2_sp": 1.0}
    events = list(trainer(tmp_path / "run", **settings | {"feature_distance": 1.0, "bss": 1.0}))
    assert isinstance(events[-1], Finished) and events[-1].reason == "completed"
    plain = list(trainer(tmp_path / "plain", **settings))
    losses = [[e.loss for e in each if isinstance(e, StepDone)] for each in (events, plain)]
    assert losses[0] != losses[1] and any(isinstance(e, PhaseStarted) for e in events)
