"""Answers that stay open, and bodies of people whom nobody knows yet, over real sockets: the page still answers."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import http.client
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tl_app.serving import guard, logins, rules
from tl_app.serving.guard import Guard
from tl_app.serving.rules import Rules

STREAM = "/gradio_api/queue/data?session_hash=s"
PLACES = 6


async def _answer(request: Request) -> Response:
    async def forever() -> AsyncIterator[bytes]:
        yield b"data: begun\n\n"
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError as error:  # as gradio does for a second stream of a session
            raise KeyError("tidied already") from error

    if "queue/data" in request.url.path or "heartbeat" in request.url.path:
        return StreamingResponse(forever(), media_type="text/event-stream")
    return PlainTextResponse(f"read {len(await request.body())}")


@dataclasses.dataclass
class Server:
    """A page behind a guard."""

    port: int
    held: list[socket.socket] = dataclasses.field(default_factory=list)

    def visit(self) -> str:
        """A new visitor's cookie."""
        status, headers = self.ask("GET", "/")
        assert status == 200
        return (headers["set-cookie"] or "").partition(";")[0]

    def ask(self, method: str, path: str, cookie: str = "") -> tuple[int, http.client.HTTPMessage]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, headers={"Cookie": cookie})
            answer = connection.getresponse()
            answer.read()
            return answer.status, answer.headers
        finally:
            connection.close()

    def open(self, request: str, *lines: str) -> socket.socket:
        """Sends the head of a request and leaves it at that."""
        one = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        head = [f"{request} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", *lines, "", ""]
        one.sendall("\r\n".join(head).encode())
        self.held.append(one)
        return one


@contextlib.contextmanager
def _served(**changes: Any) -> Iterator[Server]:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)  # who comes before the server has begun waits
        port = listener.getsockname()[1]
        held: Rules = dataclasses.replace(rules.public(port), **changes)
        app = Starlette(routes=[Route("/{path:path}", _answer, methods=["GET", "POST", "HEAD"])])
        config = uvicorn.Config(Guard(app, held), log_level="warning", timeout_graceful_shutdown=1)
        server, found = uvicorn.Server(config), Server(port)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield found
        finally:
            for one in found.held:
                one.close()
            server.should_exit = True
            thread.join(10)


def _status(one: socket.socket) -> int:
    return int(one.recv(20).split()[1])


def _read_to_end(one: socket.socket) -> bytes:
    found = b""
    while piece := one.recv(65536):
        found += piece
        if found.endswith(b"\r\n0\r\n\r\n"):
            break
    return found


@pytest.mark.parametrize(
    "path", [STREAM, "/gradio_api/upload_progress?upload_id=u", "/gradio_api/heartbeat/h"]
)
def test_a_stream_needs_a_visit(path: str) -> None:
    with _served(closed=None) as server:
        for cookie in ("", f"tl-app-{server.port}=made-up.sign"):
            assert server.ask("GET", path, cookie)[0] == 403
    if "heartbeat" in path:
        with _served() as server:
            assert server.ask("GET", path, server.visit())[0] == 404, "a page in public has no state to keep"


def test_one_browser_holds_a_few_streams_and_others_do_not_notice() -> None:
    with _served() as server:
        cookie = server.visit()
        assert [_status(server.open(f"GET {STREAM}", f"Cookie: {cookie}")) for _ in range(8)] == [200] * 8
        status, headers = server.ask("GET", STREAM, cookie)
        assert status == 429 and headers["retry-after"] == "10"
        assert _status(server.open(f"GET {STREAM}", f"Cookie: {server.visit()}")) == 200


def test_many_streams_leave_room_for_pages_uploads_and_new_streams() -> None:
    """Each of many visitors holds as many as one may; the oldest end, and are ended as HTTP wants it."""
    with _served(streams=PLACES, own_streams=2, at_once=2) as server:
        opened = []
        for _ in range(2 * PLACES):
            cookie = server.visit()
            for _ in range(2):
                opened.append(server.open(f"GET {STREAM}", f"Cookie: {cookie}"))
                assert _status(opened[-1]) == 200
        assert server.ask("POST", "/gradio_api/upload", server.visit())[0] == 400, "read, and no form"
        for ended in opened[:-PLACES]:
            assert b"begun" in _read_to_end(ended)
        for alive in opened[-PLACES:]:
            alive.settimeout(0.05)
            with pytest.raises(TimeoutError):
                _read_to_end(alive)


def test_a_stream_ends_in_time(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), _served(stream_seconds=0.3) as server:
        stream = server.open(f"GET {STREAM}", f"Cookie: {server.visit()}")
        assert b"begun" in _read_to_end(stream)
        server.open(f"GET {STREAM}", f"Cookie: {server.visit()}").close()
    assert not caplog.records, "nothing of it in the owner's terminal"


def test_slow_uploads_leave_room_for_pages() -> None:
    uploads = dataclasses.replace(rules.public(1).uploads, at_once=2)
    with _served(at_once=4, uploads=uploads) as server:
        for _ in range(3):
            own = f"Cookie: {server.visit()}"
            kind = "Content-Type: multipart/form-data; boundary=b"
            for _ in range(2):
                server.open("POST /gradio_api/upload", own, kind, "Content-Length: 1000")
        assert server.ask("GET", "/")[0] == 200


def test_bodies_of_people_whom_nobody_knows_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_LOGINS", 3)
    monkeypatch.setattr(guard, "_REFUSALS", 3)
    long = "Content-Length: 2000"
    with _served(logins=logins.parsed(["anna:secret"])) as server:
        waiting = [server.open("POST /login", long) for _ in range(3)]
        assert _status(server.open("POST /login", long)) == 503
        waiting[0].close()
        deadline = time.monotonic() + 5
        while server.ask("POST", "/login")[0] != 401:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        drained = [server.open("POST /gradio_api/queue/join", long) for _ in range(6)]
        assert [_status(each) for each in drained] == [401] * 6
        ended = 0
        for each in drained:
            each.settimeout(0.3)
            with contextlib.suppress(TimeoutError, ConnectionError):
                while each.recv(4096):
                    pass
                ended += 1
        assert ended >= 3, "those for whose rest there was no room were closed"
        assert server.ask("GET", "/login")[0] == 200
