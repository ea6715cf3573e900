"""Batches of views: made one by one by threads, or together where they are trained on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.engine.conftest import Trainer, tensors
from tl_app.data import together
from tl_app.data.augment import PLAIN, Augmentation
from tl_app.data.store import PhotoStore, Preprocessing
from tl_app.engine import views
from tl_app.engine.views import CPU, Item, load_view, loaded_views
from tl_app.errors import PhotoError
from tl_app.events import EpochDone, Finished, StepDone


@pytest.fixture
def items(photos: Path) -> list[Item]:
    return [Item(f"{name}/{index:02d}.png", 0) for name in ("blue", "red") for index in range(12)]


@pytest.fixture
def store(photos: Path) -> PhotoStore:
    return PhotoStore(photos, Preprocessing(resize=36, crop=32))


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The CPU as if it were a graphics card; the sizes of the batches whose views it made."""
    monkeypatch.setattr(views, "_MAKES_VIEWS", ("cpu",))
    sizes: list[int] = []
    real = together.made

    def made(canvas: Tensor, *rest: object) -> Tensor:
        sizes.append(len(canvas))
        return real(canvas, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(together, "made", made)
    return sizes


def _loaded(store: PhotoStore, items: list[Item], how: Augmentation, side: int | None = None) -> Tensor:
    order = [
        [(view, item) for item in items[start : start + 7]] for view in range(3) for start in range(0, 24, 7)
    ]
    batches = loaded_views(
        order, lambda each: (each[1], each[0]), store=store, augmentation=how, seed=3, device=CPU, side=side
    )
    chunks, images = zip(*batches, strict=True)
    assert list(chunks) == order
    return torch.cat(images)


@pytest.mark.parametrize("level", ["none", "crop", "light", "strong", "trivial"])
@pytest.mark.parametrize("side", [None, 24])
def test_both_ways_see_the_same(
    store: PhotoStore,
    items: list[Item],
    card: list[int],
    monkeypatch: pytest.MonkeyPatch,
    level: str,
    side: int | None,
) -> None:
    """The plain view to the bit; the noise of these photos is what rounding shows most on."""
    how = Augmentation(level, "both", 10.0, 0.3)
    together_made = _loaded(store, items, how, side)
    assert sum(card) == (0 if level in ("none", "trivial") else 3 * 24), "none has nothing to make"
    monkeypatch.setattr(views, "_MAKES_VIEWS", ())
    alone_made = _loaded(store, items, how, side)
    expected = [
        load_view(store, item, view=view, augmentation=how, seed=3, side=side)
        for view in range(3)
        for item in items
    ]
    assert torch.equal(alone_made, torch.stack(expected))
    apart = (together_made.int() - alone_made.int()).abs().float()
    assert apart[:24].max() <= (0 if side is None else 1)
    assert apart.mean() < 0.6 and (apart > 3).float().mean() < 0.02


def test_a_run_whose_views_are_made_together(trainer: Trainer, tmp_path: Path, card: list[int]) -> None:
    """The same figures but for rounding, the same bits again, and a resumed run ends with the same weights."""
    settings = {"recipe": "full", "epochs": 3, "augmentation": "light"}
    whole = list(trainer(tmp_path / "whole", **settings))
    assert isinstance(whole[-1], Finished)
    assert sum(card) == 3 * 20, "training photos alone are varied"
    expected, seen = tensors(tmp_path / "whole"), list[object]()

    def enough() -> bool:
        return sum(isinstance(event, StepDone) for event in seen) >= 5

    for event in trainer(tmp_path / "parts", stop=enough, **settings):
        seen.append(event)
    assert isinstance(list(trainer(tmp_path / "parts", **settings))[-1], Finished)
    found = tensors(tmp_path / "parts")
    assert found.keys() == expected.keys()
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(views, "_MAKES_VIEWS", ())
        other = list(trainer(tmp_path / "other", **settings))
    losses = [[e.train_loss for e in events if isinstance(e, EpochDone)] for events in (whole, other)]
    assert losses[0] == pytest.approx(losses[1], abs=0.02) and losses[0] != losses[1]


def test_frozen_stages_see_views_made_together(trainer: Trainer, tmp_path: Path, card: list[int]) -> None:
    events = list(trainer(tmp_path / "run", recipe="head", views=2, epochs=2, cache="on"))
    assert isinstance(events[-1], Finished)
    assert sum(card) == 24 + 20, "the plain view of all photos, and one more of those to train on"


def test_a_photo_that_is_gone_ends_it(
    store: PhotoStore, items: list[Item], photos: Path, card: list[int]
) -> None:
    (photos / items[3].path).unlink()
    for made_on in ("cpu", "none"):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(PhotoError, match="not there"):
            patch.setattr(views, "_MAKES_VIEWS", (made_on,))
            _loaded(store, items, Augmentation("light"))


def test_plain_batches_are_never_made(store: PhotoStore, items: list[Item], card: list[int]) -> None:
    _loaded(store, items, PLAIN)
    assert not card
