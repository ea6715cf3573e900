"""Kept activations against frozen stages run in every step: the same training, only sooner."""

from __future__ import annotations

import shutil
import threading
import time
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
from tl_app.engine import activations, batches, boundary, filling, frozen, inference, inputs, openvino, views
from tl_app.engine.checkpoints import LAST, read_position
from tl_app.engine.features import pooled_features
from tl_app.errors import Interrupted
from tl_app.events import EpochDone, Event, Finished, Notice, PhaseStarted

installed = pytest.mark.skipif(not openvino.is_installed(), reason="the openvino extra is not installed")


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


def stop_after_four(trainer: Trainer, folder: Path, patch: pytest.MonkeyPatch, **settings: Any) -> None:
    """Stops a run when the first batch of four is computed, which is kept."""
    patch.setattr(boundary, "SHARD_BYTES", 1)
    patch.setattr(inference, "_BATCHES", (4,))
    patch.setattr(filling, "_size", lambda frozen: 4)
    stopping: list[bool] = []
    real = boundary.BoundaryStore.append

    def append(store: Any, *rows: Any) -> None:
        real(store, *rows)
        stopping.append(True)

    patch.setattr(boundary.BoundaryStore, "append", append)
    with pytest.raises(Interrupted, match="frozen activations was stopped"):
        list(trainer(folder, stop=lambda: bool(stopping), **settings))


def test_stopped_while_filling_it_goes_on_where_it_was(
    trainer: Trainer, tmp_path: Path, computed: list[int]
) -> None:
    settings = {"recipe": "head", "augmentation": "none"}
    with pytest.MonkeyPatch.context() as patch:
        stop_after_four(trainer, tmp_path / "run", patch, **settings)
    events = list(trainer(tmp_path / "run", **settings))
    assert isinstance(events[-1], Finished) and events[-1].reason == "completed"
    assert computed == [24, 20]


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
    second_began, real = threading.Event(), boundary.write_tensors
    planned = views._planned

    def loading(store: Any, item: Any, view: int, *rest: Any) -> Any:
        if view == 1:
            second_began.set()
        return planned(store, item, view, *rest)

    def slow(*args: Any) -> None:
        assert second_began.wait(20), "the second view waits for the first one's disk"
        real(*args)

    monkeypatch.setattr(views, "_planned", loading)
    monkeypatch.setattr(activations, "_loading_seconds", lambda _: 0.01)  # which loads view 1 too
    monkeypatch.setattr(boundary, "write_tensors", slow)
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

    monkeypatch.setattr(boundary, "write_tensors", full)
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


def test_a_cache_without_a_budget_leaves_memory(
    trainer: Trainer, tmp_path: Path, computed: list[int], home: Path
) -> None:
    """Rows that are on the disk are used all the same."""
    settings: dict[str, Any] = {"recipe": "head", "augmentation": "light", "precision": "fp32", "epochs": 3}
    list(trainer(tmp_path / "disk", views=1, **settings))
    (kept,) = (home / "cache" / "boundary").rglob("*.safetensors")
    with caches.hold(kept.parent):
        caches.set_budget(0)
        events = list(trainer(tmp_path / "memory", views=3, **settings))
    assert "is kept" in notices(events)
    assert "stays in memory, for this run alone (no room within the cache's limit)" in notices(events)
    assert computed == [24, 0, 20, 20]
    assert list((home / "cache" / "boundary").rglob("*.safetensors")) == [kept]
    every_step = list(trainer(tmp_path / "off", cache="off", views=3, **settings))
    torch.testing.assert_close(losses(events), losses(every_step), rtol=5e-3, atol=5e-3)


def test_without_room_memory_goes_on_from_what_the_disk_has(
    trainer: Trainer, tmp_path: Path, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"recipe": "head", "augmentation": "none", "precision": "fp32"}
    with pytest.MonkeyPatch.context() as patch:
        stop_after_four(trainer, tmp_path / "run", patch, **settings)
    monkeypatch.setattr(caches, "make_room", lambda *_, **__: False)
    rest = list(trainer(tmp_path / "run", **settings))
    assert computed == [24, 20]
    every_step = list(trainer(tmp_path / "off", cache="off", **settings))
    torch.testing.assert_close(losses(rest), losses(every_step), rtol=5e-3, atol=5e-3)


def test_a_second_run_is_told_that_nothing_is_left_to_compute(trainer: Trainer, tmp_path: Path) -> None:
    first = notices(list(trainer(tmp_path / "first", recipe="head", views=1)))
    assert "run once, about" in first and "already" not in first
    assert "is kept already" in notices(list(trainer(tmp_path / "second", recipe="head", views=1)))
    third = notices(list(trainer(tmp_path / "third", recipe="head", views=2)))
    assert "of which 55 % already" in third  # 24 of 44


def only_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activations, "_MEMORY_BYTES", 10)
    monkeypatch.setattr(activations, "_disk_speed", lambda: 1e12)


