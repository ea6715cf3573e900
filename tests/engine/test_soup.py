"""The mean of the best epochs at the end of a run: what goes in, what is kept, and that a kill changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engine.conftest import Trainer, tensors
from tests.engine.test_train import assert_same, scripted, train_until
from tl_app.config import TrainConfig
from tl_app.engine import checkpoints, epoch, soup
from tl_app.engine.checkpoints import LAST, START, best_name, read_position, read_weights
from tl_app.errors import UsageError
from tl_app.events import Combined, Event, Finished, Notice, Progress
from tl_app.snapshot import Snapshot
from tl_app.transfer.recipes import Phase

BUNDLED: dict[str, Any] = {"backbone": "bundled", "weights": "default", "image_size": 64}


@pytest.fixture(autouse=True)
def every_epoch_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epoch, "EPOCH_CHECKPOINT_SECONDS", 0.0)


def best_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("best-*"))


def script(
    monkeypatch: pytest.MonkeyPatch, epochs: list[tuple[float, float]], soups: list[tuple[float, float]]
) -> None:
    """Accuracy and loss of each epoch; then of the best epoch and of each mean that is tried."""
    monkeypatch.setattr(epoch, "evaluate", scripted(epochs))
    monkeypatch.setattr(soup, "evaluate", scripted(soups))


def until_the_soup(trainer: Trainer, folder: Path, **settings: Any) -> list[Event]:
    """What ``kill -9`` leaves in the middle of it."""
    events: list[Event] = []
    for event in trainer(folder, **settings):
        events.append(event)
        if isinstance(event, Progress) and event.activity == "averaging the best epochs" and event.done:
            break
    return events


def test_the_best_epochs_are_kept_and_averaged_as_long_as_it_helps(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"recipe": "head", "epochs": 5, "soup": 4, **BUNDLED}
    epochs = [(0.6, 0.9), (0.8, 0.5), (0.5, 0.9), (0.7, 0.4), (0.8, 0.6)]
    script(monkeypatch, epochs, [(0.8, 0.5), (0.8, 0.5), (0.9, 0.7), (0.9, 0.8)])
    run = tmp_path / "run"
    events: list[Event] = []
    for event in trainer(run, **settings):
        events.append(event)
        if isinstance(event, Progress) and event.activity == "averaging the best epochs" and not event.done:
            assert best_files(run) == [best_name(number) for number in (1, 2, 4, 5)], (
                "not the third, the worst"
            )
            parts = [read_weights(run / best_name(number)) for number in (2, 5, 4)]
    # The fifth is no worse beside the second, the fourth makes it better; the first has the same accuracy, more loss.
    position = read_position(run / LAST)
    assert position is not None and position.soup == [2, 5, 4] and position.best_epoch == 2
    assert (position.best_accuracy, position.best_loss) == (0.9, 0.7)
    assert best_files(run) == [position.best_file], "what went in is gone"
    for name, value in read_weights(run / str(position.best_file)).items():
        mean = torch.stack([part[name].double() for part in parts]).mean(0)
        torch.testing.assert_close(value.double(), mean, rtol=1e-5, atol=1e-7)
    last, notices = events[-1], [event.text for event in events if isinstance(event, Notice)]
    assert isinstance(last, Finished) and (last.val_accuracy, last.best_epoch) == (0.9, 2)
    assert "soup of epochs 2, 5 and 4: 90.0 %" in notices[-1] and "against 80.0 %" in notices[-1]
    snapshot = Snapshot()
    for event in events:
        snapshot.apply(event)
    assert snapshot.val_accuracy == 0.9 and snapshot.combined is not None


def test_a_soup_that_does_not_help_leaves_the_best_epoch(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, [(0.7, 0.5), (0.8, 0.5), (0.7, 0.4)], [(0.8, 0.5), (0.75, 0.1), (0.8, 0.51)])
    events = list(trainer(tmp_path / "run", recipe="head", epochs=3, soup=5))
    assert best_files(tmp_path / "run") == [best_name(2)]
    assert not [event for event in events if isinstance(event, Combined)]
    (notice,) = (event.text for event in events if isinstance(event, Notice) and "soup" in event.text)
    assert notice.startswith("The soup is epoch 2 alone: averaged with any of 2 other good epochs")
    assert events[-1].val_accuracy == 0.8  # type: ignore[union-attr]


@pytest.mark.parametrize("recipe", ["head", "partial"])
def test_a_run_that_was_stopped_or_killed_ends_with_the_same_soup(
    trainer: Trainer, tmp_path: Path, recipe: str
) -> None:
    settings: dict[str, Any] = {"recipe": recipe, "epochs": 3, "soup": 3, "ema": 0.9, **BUNDLED}
    whole = list(trainer(tmp_path / "whole", **settings))
    for steps in (6, 12):
        stopped = train_until(trainer, tmp_path / f"stopped-{steps}", steps, **settings)
        assert stopped[-1].reason == "stopped"  # type: ignore[union-attr]
        list(trainer(tmp_path / f"stopped-{steps}", **settings))
        assert_same(tmp_path / "whole", tmp_path / f"stopped-{steps}")
    until_the_soup(trainer, tmp_path / "killed", **settings)
    again = list(trainer(tmp_path / "killed", **settings))
    assert_same(tmp_path / "whole", tmp_path / "killed")
    assert again[-1].val_loss == whole[-1].val_loss  # type: ignore[union-attr]
    once_more = list(trainer(tmp_path / "killed", **settings))  # killed before its end was recorded
    assert_same(tmp_path / "whole", tmp_path / "killed")
    assert once_more[-1].val_loss == whole[-1].val_loss  # type: ignore[union-attr]
    assert [e for e in once_more if isinstance(e, Combined)] == [e for e in whole if isinstance(e, Combined)]


def test_epochs_of_several_phases_are_measured_as_a_whole(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last phase freezes what an earlier one trained: what it keeps of those stages is not the epochs' own."""
    phases = [Phase(2, 5, 1e-4, 1e-3), Phase(1, 9, 1e-4, 1e-4)]
    monkeypatch.setattr("tl_app.transfer.extensions.plan", lambda *_: phases)
    monkeypatch.setattr(epoch, "evaluate", scripted([(0.9, 0.1), (0.8, 0.2), (0.7, 0.3)]))
    measured: list[float] = []
    real = soup.evaluate

    def watched(*args: Any, **kwargs: Any) -> Any:
        result = real(*args, **kwargs)
        measured.append(result.loss)
        return result

    monkeypatch.setattr(soup, "evaluate", watched)
    list(trainer(tmp_path / "run", soup=3, **BUNDLED))
    monkeypatch.undo()
    # The first epoch as it was: a training of its own that ends there.
    monkeypatch.setattr("tl_app.transfer.extensions.plan", lambda *_: [phases[0]])
    alone = list(trainer(tmp_path / "alone", schedule="cosine", **BUNDLED))
    first = next(event for event in alone if type(event).__name__ == "EpochDone")
    assert measured[0] == pytest.approx(first.val_loss, rel=5e-3)  # type: ignore[union-attr]


def test_the_network_is_left_as_training_left_it(trainer: Trainer, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"recipe": "full", "epochs": 3, **BUNDLED}
    list(trainer(tmp_path / "plain", **settings))
    list(trainer(tmp_path / "soup", soup=3, **settings))
    plain, other = tensors(tmp_path / "plain"), tensors(tmp_path / "soup")
    for name, value in plain.items():
        if name.startswith((LAST, START)):
            assert torch.equal(value, other[name])


def test_more_epochs_after_a_soup_may_beat_it() -> None:
    position = checkpoints.Position(best_epoch=2, soup=[2, 1], best_accuracy=0.9, epoch=3)
    assert position.best_file == "best-soup.safetensors"
    assert not position.keep(4, 0.8, 0.1, is_best=False, room=0)
    assert position.best_file == "best-soup.safetensors"
    assert position.keep(5, 0.95, 0.1, is_best=True, room=0)
    assert position.best_file == best_name(5) and position.soup == []


def test_one_epoch_is_no_soup() -> None:
    with pytest.raises(
        UsageError, match="soup of one epoch is no average. Allowed: 2 to 10 epochs; 0 for none"
    ):
        TrainConfig(soup=1)
