"""A training small enough to run many times: random MobileNetV3-small at 32 pixels on two dozen photos."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

from tl_app.config import TrainConfig
from tl_app.data.index import scan
from tl_app.engine import filling
from tl_app.engine.setup import resolve
from tl_app.engine.train import train
from tl_app.events import Event

Trainer = Callable[..., Iterator[Event]]


@pytest.fixture
def trainer(photos: Path) -> Trainer:
    """``trainer(folder, stop=…, **settings)`` trains in ``folder``, or goes on there."""
    index = scan(photos)

    def start(folder: Path, stop: Callable[[], bool] = lambda: False, **settings: Any) -> Iterator[Event]:
        chosen = {
            "backbone": "mobilenet_v3_small",
            "weights": "random",
            "recipe": "full",
            "image_size": 32,
            "epochs": 2,
            "batch_size": 6,
            **settings,
        }
        config = TrainConfig(data=str(photos), **chosen)
        filled, preprocessing = resolve(config, len(index.used("train")))
        folder.mkdir(exist_ok=True)
        return train(filled, index, preprocessing, folder, stop=stop)

    return start


def tensors(folder: Path) -> dict[str, Tensor]:
    """All that the checkpoints in a folder hold, by file and name."""
    return {
        f"{path.name}:{name}": value
        for path in sorted(folder.glob("*.safetensors"))
        for name, value in load_file(path).items()
    }


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many photos each store lacked before it was filled."""
    counts: list[int] = []
    real = filling._lacking

    def counting(*which: Any) -> Any:
        lacking = real(*which)
        counts.append(len(lacking))
        return lacking

    monkeypatch.setattr(filling, "_lacking", counting)
    return counts