def test_the_disk_is_judged_by_all_views(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[bool] = []

    def slow() -> float:
        judged.append(True)
        return 1.0

    monkeypatch.setattr(activations, "_MEMORY_BYTES", 200_000)  # one view takes 98,304, three 262,144
    monkeypatch.setattr(activations, "_disk_speed", slow)
    settings: dict[str, Any] = {"recipe": "head", "precision": "fp32", "epochs": 3}
    assert "is kept" in notices(list(trainer(tmp_path / "one", views=1, **settings)))
    assert not judged
    assert "run in every step, about" in notices(list(trainer(tmp_path / "three", views=3, **settings)))
    assert judged


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (None, "2 views of each training photo (there is no room for more)"),
        (4, "their output (344 kB) cannot be kept (the limit is 200 kB)"),
    ],
)
def test_a_small_budget_means_fewer_views(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: int | None, said: str
) -> None:
    only_on_disk(monkeypatch)
    monkeypatch.setattr(caches, "budget_bytes", lambda: 200_000)  # two views take 180,224
    monkeypatch.setattr(caches, "make_room", lambda *_, **__: True)
    events = list(trainer(tmp_path / "run", recipe="head", precision="fp32", epochs=4, views=asked))
    assert said in notices(events)
    position = read_position(tmp_path / "run" / LAST)
    assert position is not None and position.plan is not None
    assert position.plan["views"] == (asked or 2)


@pytest.mark.parametrize(
    ("room", "said", "filled"),
    [
        (300_000, "3 views of each training photo (there is no room for more)", [24, 20, 20]),
        (100_000, "their output (344 kB) cannot be kept (no room within the cache's limit)", []),
    ],
)
def test_missing_room_is_told_before_anything_is_computed(
    trainer: Trainer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    computed: list[int],
    room: int,
    said: str,
    filled: list[int],
) -> None:
    only_on_disk(monkeypatch)
    real = caches.make_room
    monkeypatch.setattr(caches, "make_room", lambda needed, **rest: needed <= room and real(needed, **rest))
    events = list(trainer(tmp_path / "run", recipe="head", precision="fp32", epochs=4))
    assert said in notices(events) and computed == filled
    assert isinstance(events[-1], Finished)


def test_more_epochs_go_on_with_the_views_that_are_kept(
    trainer: Trainer, tmp_path: Path, computed: list[int]
) -> None:
    list(trainer(tmp_path / "short", recipe="head", epochs=2))
    list(trainer(tmp_path / "long", recipe="head", epochs=3))
    assert computed == [24, 20, 0, 0, 20]


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
    deadline = time.monotonic() + 10
    while not caches.clear("boundary"):  # in use until the thread that wrote them has let go
        assert time.monotonic() < deadline, "nothing was kept"
        time.sleep(0.01)
    fresh = run_to_end(pooled_features(config, scan(photos), lambda: False))
    spread = np.ptp(fresh.train, axis=0).max()  # a neighbour's features are that far off
    np.testing.assert_allclose(filled.train, fresh.train, rtol=0, atol=0.02 * spread)


@installed
def test_probe_and_runs_of_any_length_share_openvino(
    trainer: Trainer, photos: Path, tmp_path: Path, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen, "_ENOUGH_FOR_OPENVINO", 24)  # photos, whatever is to be computed of them
    config = TrainConfig(data=str(photos), backbone="mobilenet_v3_small", weights="random", image_size=32)
    run_to_end(pooled_features(config, scan(photos), lambda: False))
    settings: list[dict[str, Any]] = [{"views": 1}, {"epochs": 2}, {"epochs": 3}]
    for number, changed in enumerate(settings):
        list(trainer(tmp_path / str(number), recipe="head", **changed))
        assert engine_of(tmp_path / str(number)) == "openvino"
    assert computed == [24, 0, 0, 20, 0, 0, 20]


@installed
def test_another_openvino_has_rows_of_its_own(
    trainer: Trainer, tmp_path: Path, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen, "_ENOUGH_FOR_OPENVINO", 24)
    list(trainer(tmp_path / "first", recipe="head", views=1))
    monkeypatch.setattr(openvino, "version", lambda: "1.0")
    list(trainer(tmp_path / "second", recipe="head", views=1))
    assert computed == [24, 24]


@installed
@pytest.mark.parametrize("broken", [False, True], ids=["uninstalled", "broken"])
def test_a_run_resumed_without_openvino_keeps_its_rows_apart(
    trainer: Trainer, tmp_path: Path, computed: list[int], monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    monkeypatch.setattr(frozen, "_ENOUGH_FOR_OPENVINO", 24)
    settings: dict[str, Any] = {"recipe": "head", "views": 1, "epochs": 3, "precision": "fp32"}
    list(trainer(tmp_path / "whole", **settings))
    train_until(trainer, tmp_path / "stopped", 5, **settings)
    with monkeypatch.context() as patch:
        if broken:
            patch.setattr(openvino, "OpenVinoNetwork", lambda *_, **__: 1 / 0)
            shutil.rmtree(caches.resources.cache_dir() / "boundary")
        else:
            patch.setattr(openvino, "is_installed", lambda: False)
        events = list(trainer(tmp_path / "stopped", **settings))
    said = "OpenVINO is not used: division by zero." if broken else "is not installed any more"
    assert said in notices(events) and isinstance(events[-1], Finished)
    list(trainer(tmp_path / "again", **settings))
    assert computed == [24, 0, 24, 24 if broken else 0]  # torch's rows are never taken for OpenVINO's


def engine_of(folder: Path) -> str:
    position = read_position(folder / LAST)
    assert position is not None and position.plan is not None
    return str(position.plan["form"]["engine"])
