"""Attacks over real sockets on a real page behind the guard; after each the page still answers, and nothing is left."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import os
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradio as gr
import psutil
import pytest
from starlette.middleware import Middleware

from tl_app.data.decode import open_photo
from tl_app.errors import PhotoError
from tl_app.serving import rules
from tl_app.serving.guard import Guard
from tl_app.serving.rules import MB, Rate, Uploads
from tl_app.ui.access import usable_port

BOUNDARY = "between"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"


@dataclasses.dataclass
class Server:
    """A small page with a guard: an upload, a question that takes a moment, and one that reads a photo."""

    port: int
    files: Path
    gate: threading.Event
    cookie: str = ""

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            sent = {"Cookie": self.cookie} | {
                name.replace("_", "-"): value for name, value in headers.items()
            }
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def join(
        self, function: int, data: list[Any], session: str = "s"
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        body = {
            "fn_index": function,
            "data": data,
            "session_hash": session,
            "trigger_id": None,
            "event_data": None,
        }
        return self.ask(
            "POST", "/gradio_api/queue/join", json.dumps(body).encode(), Content_Type="application/json"
        )

    def answer(self, session: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request(
            "GET", f"/gradio_api/queue/data?session_hash={session}", headers={"Cookie": self.cookie}
        )
        for line in connection.getresponse():
            if b"process_completed" in line:
                connection.close()
                return json.loads(line.removeprefix(b"data: "))
        raise AssertionError("the stream ended without an answer")

    def raw(self, request: bytes, seconds: float = 10.0) -> bytes:
        """What comes back for bytes that no client library would send."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as sent:
            with contextlib.suppress(OSError):
                sent.sendall(request)
            found = b""
            with contextlib.suppress(OSError):
                while piece := sent.recv(65536):
                    found += piece
                    if b"\r\n\r\n" in found and b"content-length" not in found.lower().split(b"\r\n\r\n")[0]:
                        break
            return found

    def check(self) -> None:
        """It still answers, and no piece of an upload is left."""
        assert self.ask("GET", "/")[0] == 200
        deadline = time.monotonic() + 5
        # Gradio's file component itself leaves an empty file for each that it is given.
        while pieces := [path for path in self.files.glob("tmp*") if path.is_file() and path.stat().st_size]:
            assert time.monotonic() < deadline, f"left behind: {pieces}"
            time.sleep(0.02)


def form(*files: tuple[str, bytes], field: str = "files") -> bytes:
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for name, content in files
    ]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def png(width: int, height: int) -> bytes:
    """A file of a few kilobytes that would become gigabytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + crc

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(10_000)))
        + chunk(b"IEND", b"")
    )


@contextlib.contextmanager
def _served(folder: Path, **changes: Any) -> Iterator[Server]:
    files, gate, port = folder / "page", threading.Event(), usable_port("127.0.0.1", 0)
    files.mkdir(parents=True)
    held = dataclasses.replace(rules.public(port, files=(files,)), **changes)

    def look(photo: str) -> str:
        try:
            return str(open_photo(Path(photo)).size)
        except PhotoError as error:
            return str(error)

    def wait() -> str:
        gate.wait(20)
        return "done"

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(files))
        with gr.Blocks(analytics_enabled=False) as page:
            photo, said = gr.File(), gr.Textbox()
            photo.change(look, photo, said)
            gr.Button().click(wait, None, said, concurrency_limit=1)
        page.queue(max_size=held.waiting, api_open=False)
        page.launch(
            server_name="127.0.0.1",
            server_port=port,
            prevent_thread_lock=True,
            quiet=True,
            ssr_mode=False,
            run_history=False,
            app_kwargs={"middleware": [Middleware(Guard, rules=held)]},
        )
        server = Server(port, files, gate)
        _, headers, _ = server.ask("GET", "/")
        server.cookie = (headers["set-cookie"] or "").partition(";")[0]
        try:
            yield server
        finally:
            gate.set()
            page.close(verbose=False)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With limits of a thousandth, so that attacks are short."""
    uploads = Uploads(100_000, 250_000, files=2, seconds=3.0, idle_seconds=1.0, kept_bytes=2 * MB)
    never = Rate(1e6, 100_000)
    more: dict[str, Any] = {"session_rate": never, "global_rate": never, "waiting": 4, "body_bytes": 20_000}
    with _served(tmp_path_factory.mktemp("attacked"), uploads=uploads, **more) as served:
        yield served


