"""Kept activations against frozen stages run in every step: the same training, only sooner."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.engine.conftest import Trainer, tensors
from tests.engine.test_train import assert_same, train_until
from tl_app import caches
from tl_app.config import TrainConfig
from tl_app.data import store
from tl_app.data.index import scan
from tl_app.engine import activations, batches, boundary, frozen, inference, inputs
from tl_app.engine.checkpoints import LAST, read_position
from tl_app.engine.features import pooled_features
from tl_app.events import EpochDone, Event, Finished, Notice, PhaseStarted


def losses(events: list[Event]) -> list[float]:
    return [event.val_loss for event in events if isinstance(event, EpochDone)]


def notices(events: list[Event]) -> str:
    return " ".join(event.text for event in events if isinstance(event, Notice))


@pytest.mark.parametrize(
    "settings",
    [
        {"recipe": "head", "augmentation": "none"},
        {"recipe": "head", "augmentation": "strong", "views": 2},
        {"recipe": "head", "augmentation": "light", "views": 3, "epochs": 5},
        {"recipe": "partial", "augmentation": "none"},
        {"recipe": "partial", "augmentation": "light", "backbone": "resnet18"},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_kept_activations_give_the_same_training_to_rounding(
    trainer: Trainer, tmp_path: Path, settings: dict[str, Any]
) -> None:
    settings = {"precision": "fp32", **settings}
    every_step = list(trainer(tmp_path / "off", cache="off", **settings))
    kept = list(trainer(tmp_path / "on", cache="on", **settings))
    assert "in every step, as asked" in notices(every_step) and "is kept" in notices(kept)
    torch.testing.assert_close(losses(kept), losses(every_step), rtol=5e-3, atol=5e-3)
    left, right = tensors(tmp_path / "off"), tensors(tmp_path / "on")
    for name, value in left.items():
        if name.startswith(f"{LAST}:net") and value.is_floating_point():
            assert (right[name] - value).norm() <= 0.02 * value.norm() + 1e-3, name


def test_a_second_run_computes_nothing(
    trainer: Trainer, tmp_path: Path, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    list(trainer(tmp_path / "first", recipe="head", views=2))
    monkeypatch.setattr(frozen, "compile_forward", lambda *_, **__: pytest.fail("compiled for nothing"))
    list(trainer(tmp_path / "second", recipe="head", views=2, lr_head=1e-3, optimizer="sgd"))
    assert computed == [24, 20, 0, 0]  # 20 photos to train on, 4 to validate on, 2 views


def test_other_augmentation_shares_the_plain_view(
    trainer: Trainer, tmp_path: Path, computed: list[int]
) -> None:
    list(trainer(tmp_path / "first", recipe="head", views=2))
    list(trainer(tmp_path / "second", recipe="head", views=2, augmentation="strong"))
    assert computed == [24, 20, 0, 20]


def test_what_changes_the_activations_changes_the_key(
    trainer: Trainer, tmp_path: Path, computed: list[int]
) -> None:
    for number, changed in enumerate(({}, {"backbone": "mobilenet_v3_large"}, {"freeze": 3})):
        recipe = "partial" if "freeze" in changed else "head"
        list(trainer(tmp_path / str(number), recipe=recipe, augmentation="none", **changed))
    assert computed == [24, 24, 24]


def test_stopped_while_filling_it_goes_on_where_it_was(
    trainer: Trainer, tmp_path: Path, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tl_app.errors import Interrupted

    monkeypatch.setattr(boundary, "SHARD_BYTES", 1)
    monkeypatch.setattr(inference, "_BATCHES", (4,))
    stopping: list[bool] = []
    with monkeypatch.context() as patch:
        real = boundary.BoundaryStore.append

        def append(store: Any, *rows: Any) -> None:
            real(store, *rows)
            stopping.append(True)

        patch.setattr(boundary.BoundaryStore, "append", append)
        with pytest.raises(Interrupted, match="frozen activations was stopped"):
            list(trainer(tmp_path / "run", stop=lambda: bool(stopping), recipe="head", augmentation="none"))
    events = list(trainer(tmp_path / "run", recipe="head", augmentation="none"))
    assert isinstance(events[-1], Finished) and events[-1].reason == "completed"
    assert computed == [24, 20]  # the first batch of four was kept


@pytest.mark.parametrize(
    ("recipe", "epochs", "cache"),
    [("gradual", 4, "auto"), ("gradual", 6, "on"), ("lp-ft", 4, "on"), ("lp-ft", 4, "off")],
)
def test_later_phases_see_other_views_and_never_plain_photos(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str, epochs: int, cache: str
) -> None:
    drawn: list[int] = []
    real = inputs.view_of

    def recorded(*args: Any) -> int:
        drawn.append(real(*args))
        return drawn[-1]

    monkeypatch.setattr(inputs, "view_of", recorded)
    monkeypatch.setattr(batches, "view_of", recorded)
    settings: dict[str, Any] = {
        "backbone": "bundled",
        "weights": "default",
        "image_size": 64,
        "views": epochs,
    }
    settings |= {"freeze": 6} if recipe == "gradual" else {}
    events = list(trainer(tmp_path / "run", recipe=recipe, epochs=epochs, cache=cache, **settings))
    assert isinstance(events[-1], Finished)
    assert sorted(set(drawn)) == list(range(epochs)), "each epoch has views of its own"
    assert drawn.count(0) <= 2 * 20, (
        "plain ones are those of the first epoch, and what it measures features on"
    )


def test_the_next_view_is_computed_while_one_is_written(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    second_began, real = threading.Event(), boundary.write_atomically
    load = frozen.Frozen.load

    def loading(self: frozen.Frozen, item: Any, view: int) -> Any:
        if view == 1:
            second_began.set()
        return load(self, item, view)

    def slow(*args: Any) -> None:
        assert second_began.wait(20), "the second view waits for the first one's disk"
        real(*args)

    monkeypatch.setattr(frozen.Frozen, "load", loading)
    monkeypatch.setattr(activations, "_loading_seconds", lambda _: 0.01)  # which loads view 1 too
    monkeypatch.setattr(boundary, "write_atomically", slow)
    events = list(trainer(tmp_path / "run", recipe="head", views=3, epochs=3))
    assert isinstance(events[-1], Finished)
    assert len(list((home / "cache" / "boundary").rglob("*.safetensors"))) == 3


@pytest.mark.parametrize("recipe", ["head", "partial"])
def test_a_resumed_run_ends_with_the_same_bits_though_the_cache_was_cleared(
    trainer: Trainer, tmp_path: Path, recipe: str
) -> None:
    list(trainer(tmp_path / "whole", recipe=recipe, views=2, epochs=3))
    train_until(trainer, tmp_path / "stopped", 5, recipe=recipe, views=2, epochs=3)
    shutil.rmtree(caches.resources.cache_dir() / "boundary")
    list(trainer(tmp_path / "stopped", recipe=recipe, views=2, epochs=3))
    assert_same(tmp_path / "whole", tmp_path / "stopped")


def test_a_disk_that_fails_costs_time_and_not_the_run(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"recipe": "head", "augmentation": "none", "precision": "fp32"}
    plain = list(trainer(tmp_path / "plain", cache="off", **settings))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(boundary, "write_atomically", full)
    events = list(trainer(tmp_path / "run", **settings))
    assert "their output cannot be kept (No space left on device)" in notices(events)
    assert losses(events) == losses(plain)


def test_no_room_in_the_cache_leaves_memory(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setattr(caches, "make_room", lambda *_, **__: False)
    events = list(trainer(tmp_path / "run", recipe="head", augmentation="none"))
    assert isinstance(events[-1], Finished)
    assert not list((home / "cache" / "boundary").rglob("*.safetensors"))


def test_activations_beyond_the_memory_limit_are_read_from_disk(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(trainer(tmp_path / "memory", recipe="partial", cache="on"))
    monkeypatch.setattr(activations, "_MEMORY_BYTES", 10)
    events = list(trainer(tmp_path / "disk", recipe="partial", cache="on"))
    assert "is kept" in notices(events)
    assert_same(tmp_path / "memory", tmp_path / "disk")


def test_the_best_model_takes_features_as_they_are(trainer: Trainer, tmp_path: Path) -> None:
    """The head is trained on standardised features and saved for plain ones."""
    from safetensors.torch import load_file

    events = list(trainer(tmp_path / "run", recipe="head", epochs=4, precision="fp32"))
    position = read_position(tmp_path / "run" / LAST)
    assert position is not None and position.best_file is not None
    best, last = load_file(tmp_path / "run" / position.best_file), load_file(tmp_path / "run" / LAST)
    name = "net.classifier.3.weight"
    assert {"standard.mean", "standard.scale"} <= last.keys()
    assert not torch.allclose(best[name], last[name])
    if position.best_epoch == 4:
        torch.testing.assert_close(best[name], last[name] * last["standard.scale"])
    assert any(isinstance(event, PhaseStarted) for event in events)


def run_to_end(generator: Iterator[Event]) -> Any:
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


def test_features_of_the_probe_are_those_of_the_run(
    trainer: Trainer, photos: Path, tmp_path: Path, computed: list[int]
) -> None:
    config = TrainConfig(data=str(photos), backbone="mobilenet_v3_small", weights="random", image_size=32)
    found = run_to_end(pooled_features(config, scan(photos), lambda: False))
    assert found.train.shape == (20, 1024) and found.val.shape == (4, 1024)
    assert found.train.dtype == "float32" and sorted(found.val_labels) == [0, 0, 1, 1]
    list(trainer(tmp_path / "run", recipe="head", views=1))
    assert computed == [24, 0]


@pytest.mark.parametrize("pixels_kept", [True, False])
def test_renumbered_photos_do_not_get_a_neighbours_activations(
    photos: Path, pixels_kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    if not pixels_kept:
        monkeypatch.setattr(store, "open_decoded", full)
    config = TrainConfig(data=str(photos), backbone="mobilenet_v3_small", weights="random", image_size=32)
    before = scan(photos)
    (photos / "red" / "00.png").unlink()
    for number in range(1, 12):
        (photos / "red" / f"{number:02d}.png").rename(photos / "red" / f"{number - 1:02d}.png")
    assert "11 photos have changed since the scan" in notices(
        list(pooled_features(config, before, lambda: False))
    )
    filled = run_to_end(pooled_features(config, scan(photos), lambda: False))
    assert caches.clear("boundary")
    fresh = run_to_end(pooled_features(config, scan(photos), lambda: False))
    spread = np.ptp(fresh.train, axis=0).max()  # a neighbour's features are that far off
    np.testing.assert_allclose(filled.train, fresh.train, rtol=0, atol=0.02 * spread)
