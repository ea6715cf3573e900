"""Real demos in processes of their own: visited as a browser does, shared through a stub of the tunnel, and ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import psutil
import pytest
from gradio import tunneling

from tests.conftest import make_photos
from tests.synthetic_runs import make_run
from tl_app.demo.answering import Counts
from tl_app.demo.child import Demo
from tl_app.demo.protocol import Settings, Status
from tl_app.demo.server import Server, free_socket
from tl_app.errors import ResourceError

pytestmark = pytest.mark.xdist_group("demo")

# What gradio's tunnel program says when its login has succeeded; it forwards nothing.
STUB = """#!{python}
import time
print("start proxy success: http://abc.share.test", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo-child")
    return make_run(folder / "runs", "tiny", make_photos(folder / "photos", per_class=3)).path


@contextlib.contextmanager
def _tunnel(folder: Path, program: str | None) -> Iterator[None]:
    """A share server's name that leads nowhere, and a stub of the tunnel's program, or none to be had."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HOME", str(folder))
        patch.setenv("GRADIO_SHARE_SERVER_ADDRESS", "share.test:7000")
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"):
            patch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
        patch.setenv("NO_PROXY", "127.0.0.1")
        if program:
            stub = folder / "gradio" / "frpc" / tunneling.BINARY_FILENAME
            stub.parent.mkdir(parents=True)
            stub.write_text(program)
            stub.chmod(0o755)
        yield


def _wait(demo: Demo, until: Callable[[Status], bool], seconds: float = 90) -> Status:
    end = time.monotonic() + seconds
    while not until(demo.status) and demo.status.alive and time.monotonic() < end:
        time.sleep(0.05)
    assert until(demo.status), demo.status
    return demo.status


def _visit(address: str) -> httpx.Client:
    browser = httpx.Client(base_url=address, timeout=30, trust_env=False)
    assert browser.get("/", headers={"accept": "text/html"}).status_code == 200
    return browser


def _ask(browser: httpx.Client, photo: bytes) -> dict[str, Any]:
    (path,) = _upload(browser, photo)
    return {**_answer(browser, path), "path": path}


def _upload(browser: httpx.Client, photo: bytes) -> list[str]:
    sent = browser.post("/gradio_api/upload", files={"files": ("0a1b2c.png", photo, "image/png")})
    assert sent.status_code == 200, sent.text
    found: list[str] = sent.json()
    return found


def _answer(browser: httpx.Client, path: str) -> dict[str, Any]:
    body = {
        "data": [],
        "fn_index": 0,
        "session_hash": "abc",
        "event_data": {"turn": 1, "photo": path},
    }
    assert browser.post("/gradio_api/queue/join", json=body).status_code == 200
    with browser.stream("GET", "/gradio_api/queue/data", params={"session_hash": "abc"}) as stream:
        for line in stream.iter_lines():
            message = json.loads(line[5:]) if line.startswith("data:") else {}
            if message.get("msg") == "process_completed":
                found: dict[str, Any] = message["output"]
                return found
    raise AssertionError("no answer")


def test_a_shared_demo_from_its_start_to_its_end(run: Path, tmp_path: Path) -> None:
    heard: list[Status] = []
    with _tunnel(tmp_path, STUB.format(python=sys.executable)):
        demo = Demo(Settings(run=str(run), title="Red or blue?", share=True), heard.append)
    try:
        status = _wait(demo, lambda status: bool(status.public))
        assert status.public == "http://abc.share.test" and status.expires and not status.sharing
        tunnels = [each for each in psutil.Process(demo.pid).children() if "frpc" in each.name()]
        assert len(tunnels) == 1
        _as_a_visitor(status.local, next(run.parents[1].rglob("photos/red/*.png")).read_bytes())
        assert _wait(demo, lambda status: status.asked == 4).answered == 3
    finally:
        demo.stop()
    assert demo.status.state == "ended" and not demo.status.public and demo.status.note == ""
    assert not tunnels[0].is_running() and not psutil.pid_exists(demo.pid)
    with pytest.raises(httpx.ConnectError):
        httpx.get(status.local, trust_env=False)


def _as_a_visitor(address: str, photo: bytes) -> None:
    browser = _visit(address)
    answer = _ask(browser, photo)
    (said,) = answer["data"]
    assert said.get("value", said)["label"] in ("red", "blue")
    assert not Path(answer["path"]).exists(), "the photo is gone when its answer is there"
    first, second = _visit(address), _visit(address)  # with the same photo under the same name
    (path,) = _upload(first, photo)
    assert _upload(second, photo) == [path]
    for each in (first, second):
        assert "label" in str(_answer(each, path)["data"])
    assert not Path(path).exists()
    (said,) = _ask(browser, b"no photo at all")["data"]
    error = said.get("value", said)["error"]
    assert "photo" in error and "/" not in error
    # The tunnel's name leads here, others do not; and what the page does not use is not there.
    for host, status in (("abc.share.test", 200), ("evil.test", 421), ("share.test.evil.test", 421)):
        assert browser.get("/config", headers={"host": host}).status_code == status
    assert (
        browser.post("/gradio_api/queue/join", headers={"origin": "http://evil.test"}, json={}).status_code
        == 403
    )
    for path in (
        *(
            "/gradio_api/info",
            "/gradio_api/openapi.json",
            "/monitoring",
            "/gradio_api/runs",
            "/docs",
            "/?view=api",
        ),
        *("/gradio_api/call/ask", "/gradio_api/file=/etc/passwd", f"/gradio_api/file={Path(__file__)}"),
    ):
        assert browser.get(path).status_code == 404, path
    assert browser.post("/gradio_api/call/ask", json={}).status_code == 404
    for number in (0, 1, 2, 99):  # beside the queue
        direct = {
            "data": [],
            "fn_index": number,
            "session_hash": "abc",
            "event_data": {"turn": 1, "example": 0},
        }
        assert browser.post("/gradio_api/run/predict", json=direct).status_code == 404
    assert browser.post("/gradio_api/component_server", json={}).status_code == 404
    large = {"files": ("a.png", b"x" * 10_000_100, "image/png")}
    assert browser.post("/gradio_api/upload", files=large).status_code == 413
    assert httpx.post(f"{address}gradio_api/upload", files=large, trust_env=False).status_code == 403, (
        "no cookie"
    )


def test_without_a_share_server_the_local_link_stays_and_asks_for_the_login(
    run: Path, tmp_path: Path
) -> None:
    with _tunnel(tmp_path, None):
        demo = Demo(Settings(run=str(run), share=True, user="ann", password="p:w", hours=2))
    try:
        status = _wait(demo, lambda status: status.state == "ready" and not status.sharing)
        assert not status.public and "cannot be reached from here" in status.note and status.expires
        browser = httpx.Client(base_url=status.local, timeout=30, trust_env=False, follow_redirects=True)
        assert browser.get("/config").status_code == 401
        wrong = browser.post("/login", data={"user": "ann", "password": "p"})
        assert wrong.status_code == 401 and "wrong" in wrong.text
        assert browser.post("/login", data={"user": "ann", "password": "p:w"}).status_code == 200
        assert browser.get("/config").status_code == 200
    finally:
        demo.stop()


def test_it_ends_with_whoever_started_it(run: Path) -> None:
    code = (
        "import sys, time\nfrom tl_app.demo.child import Demo\nfrom tl_app.demo.protocol import Settings\n"
        "demo = Demo(Settings(run=sys.argv[1]))\nprint(demo.pid, flush=True)\ntime.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(run)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    child.wait(60)


def test_what_keeps_it_from_starting_is_said(tmp_path: Path) -> None:
    demo = Demo(Settings(run=str(tmp_path / "nothing")))
    assert demo.wait(60)
    assert demo.status.state == "failed" and demo.status.exit_code == 2 and "nothing" in demo.status.note
    demo.stop()


def test_it_ends_by_itself_when_its_time_is_up(tmp_path: Path) -> None:
    heard: list[Status] = []
    with gr.Blocks(analytics_enabled=False) as page:
        gr.HTML("Hello")
    listener = free_socket(0)
    Server(page, Settings(run="", hours=0.2 / 3600), tmp_path, listener, Counts(), heard.append).run()
    assert heard[0].state == "ready" or heard[0].expires
    assert heard[-1].state == "ended" and heard[-1].note == "Its time was up."


def test_a_port_that_is_taken_is_said() -> None:
    taken = free_socket(0)
    taken.listen()
    port = taken.getsockname()[1]
    with pytest.raises(ResourceError, match=f"Port {port} cannot be used"):
        free_socket(port)
    taken.close()
    assert os.name == "nt" or free_socket(port).getsockname()[1] == port


def test_answers_leave_at_once() -> None:
    """Asyncio asks for no delay only where the socket names its protocol, and accepted ones have their listener's."""
    with free_socket(0) as listener:
        assert listener.proto == socket.IPPROTO_TCP