@pytest.fixture(autouse=True)
def still_there(server: Server) -> Iterator[None]:
    for folder in server.files.iterdir():  # what tests before have uploaded
        for file in folder.glob("*") if len(folder.name) == 64 else ():
            file.unlink()
    yield
    server.check()


def test_an_upload_that_is_allowed_is_answered(server: Server) -> None:
    status, _, body = server.ask(
        "POST", "/gradio_api/upload", form(("a.png", png(20, 10))), Content_Type=TYPE
    )
    assert status == 200
    (path,) = json.loads(body)
    assert server.ask("GET", f"/gradio_api/file={path}")[0] == 200
    given = {"path": path, "meta": {"_type": "gradio.FileData"}}
    assert server.join(0, [given], "fine")[0] == 200
    assert "no" not in str(server.answer("fine")["output"]["data"]).lower()


@pytest.mark.parametrize(
    "path",
    [
        "/../../../../etc/passwd",
        "/assets/../../../../etc/passwd",
        "/static/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/assets/..%5c..%5croutes.py",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=//etc/passwd",
        "/gradio_api/file=%2fetc%2fpasswd",
        "/gradio_api/file=%252fetc%252fpasswd",
        "/gradio_api/file=../../../../etc/passwd",
        "/gradio_api/file={files}/../../../../../../../../etc/passwd",
        "/gradio_api/file={files}/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/gradio_api/file={files}/way-out",
        "/gradio_api/file={files}/out/etc/passwd",
        "/gradio_api/file={files}/way-out%00.png",
        "/gradio_api/file=/proc/self/environ",
        "/gradio_api/file=http://127.0.0.1:{port}/config",
        "/gradio_api/file/etc/passwd",
        "/gradio_api/proxy=http://169.254.169.254/latest/",
        "/gradio_api//info",
        "/gradio_api/./info",
        "/gradio_api/info%20",
        "/%67radio_api/info",
        "/gradio_api/info?__theme=dark",
        "/monitoring",
        "/gradio_api/run-history/records",
        "/gradio_api/deep_link?session_hash=s",
    ],
)
def test_no_way_out_of_the_app(server: Server, path: str) -> None:
    with contextlib.suppress(FileExistsError):
        (server.files / "way-out").symlink_to("/etc/passwd")
        (server.files / "out").symlink_to("/")
    path = path.format(files=server.files, port=server.port)
    answer = server.raw(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nCookie: {server.cookie}\r\n"
        "Connection: close\r\n\r\n".encode()
    )
    assert answer.startswith(b"HTTP/1.1 404"), answer[:200]
    assert b"root:" not in answer


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ("Host: evil.example", b"421"),
        ("Host: 127.0.0.1:{port}.evil.example", b"421"),
        ("Host: evil.example\r\nX-Forwarded-Host: 127.0.0.1:{port}", b"421"),
        ("Host: evil.example\r\nHost: 127.0.0.1:{port}", b"4"),
        ("Host: 127.0.0.1:{port}\r\nOrigin: http://evil.example", b"403"),
        ("Host: 127.0.0.1:{port}\r\nOrigin: null", b"403"),
        ("Host: 127.0.0.1:{port}\r\nOrigin: http://localhost:1", b"403"),
        ("Host: 127.0.0.1:{port}\r\nSec-Fetch-Site: cross-site", b"403"),
    ],
)
def test_forged_hosts_and_origins(server: Server, lines: str, status: bytes) -> None:
    lines = lines.format(port=server.port)
    lines += f"\r\nCookie: {server.cookie}\r\nContent-Length: 2\r\nConnection: close"
    request = f"POST /gradio_api/queue/join HTTP/1.1\r\n{lines}\r\n\r\n{{}}"
    assert server.raw(request.encode()).startswith(b"HTTP/1.1 " + status)
    absolute = "GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    assert server.raw(absolute.encode()).startswith(b"HTTP/1.1 421")


