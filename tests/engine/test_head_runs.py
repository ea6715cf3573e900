"""Trainings with heads other than a linear layer: resuming, kept activations, prediction, and what starts from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import tl_app
from tests.engine.conftest import Trainer, tensors
from tests.engine.test_activations import losses
from tests.engine.test_train import assert_same, every_epoch_is_saved, train_until  # noqa: F401
from tl_app import runs
from tl_app.config import TrainConfig
from tl_app.data.index import scan
from tl_app.engine import epoch, setup, step
from tl_app.engine.checkpoints import LAST
from tl_app.engine.features import pooled_features
from tl_app.errors import UsageError
from tl_app.events import EpochDone, RolledBack
from tl_app.transfer.heads import Cosine

MLP = {"head": "mlp", "hidden": 16}
FLAT = {**MLP, "pooling": "flatten"}
COSINE = {"head": "cosine"}
BUNDLED = {"backbone": "bundled", "weights": "default", "image_size": 64, "recipe": "lp-ft", "epochs": 2}
TINY: dict[str, Any] = {"image_size": 32, "device": "cpu", "batch_size": 8, "epochs": 1}


@pytest.mark.parametrize(
    "settings",
    [
        {**MLP, "recipe": "head"},
        {**FLAT, "recipe": "head"},
        {**MLP, "recipe": "full"},
        {**COSINE, "recipe": "head"},
        {**COSINE, **BUNDLED, "ema": 0.9},
        {**FLAT, **BUNDLED},
        {**COSINE, "recipe": "partial", "optimizer": "sgd"},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_resuming_anywhere_ends_with_the_same_bits(
    trainer: Trainer, tmp_path: Path, settings: dict[str, Any]
) -> None:
    list(trainer(tmp_path / "whole", **settings))
    for steps in (0, 3, 4, 6):
        folder = tmp_path / f"stopped-{steps}"
        train_until(trainer, folder, steps, **settings)
        list(trainer(folder, **settings))
        assert_same(tmp_path / "whole", folder)


def test_prototypes_outlive_a_rollback(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss is not a number in the very first step: training goes on from the prototypes, not from noise."""
    settings = {**COSINE, "recipe": "head", "epochs": 1}
    train_until(trainer, tmp_path / "start", 0, **settings)
    calls, real = iter(range(100)), step.accumulate

    def faulty(*args: Any, **kwargs: Any) -> Any:
        loss, correct = real(*args, **kwargs)
        return (loss * float("nan") if next(calls) == 0 else loss), correct

    monkeypatch.setattr(epoch, "accumulate", faulty)
    folder, seen = tmp_path / "run", None
    for event in trainer(folder, **settings):
        if isinstance(event, RolledBack):
            seen = tensors(folder)[f"{LAST}:net.classifier.3.weight"]
            break
    assert seen is not None
    assert torch.equal(seen, tensors(tmp_path / "start")[f"{LAST}:net.classifier.3.weight"])
    torch.testing.assert_close(seen.norm(dim=1), torch.ones(2))


def test_an_average_begins_with_the_prototypes(trainer: Trainer, tmp_path: Path) -> None:
    train_until(trainer, tmp_path / "run", 0, **COSINE, recipe="head", ema=0.99)
    saved = tensors(tmp_path / "run")
    for name in ("weight", "centre"):
        live = saved[f"{LAST}:net.classifier.3.{name}"]
        averages = [
            v for k, v in saved.items() if "net.classifier.3." + name in k and v is not live and LAST in k
        ]
        assert averages and all(torch.equal(value, live) for value in averages), name


def test_kept_maps_give_the_same_training_to_rounding(trainer: Trainer, tmp_path: Path) -> None:
    settings = {**FLAT, "recipe": "head", "precision": "fp32", "dropout": 0.0, "views": 2}
    every_step = list(trainer(tmp_path / "off", cache="off", **settings))
    kept = list(trainer(tmp_path / "on", cache="on", **settings))
    torch.testing.assert_close(losses(kept), losses(every_step), rtol=5e-3, atol=5e-3)


