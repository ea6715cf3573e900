"""Photos that grow while a network is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import tl_app
from tests.engine.conftest import Trainer, tensors
from tl_app.data.augment import PLAIN, Augmentation
from tl_app.data.index import scan
from tl_app.data.store import PhotoStore, Preprocessing
from tl_app.engine import epoch, inputs
from tl_app.engine.views import Item, load_view
from tl_app.events import Event, Finished, Notice, PhaseStarted, StepDone

GROWING: dict[str, Any] = {"resize_from": 32, "image_size": 96, "epochs": 3}


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[int]]:
    """The sides of photos in batches as they are made, for training and for validation."""
    sides: dict[str, list[int]] = {"train": [], "val": []}
    for split, name in (("train", "train_batches"), ("val", "eval_batches")):
        real = getattr(inputs, name)

        def batches(*args: Any, split: str = split, real: Any = real, **kwargs: Any) -> Any:
            for images, labels in real(*args, **kwargs):
                sides[split].append(images.shape[-1])
                yield images, labels

        monkeypatch.setattr(inputs, name, batches)
    return sides


def test_each_epoch_has_its_side_and_validation_the_networks(
    trainer: Trainer, tmp_path: Path, seen: dict[str, list[int]]
) -> None:
    events = list(trainer(tmp_path / "run", **GROWING))
    assert seen["train"] == [32] * 4 + [64] * 4 + [96] * 4
    assert set(seen["val"]) == {96} and len(seen["val"]) == 3
    (started,) = (event for event in events if isinstance(event, PhaseStarted))
    assert started.epochs == 3, "one phase, with one schedule and one optimiser"
    assert any(
        "32 px in epoch 1, 64 px in epoch 2" in event.text for event in events if isinstance(event, Notice)
    )


@pytest.mark.parametrize("augmentation", ["strong", "none"])
def test_resuming_while_photos_grow_ends_with_the_same_bits(
    trainer: Trainer, tmp_path: Path, augmentation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epoch, "EPOCH_CHECKPOINT_SECONDS", 0.0)
    settings = {**GROWING, "image_size": 64, "batch_size": 12, "augmentation": augmentation, "ema": 0.9}
    whole = list(trainer(tmp_path / "whole", **settings))
    expected = tensors(tmp_path / "whole")
    for steps in (1, 3):  # within a side, within the next one
        folder, events = tmp_path / f"stopped-{steps}", list[Event]()

        def reached(events: list[Event] = events, steps: int = steps) -> bool:
            return sum(isinstance(event, StepDone) for event in events) >= steps

        for event in trainer(folder, stop=reached, **settings):
            events.append(event)
        again = list(trainer(folder, **settings))
        assert isinstance(again[-1], Finished) and again[-1].val_accuracy == whole[-1].val_accuracy  # type: ignore[union-attr]
        found = tensors(folder)
        assert found.keys() == expected.keys()
        assert [name for name in found if not torch.equal(found[name], expected[name])] == []


def test_a_smaller_side_shows_the_same_part_of_the_photo(photos: Path) -> None:
    index = scan(photos)
    store = PhotoStore(index.root, Preprocessing(resize=36, crop=32))
    item = Item(index.photos[0].path, 0, index.photos[0].content_hash)
    for how, view in ((PLAIN, 1), (Augmentation("light"), 0), (Augmentation("light"), 2)):
        large, small = (
            load_view(store, item, view=view, augmentation=how, seed=1, side=side) for side in (None, 16)
        )
        assert large.shape == (3, 32, 32) and small.shape == (3, 16, 16)
        shrunk = torch.nn.functional.avg_pool2d(large[None].float(), 2)[0]
        assert (shrunk - small.float()).abs().mean() < 8, (how, view)


def test_a_grown_run_goes_on_at_full_size(photos: Path, seen: dict[str, list[int]]) -> None:
    result = tl_app.train(
        photos, backbone="mobilenet_v3_small", weights="random", recipe="full", batch_size=12, **GROWING
    )
    assert result.state == "completed"
    again = tl_app.extend(result.run, epochs=1)
    assert again.state == "completed" and again.best_epoch in range(1, 5)
    assert seen["train"] == [32] * 2 + [64] * 2 + [96] * 4