def test_too_large_and_too_many(server: Server) -> None:
    def upload(*files: tuple[str, bytes], **options: str) -> int:
        return server.ask("POST", "/gradio_api/upload", form(*files, **options), Content_Type=TYPE)[0]

    assert upload(("a.png", bytes(99_000)), ("b.png", bytes(99_000))) == 200
    assert upload(("a.png", bytes(101_000))) == 413
    assert upload(("a.png", bytes(5_000_000))) == 413
    assert upload(*[(f"{i}.png", b"x") for i in range(3)]) == 413
    assert upload(*[(f"{i}.png", b"x") for i in range(1000)]) == 413
    assert upload(("a.png", b"x"), field="other") == 400
    for name in ("", ".", "..", "x/..", "a/"):
        assert upload((name, b"x")) == 400, name
    head = 'Content-Disposition: form-data; name="files"'
    field = f"--{BOUNDARY}\r\n{head}\r\n\r\nno file\r\n--{BOUNDARY}--\r\n".encode()
    mixed = form(("a.png", b"x")).removesuffix(f"--{BOUNDARY}--\r\n".encode()) + field
    for body in (field, mixed, b"", b"nonsense", b"--" + BOUNDARY.encode()):
        status = server.ask("POST", "/gradio_api/upload?upload_id=u", body, Content_Type=TYPE)[0]
        assert status in (200, 400) and (status == 400 or body in (b"", b"--" + BOUNDARY.encode())), body[:40]
    assert server.ask("POST", "/gradio_api/upload", b"x", Content_Type="image/png")[0] == 400
    assert (
        server.ask("POST", "/gradio_api/queue/join", bytes(30_000), Content_Type="application/json")[0] == 413
    )


def _head(server: Server, *lines: str) -> bytes:
    head = ["POST /gradio_api/upload HTTP/1.1", f"Host: 127.0.0.1:{server.port}", f"Cookie: {server.cookie}"]
    return "\r\n".join([*head, f"Content-Type: {TYPE}", *lines, "", ""]).encode()


def test_what_a_request_says_of_its_size_is_not_believed(server: Server) -> None:
    content = form(("a.png", bytes(400_000)))
    chunks = b"".join(
        b"%x\r\n%s\r\n" % (len(content[i : i + 9000]), content[i : i + 9000])
        for i in range(0, len(content), 9000)
    )
    answer = server.raw(_head(server, "Transfer-Encoding: chunked") + chunks + b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413"), answer[:200]
    small = server.raw(
        _head(server, "Content-Length: 10", "Connection: close") + content
    )  # it is cut off there
    assert not small.startswith(b"HTTP/1.1 5"), small[:200]
    both = server.raw(
        _head(server, "Content-Length: 10", "Transfer-Encoding: chunked") + chunks + b"0\r\n\r\n"
    )
    assert both.startswith(b"HTTP/1.1 4"), both[:200]
    for said in ("-1", "1e3", "9" * 30, "0x10", "99999999999"):
        answer = server.raw(_head(server, f"Content-Length: {said}"), seconds=3)
        assert answer.startswith(b"HTTP/1.1 4"), (said, answer[:100])


def test_a_slow_upload_ends(server: Server) -> None:
    start = time.monotonic()
    content = form(("a.png", bytes(50_000)))
    answer = server.raw(_head(server, f"Content-Length: {len(content)}") + content[:20_000])
    assert answer.startswith(b"HTTP/1.1 408"), answer[:200]
    assert time.monotonic() - start < 6


def test_an_upload_that_is_given_up_leaves_nothing(server: Server) -> None:
    content = form(("a.png", bytes(50_000)))
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.port)) as sent:
            sent.sendall(_head(server, f"Content-Length: {len(content)}") + content[:30_000])
    server.check()


