from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tl_app.memory import without_collector

ROOT = Path(__file__).parents[1]


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would be done to the whole process, in order."""
    calls: list[str] = []
    monkeypatch.setattr("gc.freeze", lambda: calls.append(f"freeze, enabled {gc.isenabled()}"))
    monkeypatch.setattr("atexit.register", lambda what: calls.append(what.__name__))
    return calls


def test_the_collector_rests_and_goes_on(noted: list[str]) -> None:
    with without_collector():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), without_collector():
        import tl_app.not_there  # type: ignore[import-not-found]  # noqa: F401
    assert gc.isenabled()
    assert noted == ["freeze, enabled False", "unfreeze"] * 2


def test_who_had_it_off_keeps_it_off(noted: list[Any]) -> None:
    gc.disable()
    try:
        with without_collector():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_no_library_complains_when_the_interpreter_ends() -> None:
    code = "from tl_app.memory import without_collector\nwith without_collector(): import tl_app.engine.train"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""


def test_the_page_is_loaded_without_it() -> None:
    """``app.py`` and gradio: half a second of collecting what is no garbage."""
    code = (
        "import gc; runs = []; gc.callbacks.append(lambda *_: runs.append(1)); import app; print(len(runs))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100  # 18, before it rests; 1,800 otherwise