def test_activations_are_shared_where_they_are_the_same(
    trainer: Trainer,
    tmp_path: Path,
    computed: list[int],
) -> None:
    settings = {"recipe": "head", "augmentation": "none", "backbone": "resnet18"}
    for number, head in enumerate(({}, MLP, COSINE, FLAT, {**FLAT, "hidden": 8})):
        list(trainer(tmp_path / str(number), **settings, **head))
    assert computed == [24, 0, 0, 24, 0]  # pooled features, then whole maps
    computed.clear()
    settings |= {"backbone": "mobilenet_v3_small"}  # whose fc an mlp head replaces
    for number, head in enumerate(({}, MLP, FLAT)):
        list(trainer(tmp_path / f"a{number}", **settings, **head))
    assert computed == [24, 24, 24]


@pytest.mark.parametrize("head", [MLP, FLAT, COSINE], ids=["mlp", "flat", "cosine"])
@pytest.mark.parametrize("freeze", ["head", "none"])
def test_a_finished_run_predicts_what_its_network_says(
    photos: Path, head: dict[str, Any], freeze: str
) -> None:
    settings = {"backbone": "mobilenet_v3_small", "weights": "random", "freeze": freeze, **TINY}
    result = tl_app.train(photos, name="run", **settings, **head)
    info = runs.open_run("run", Path(result.run).parent)
    stages = ["conv"] if head is COSINE else []
    assert info.stages[-1] == ("fc" if stages else "conv") and result.state == "completed"

    files = sorted(photos.rglob("*.png"))[::5]
    predictor = tl_app.load_predictor("run")
    saved = {
        k.split(":", 1)[1]: v for k, v in tensors(Path(result.run) / "checkpoints").items() if "best" in k
    }
    network = setup.empty_network(info.config, 2)
    network.load_state_dict({**predictor.network.state_dict(), **saved})
    images = torch.stack([predictor.preprocessing.center(predictor.preprocessing.load(f)) for f in files])
    with torch.no_grad():
        logits = network.eval()(predictor.preprocessing.normalise(images, torch.float32))
    torch.testing.assert_close(predictor.logits(images), logits, rtol=1e-3, atol=1e-4)
    assert tl_app.evaluate("run").accuracy == result.val_accuracy  # the folded head is the trained one


@pytest.mark.parametrize("head", [MLP, FLAT, COSINE], ids=["mlp", "flat", "cosine"])
def test_it_learns(trainer: Trainer, tmp_path: Path, head: dict[str, Any]) -> None:
    settings = {"backbone": "resnet18", "recipe": "head", "epochs": 12, "augmentation": "none", **head}
    events = list(trainer(tmp_path / "run", **settings))
    assert max(event.val_accuracy for event in events if isinstance(event, EpochDone)) == 1.0


@pytest.mark.parametrize("recipe", ["head", "partial"])
def test_prototypes_start_better_than_chance(trainer: Trainer, tmp_path: Path, recipe: str) -> None:
    """One step at a rate that moves nothing: what is measured is where the head begins."""
    settings = {
        "recipe": recipe,
        "epochs": 1,
        "augmentation": "none",
        "backbone": "resnet18",
        "lr_head": 1e-8,
    }
    found = {}
    for head in ("linear", "cosine"):
        events = list(trainer(tmp_path / head, head=head, **settings))
        found[head] = next(event for event in events if isinstance(event, EpochDone))
    assert found["cosine"].val_accuracy == 1.0
    assert found["cosine"].val_loss < 0.9 * found["linear"].val_loss