def test_the_upload_folder_has_an_end(server: Server) -> None:
    statuses = []
    for number in range(30):
        content = os.urandom(99_000)
        body = form((f"{number}.png", content))
        status, headers, _ = server.ask("POST", "/gradio_api/upload", body, Content_Type=TYPE)
        statuses.append(status)
    assert set(statuses) == {200, 503} and headers["retry-after"]
    assert sum(path.stat().st_size for path in server.files.rglob("*") if path.is_file()) <= 2 * MB
    time.sleep(2.1)  # the folder is measured again


@pytest.mark.parametrize(("width", "height"), [(60_000, 60_000), (50_001, 1_000), (2**31 - 1, 1)])
def test_a_bomb_is_refused_unopened(server: Server, width: int, height: int) -> None:
    time.sleep(2.1 if width == 60_000 else 0)
    before = psutil.Process().memory_info().rss
    body = form(("bomb.png", png(width, height)))
    status, _, answer = server.ask("POST", "/gradio_api/upload", body, Content_Type=TYPE)
    assert status == 200, answer
    given = {"path": json.loads(answer)[0], "meta": {"_type": "gradio.FileData"}}
    assert server.join(0, [given], f"bomb-{width}")[0] == 200
    said = server.answer(f"bomb-{width}")["output"]["data"][0]
    assert "It is too large" in said and "At most 50 megapixels" in said
    assert psutil.Process().memory_info().rss - before < 100 * MB


def test_a_photo_that_was_not_uploaded_is_not_read(server: Server, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(3, 3))
    for number, path in enumerate(
        (str(secret), "/etc/passwd", f"{server.files}/../../secret.png", "http://127.0.0.1:1/x")
    ):
        given = {"path": path, "meta": {"_type": "gradio.FileData"}}
        assert server.join(0, [given], f"stolen-{number}")[0] == 200
        assert server.answer(f"stolen-{number}")["success"] is False


def test_a_flooded_queue_says_so(server: Server) -> None:
    try:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda n: server.join(1, [], f"flood-{n}"), range(40)))
        statuses = [status for status, _, _ in answers]
        assert set(statuses) == {200, 503} and statuses.count(200) <= 6
        refused = next(answer for answer in answers if answer[0] == 503)
        assert refused[1]["retry-after"] == "5" and "try again" in json.loads(refused[2])["detail"]
        assert server.ask("GET", "/")[0] == 200
    finally:
        server.gate.set()
    deadline = time.monotonic() + 10
    while server.join(1, [], "after")[0] != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_queue_is_not_passed_by(server: Server) -> None:
    body = json.dumps({"fn_index": 1, "data": [], "session_hash": "direct"}).encode()
    for path in ("/gradio_api/run/predict", "/gradio_api/run/predict/"):
        status, _, said = server.ask("POST", path, body, Content_Type="application/json")
        assert status == 404 and b"does not exist" in said


def test_uploads_that_nobody_follows_are_forgotten(server: Server) -> None:
    from gradio.routes import file_upload_statuses

    time.sleep(2.1)  # the folder is measured again
    for number in range(3):
        body = form(("a.png", b"x"))
        status, _, _ = server.ask("POST", f"/gradio_api/upload?upload_id=u{number}", body, Content_Type=TYPE)
        assert status == 200
    assert not file_upload_statuses._statuses
    assert server.ask("GET", "/gradio_api/upload_progress?upload_id=u1")[2] == b'data: {"msg":"done"}\n\n'


def test_many_clients_at_once_are_answered_or_refused(server: Server) -> None:
    memory = psutil.Process().memory_info().rss
    body = form(("a.png", bytes(60_000)))

    def visit(number: int) -> int:
        if number % 2:
            return server.ask("POST", "/gradio_api/upload", body, Content_Type=TYPE)[0]
        return server.ask("GET", "/gradio_api/info")[0]

    with ThreadPoolExecutor(40) as pool:
        statuses = set(pool.map(visit, range(200)))
    assert statuses <= {200, 404, 503}
    assert psutil.Process().memory_info().rss - memory < 100 * MB
