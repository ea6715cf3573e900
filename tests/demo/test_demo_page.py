"""The demo's page as data: what is on it, and what is not."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import gradio as gr
import httpx
import pytest
from PIL import Image
from starlette.testclient import TestClient

from tests.conftest import make_photos
from tests.synthetic_runs import make_run
from tl_app.demo import page
from tl_app.demo.answering import Answering, Counts
from tl_app.demo.page import About, build_demo, example_pictures
from tl_app.demo.server import application
from tl_app.engine import openvino
from tl_app.errors import UsageError

DEMO = Path(page.__file__).parent
# What a visitor's question may reach; the process that loads the run is `__main__`'s business.
MAY_USE = {
    "answering.py": {"cards", "words", "analysis", "data", "errors", "predictor"},
    "page.py": {"cards", "look", "data", "demo", "errors", "markup"},
    "server.py": {"look", "demo", "errors", "serving"},
    "tunnel.py": {"errors"},
    "protocol.py": set(),
    "child.py": {"demo"},
}
ABSENT = (
    "jobs api ui cli insights upkeep scanning probing finding blending worthwhile folding extending history presets "
    "engine.train engine.epoch engine.step transfer.optimisers export"
).split()
# Stops where the demo would begin to serve.
SERVED = """
import json, sys
from pathlib import Path
from tl_app.demo import __main__ as start, server
from tl_app.demo.protocol import Settings
server.Server.run = lambda self: print(json.dumps(sorted(sys.modules)))
start.serve(Settings(run=sys.argv[1]), Path(sys.argv[2]), sys.stderr, [])
"""


@pytest.fixture
def demo() -> gr.Blocks:
    answering = cast(Answering, SimpleNamespace(counts=Counts()))
    classes = tuple(f"class {number}" for number in range(14))
    return build_demo(answering, About("Ants <or> bees?", classes, "Right on 95 %."), [_photo()])


def _photo() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (300, 200), "red").save(out, "JPEG")
    return out.getvalue()


def test_nothing_of_the_page_is_an_api(demo: gr.Blocks) -> None:
    assert {event.api_visibility for event in demo.fns.values()} == {"private"}
    asks = [event for event in demo.fns.values() if event.fn is not None]
    assert len(asks) == 2 and {event.concurrency_id for event in asks} == {"ask"}
    assert demo._queue.max_size == page.QUEUE == 32
    assert not demo.api_open, "nobody passes the queue by"


def _post(demo: gr.Blocks, address: str, number: int) -> httpx.Response:
    """To the page itself, with no guard in front."""
    body = {"data": [], "fn_index": number, "session_hash": "abc", "event_data": {"turn": 1, "example": 0}}
    with TestClient(application(demo, lambda app: contextlib.nullcontext())) as browser:
        return browser.post(f"/gradio_api/{address}", json=body)


def test_nobody_passes_the_queue_by(demo: gr.Blocks) -> None:
    for number in (number for number, event in demo.fns.items() if event.fn is not None):
        answer = _post(demo, "run/predict", number)
        assert answer.status_code == 404 and "join the queue" in answer.text


def test_an_event_that_is_not_there_is_quietly_refused(
    demo: gr.Blocks, capfd: pytest.CaptureFixture[str]
) -> None:
    for number in (99, -1):
        answer = _post(demo, "queue/join", number)
        assert answer.status_code == 404 and "does not ask this" in answer.json()["detail"]
    out = capfd.readouterr()
    assert "Traceback" not in out.err + out.out


def test_there_is_nothing_on_it_that_takes_text_or_paths(demo: gr.Blocks) -> None:
    assert {type(block) for block in demo.blocks.values()} <= {gr.HTML, gr.Tab, gr.Tabs}
    assert not any(getattr(block, "server_fns", None) for block in demo.blocks.values())


def test_it_says_what_it_tells_apart_and_escapes_it(demo: gr.Blocks) -> None:
    said = json.dumps([block.value for block in demo.blocks.values() if isinstance(block, gr.HTML)])
    assert "Ants &lt;or&gt; bees?" in said and "class 11 and 2 more" in said and "Right on 95 %." in said


def test_examples_are_small_pictures_and_bad_ones_are_named() -> None:
    assert example_pictures([_photo()])[0].startswith("data:image/jpeg;base64,")
    with pytest.raises(UsageError, match="Example photo 2 cannot be used"):
        example_pictures([_photo(), b"<html>"])
    with pytest.raises(UsageError, match="At most 12"):
        example_pictures([_photo()] * 13)


def test_no_template_is_run_as_script() -> None:
    for name in ("demo-one.html", "demo-many.html"):
        text = page.look.asset(name)
        assert "{{" not in text and "${" not in text


@pytest.mark.parametrize("name", sorted(MAY_USE))
def test_a_question_has_no_way_to_runs_or_training(name: str) -> None:
    """By what the modules import, wherever in them; only `__main__` loads a run, and before anyone is served."""
    tree = ast.parse((DEMO / name).read_text())
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    used = {each.split(".")[1] for each in found if each.startswith("tl_app.")}
    assert used <= MAY_USE[name]
    assert not {each for each in found if each.endswith((".load_run", ".load_backbone"))}
    assert set(MAY_USE) | {"__init__.py", "__main__.py"} == {path.name for path in DEMO.glob("*.py")}


def test_what_it_cannot_do_is_not_in_its_process(tmp_path: Path) -> None:
    info = make_run(tmp_path / "runs", "tiny", make_photos(tmp_path / "photos"))
    (tmp_path / "own").mkdir()
    command = [sys.executable, "-c", SERVED, str(info.path), str(tmp_path / "own")]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    loaded: list[str] = json.loads(done.stdout.splitlines()[-1])
    assert "tl_app.predictor" in loaded and "tl_app.serving.guard" in loaded
    assert ("openvino" in loaded) == openvino.is_installed()  # photos will come for long: it pays
    for name in ABSENT:
        module = f"tl_app.{name}"
        assert not [each for each in loaded if each == module or each.startswith(f"{module}.")], name


def test_settings_survive_their_line() -> None:
    from tl_app.demo.protocol import Settings, Status, settings_of, status_of, to_line

    settings: Any = Settings(run="/a b", examples=("x", "y"), user="a", password="b c", hours=1.5)
    assert settings_of(to_line(settings)) == settings and "b c" not in repr(settings)
    assert status_of(to_line(Status("ready", asked=3))) == Status("ready", asked=3)
    for line in ("Killing tunnel", "{}x", '{"other": 1}', "3"):
        assert status_of(line) is None