def test_a_run_with_any_head_is_a_source(photos: Path) -> None:
    common = {"backbone": "resnet18", "weights": "random", "freeze": "none", **TINY}
    for name, head in (("mlp", MLP), ("flat", FLAT), ("cosine", COSINE)):
        tl_app.train(photos, name=name, **common, **head)
        source = tl_app.load_predictor(name).network
        for target in ({}, MLP, {**FLAT, "image_size": 64}, COSINE):
            settings: dict[str, Any] = {**TINY, "weights": f"run:{name}", "freeze": "head", **target}
            tl_app.train(photos, name=f"{name}-{target.get('pooling')}-{target.get('head')}", **settings)
            network = tl_app.load_predictor(f"{name}-{target.get('pooling')}-{target.get('head')}").network
            for one, two in zip(source.stages, network.stages, strict=True):
                pairs = zip(one.module.parameters(), two.module.parameters(), strict=True)
                assert all(torch.equal(mine, theirs) for mine, theirs in pairs)


def test_a_source_without_the_backbones_own_dense_layers(photos: Path) -> None:
    common = {"backbone": "mobilenet_v3_small", "weights": "random", "freeze": "none", **TINY}
    source = tl_app.train(photos, name="source", **common, **MLP)
    with pytest.raises(UsageError, match="'source' has an mlp head in place of .*a linear head needs.*'mlp'"):
        tl_app.train(photos, weights="run:source", freeze="head", **TINY)
    result = tl_app.train(photos, weights="run:source", freeze="head", **TINY, **FLAT)
    assert result.state == "completed" and result.shared_layers[-1] == "conv"
    features = pooled_features(
        TrainConfig(data=str(photos), weights=f"run:{source.run}"), scan(photos), lambda: False
    )
    while True:
        try:
            next(features)
        except StopIteration as end:
            assert end.value.train.shape == (20, 576)  # of the last convolution
            return


def test_runs_with_other_heads_teach_and_learn(photos: Path) -> None:
    settings: dict[str, Any] = {"backbone": "mobilenet_v3_small", **TINY}
    tl_app.pretrain(photos, name="teacher", **settings, **FLAT)
    for name, head in (("flat", FLAT), ("cosine", COSINE)):
        result = tl_app.pretrain(photos, name=name, teacher="run:teacher", **settings, **head)
        assert result.state == "completed"


def test_a_map_is_refused_where_there_is_none(photos: Path) -> None:
    with pytest.raises(UsageError, match="does not go with vit_b_32.*no feature map.*Choose pooling 'pool'"):
        tl_app.train(photos, backbone="vit_b_32", weights="random", **{**TINY, **FLAT})


def test_runs_from_before_heads_could_be_chosen(photos: Path) -> None:
    import json

    result = tl_app.train(photos, backbone="mobilenet_v3_small", weights="random", name="old", **TINY)
    file = Path(result.run) / "config.json"
    stored = json.loads(file.read_text())
    for values in (stored, *stored.values()):
        for name in ("head", "hidden", "dropout", "pooling"):
            values.pop(name, None) if isinstance(values, dict) else None
    file.write_text(json.dumps(stored))
    assert "pooling" not in file.read_text()
    assert tl_app.evaluate("old").accuracy == result.val_accuracy


def test_maps_are_standardised_by_channel() -> None:
    from tl_app.transfer.standardise import fold, measured

    maps = torch.randn(6, 3, 2, 2) * torch.tensor([1.0, 10.0, 0.5]).view(3, 1, 1) + 4
    standard = measured([maps[:2], maps[2:]])
    seen = standard(maps.flatten(1)).view_as(maps)
    torch.testing.assert_close(seen.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-4, rtol=0)
    layer = nn.Linear(12, 5)
    expected = layer(standard(maps.flatten(1)))
    fold(layer, standard)
    torch.testing.assert_close(layer(maps.flatten(1)), expected, atol=1e-4, rtol=1e-4)


def test_a_cosine_head_is_not_folded(trainer: Trainer, tmp_path: Path) -> None:
    list(trainer(tmp_path / "run", **COSINE, recipe="head", epochs=1))
    assert not any("standard" in name for name in tensors(tmp_path / "run"))
    assert Cosine(3, 2).extra_repr() == "in_features=3, out_features=2"
