from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tl_app.config import TrainConfig
from tl_app.errors import Interrupted
from tl_app.ui import manners
from tl_app.ui.workspace import Workspace


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="priorities of threads are a thing of Linux")
def test_a_training_steps_aside_for_the_server_and_nobody_else_does(
    home: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def train(*args: Any, **kwargs: Any) -> Iterator[Any]:
        helper = threading.Thread(target=lambda: seen.append(niceness()))
        helper.start()
        helper.join()
        seen.append(niceness())
        raise Interrupted("enough")
        yield

    monkeypatch.setattr("tl_app.engine.train.train", train)
    work, before = Workspace(home / "runs"), niceness()
    work.scan(str(photos))
    work.start(TrainConfig(data=str(photos), backbone="squeezenet1_1", weights="random", device="cpu"))
    assert work.worker.job is not None and work.worker.job.wait(60)
    assert seen == [10, 10]
    assert niceness() == before


def test_elsewhere_nothing_is_called_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.delattr(os, "setpriority", raising=False)
    monkeypatch.delattr(ctypes, "CDLL")
    manners.step_aside()
    manners.give_back()
