"""The page answers before torch is loaded, and is complete soon after; each in a process of its own."""

from __future__ import annotations

import ast
import gc
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from tl_app import loading
from tl_app.backbones import bundled
from tl_app.backbones.catalogue import list_backbones
from tl_app.ui import settings
from tl_app.ui.strip import stage_count
from tl_app.ui.workspace import Workspace

MB = 1e6
HEAVY = ["torch", "torchvision", "cv2", "sklearn", "scipy", "openvino", "sympy"]
# Starts the app, looks at it the moment it is served, and again when everything is loaded.
LOOK = """
import json, socket, sys, urllib.request
import gradio, psutil
bare_bytes = psutil.Process().memory_info().rss
from tl_app import loading
from tl_app.ui import app

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]

def look():
    request = urllib.request.Request(f"http://127.0.0.1:{port}/config", headers={"Authorization": "Bearer known"})
    with urllib.request.urlopen(request) as answer:
        parts = {part["props"].get("elem_id"): part["props"] for part in json.load(answer)["components"]}
    names = ("tl-field-backbone", "tl-field-weights", "tl-field-freeze", "tl-backbone-facts", "tl-strip")
    shown = {name: parts[name] for name in names}
    loaded = [name for name in json.loads(sys.argv[1]) if name in sys.modules]
    return {"loaded": loaded, "parts": shown, "bytes": psutil.Process().memory_info().rss}

def in_background(then):
    seen.append(look())
    in_background_really(then).join()

seen = []
in_background_really, loading.in_background = loading.in_background, in_background
gradio.Blocks.block_thread = lambda self: seen.append(look())
app.launch(port=port, open_browser=False, token="known")
print(json.dumps({"bare_bytes": bare_bytes, "served": seen[0], "complete": seen[1]}))
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("startup-home")
    on_disk = home / "torch" / "hub" / "checkpoints" / "mobilenet_v2-7ebf99e0.pth"
    on_disk.parent.mkdir(parents=True)
    on_disk.touch()
    env = os.environ | {"TL_APP_HOME": str(home), "TORCH_HOME": str(home / "torch")}
    done = subprocess.run(
        [sys.executable, "-c", LOOK, json.dumps(HEAVY)],
        env=env,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "nothing to report, not even at the end"
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_the_page_is_served_before_torch_is_loaded(seen: dict[str, Any]) -> None:
    assert seen["served"]["loaded"] == []
    assert "torch" in seen["complete"]["loaded"]


def test_what_waits_for_the_catalogue_says_so_and_cannot_be_used(seen: dict[str, Any]) -> None:
    parts = seen["served"]["parts"]
    assert parts["tl-backbone-facts"]["value"].count("…") == 7
    assert "being loaded" in parts["tl-strip"]["html_template"] and not parts["tl-strip"].get("value")
    assert parts["tl-field-backbone"]["choices"] == [["MobileNetV2", "mobilenet_v2"]]  # it is on disk
    assert not parts["tl-field-backbone"]["interactive"] and not parts["tl-field-weights"]["interactive"]


def test_later_visitors_are_served_the_whole_page(seen: dict[str, Any]) -> None:
    parts = seen["complete"]["parts"]
    assert len(parts["tl-field-backbone"]["choices"]) == len(list_backbones())
    assert parts["tl-field-backbone"]["value"] == "mobilenet_v2"
    assert len(parts["tl-field-weights"]["choices"]) == 3
    assert "3.5 M" in parts["tl-backbone-facts"]["value"]
    assert parts["tl-field-backbone"]["interactive"] and parts["tl-field-weights"]["interactive"]


@pytest.mark.parametrize("name", ["mobilenet_v2", bundled.NAME])
def test_the_slider_stands_right_from_the_start(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "default_backbone", lambda: name)
    with gr.Blocks():
        fields = settings.build(Workspace(), gr.State("")).form
    assert fields["freeze"].maximum == fields["freeze"].value == stage_count(name)
    assert fields["backbone"].value == name and fields["backbone"].choices[0][1] == name


LATE = {f"tl_app.{name}" for name in ("predictor", "probing", "evaluation", "engine.source")} | {
    f"tl_app.backbones.{name}" for name in ("catalogue", "staged", "weights")
}


def _functions_of_the_page() -> Iterator[tuple[str, ast.FunctionDef]]:
    for module in Path(settings.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.FunctionDef):
                yield module.name, node


def test_whoever_imports_torch_waits_for_the_thread_that_loads_it() -> None:
    """Two threads inside torchvision at once may each be handed half of it: see `loading`."""
    waiting = []
    for module, function in _functions_of_the_page():
        late = [
            part.lineno for part in function.body if isinstance(part, ast.ImportFrom) and part.module in LATE
        ]
        if late:
            waits = [p.lineno for p in function.body if ast.unparse(p) == "loading.wait()"]
            assert waits and waits[0] < late[0], f"{module}: {function.name}"
            waiting.append(function.name)
    assert len(waiting) >= 10


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("module", ["json", "tl_app.not_there"])
def test_all_wait_from_the_announcement_to_the_end_however_it_ends(
    monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setattr(loading, "_MODULES", (module,))
    monkeypatch.setattr(loading, "_link_torch", lambda: None)
    monkeypatch.setattr("gc.freeze", lambda: None)
    loading.announce()
    try:
        waiting = threading.Thread(target=loading.wait, daemon=True)
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        done: list[bool] = []
        loading.in_background(lambda: done.append(loading._loaded.is_set())).join()
        waiting.join(20)
        assert not waiting.is_alive() and gc.isenabled()
        assert done == ([True] if module == "json" else [])
    finally:
        loading._loaded.set()


def test_memory_at_rest(seen: dict[str, Any]) -> None:
    bare, served, complete = seen["bare_bytes"], seen["served"]["bytes"], seen["complete"]["bytes"]
    print(
        f"memory: gradio alone {bare / MB:.0f} MB, served {served / MB:.0f} MB, complete {complete / MB:.0f} MB"
    )
    assert served < bare + 60 * MB
    assert complete < 1200 * MB
