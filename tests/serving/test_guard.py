"""Requests that must not pass, and those that must; against the guard alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from tl_app.errors import UsageError
from tl_app.serving import logins, rules
from tl_app.serving.guard import Guard
from tl_app.serving.rules import Rate, Rules

PORT = 7860
HOST = f"127.0.0.1:{PORT}"
TOKEN = "right"
# Gradio's own and what no server should have.
DANGEROUS = [
    "/gradio_api/proxy=https://x.hf.space/",
    "/gradio_api/file=https://example.org/",
    "/gradio_api/file/etc/passwd",
    "/gradio_api/component_server",
    "/gradio_api/custom_component/x/client/component/index.js",
    "/gradio_api/info",
    "/gradio_api/openapi.json",
    "/gradio_api/app_id",
    "/gradio_api/token",
    "/gradio_api/user",
    "/gradio_api/runs",
    "/gradio_api/run-history/buckets",
    "/gradio_api/deep_link?session_hash=x",
    "/gradio_api/call/predict",
    "/gradio_api/call/predict/0",
    "/gradio_api/api/predict",
    "/gradio_api/queue/status",
    "/gradio_api/process_recording",
    "/gradio_api/vibe-edit",
    "/gradio_api/vibe-code",
    "/gradio_api/stream/0",
    "/gradio_api/stream/a/b/0/playlist.m3u8",
    "/gradio_api/dev/reload",
    "/gradio_api/mcp/sse",
    "/gradio_api/profiling/traces",
    "/monitoring",
    "/monitoring/summary",
    "/monitoring/x",
    "/?view=api",
    "/?deep_link=x",
    "/config?deep_link=x",
    "/docs",
    "/openapi.json",
    "/logout",
    "/pwa_icon/100000",
    "/static/..%2f..%2froutes.py",
    "/assets/%2e%2e/%2e%2e/routes.py",
    "/gradio_api/queue/../info",
    "//gradio_api/info",
]


async def _echo(request: Request) -> Response:
    body = await request.body()
    claims = {name: value for name, value in request.headers.items() if name.startswith("x-")}
    return PlainTextResponse(f"{request.url.path} {len(body)} {claims}")


def _client(held: Rules, **more: Any) -> TestClient:
    app = Starlette(routes=[Route("/{path:path}", _echo, methods=["GET", "POST", "HEAD"])])
    return TestClient(Guard(app, held), base_url=f"http://{HOST}", follow_redirects=False, **more)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "page"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "way-out").symlink_to(tmp_path / "secret.txt")
    (folder / "up").symlink_to(tmp_path)
    return folder


@pytest.fixture
def modes(files: Path) -> dict[str, TestClient]:
    """A client that may come in, for each set of rules."""
    held = {
        "local": rules.local(PORT, token=TOKEN, files=(files,)),
        "lan": rules.lan(PORT, logins=logins.parsed(["anna:secret"]), files=(files,)),
        "public": rules.public(PORT, files=(files,)),
    }
    clients = {mode: _client(each) for mode, each in held.items()}
    assert clients["local"].get(f"/?token={TOKEN}").status_code == 303
    assert clients["lan"].post("/login", data={"user": "anna", "password": "secret"}).status_code == 303
    for client in clients.values():
        assert client.get("/").status_code == 200
    return clients


@pytest.mark.parametrize("mode", ["local", "lan", "public"])
def test_what_the_page_does_not_use_is_not_there(modes: dict[str, TestClient], mode: str) -> None:
    client = modes[mode]
    for path in DANGEROUS:
        assert client.get(path).status_code == 404, path
        if "file=" not in path and not path.startswith(("/?", "/config")):
            assert client.post(path).status_code == 404, path
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"):
        assert client.request(method, "/").status_code == 404
    assert client.get("/").status_code == 200


@pytest.mark.parametrize("mode", ["local", "lan", "public"])
def test_files_come_from_the_own_folder_alone(modes: dict[str, TestClient], mode: str, files: Path) -> None:
    client, outside = modes[mode], files.parent / "secret.txt"
    assert client.get(f"/gradio_api/file={files}/mine.txt").status_code == 200
    tries = [
        str(outside),
        f"{files}/../secret.txt",
        f"{files}/%2e%2e/secret.txt",
        f"{files}/..%2fsecret.txt",
        f"{files}/way-out",
        f"{files}/up/secret.txt",
        f"{files}/mine.txt%00.png",
        f"{files}",
        "mine.txt",
        "../../etc/passwd",
        "/etc/passwd",
        "/proc/self/environ",
        f"file://{outside}",
        "http://169.254.169.254/latest/meta-data",
        "~/.ssh/id_rsa",
    ]
    for path in tries:
        assert client.get(f"/gradio_api/file={path}").status_code == 404, path
    assert client.get("/").status_code == 200


@pytest.mark.parametrize("mode", ["local", "lan", "public"])
@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1:80", "127.0.0.1", "localhost.evil.example:7860", ""]
)
def test_a_foreign_host_is_misdirected(modes: dict[str, TestClient], mode: str, host: str) -> None:
    answer = modes[mode].get("/", headers={"host": host, "x-forwarded-host": HOST})
    assert answer.status_code == 421 and "does not answer under the name" in answer.text


@pytest.mark.parametrize("mode", ["local", "lan", "public"])
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "http://[::1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_other_sites_may_not_ask(modes: dict[str, TestClient], mode: str, headers: dict[str, str]) -> None:
    for path in ("/gradio_api/queue/join", "/gradio_api/run/predict", "/gradio_api/upload", "/login"):
        assert modes[mode].post(path, headers=headers).status_code in (403, 404), path
    assert modes[mode].post("/gradio_api/queue/join", headers=headers).status_code == 403
    own = {"origin": f"http://{HOST}", "sec-fetch-site": "same-origin"}
    assert modes[mode].post("/gradio_api/queue/join", headers=own).status_code == 200


def test_a_link_on_another_site_opens_the_page_but_a_script_there_cannot_read(
    modes: dict[str, TestClient],
) -> None:
    followed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    read = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert modes["local"].get("/", headers=followed).status_code == 200
    assert modes["local"].get("/config", headers=read).status_code == 403


def test_without_the_token_nothing_opens() -> None:
    client = _client(rules.local(PORT, token=TOKEN))
    for path in ("/", "/?token=", "/?token=wrong", f"/?token={TOKEN}x", "/config", f"/config?token={TOKEN}"):
        answer = client.get(path, headers={"accept": "text/html"})
        assert answer.status_code == 403, path
        assert "Open that link once" in answer.text and "<h1>" in answer.text
    assert client.post("/gradio_api/queue/join").json()["detail"].startswith("This page opens with the link")
    assert client.get("/", headers={"cookie": f"tl-app-{PORT}={TOKEN}"}).status_code == 403
    opened = client.get(f"/?__theme=dark&token={TOKEN}")
    assert (opened.status_code, opened.headers["location"]) == (303, "./?__theme=dark")
    cookie = opened.headers["set-cookie"]
    assert cookie.startswith(f"tl-app-{PORT}=") and TOKEN not in cookie
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie
    assert client.get("/").status_code == 200
    client.cookies.clear()
    assert client.get("/", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_two_apps_on_one_machine_keep_their_cookies_apart() -> None:
    assert rules.local(7860).cookie != rules.local(7861).cookie
    assert rules.local(7860).token != rules.local(7860).token and len(rules.local(7860).token) >= 43


def test_gradio_can_ask_whether_it_is_up_without_a_cookie() -> None:
    client = _client(rules.local(PORT, token=TOKEN))
    assert client.get("/gradio_api/startup-events").status_code == 200
    answer = client.head("/")
    assert (answer.status_code, answer.content) == (200, b"")
    assert client.get("/gradio_api/startup-events", headers={"host": "evil.example"}).status_code == 421


@pytest.mark.parametrize("mode", ["local", "lan", "public"])
def test_claims_of_proxies_are_dropped(modes: dict[str, TestClient], mode: str) -> None:
    claims = {"x-forwarded-host": "evil.example", "x-forwarded-for": "127.0.0.1", "x-real-ip": "127.0.0.1"}
    answer = modes[mode].get("/", headers=claims | {"x-gradio-server": "http://evil.example"})
    assert answer.status_code == 200 and "evil" not in answer.text and "127.0.0.1" not in answer.text


def test_no_claim_of_an_address_opens_the_page() -> None:
    client = _client(rules.local(PORT, token=TOKEN))
    for name in ("x-forwarded-for", "x-real-ip", "forwarded", "x-original-url", "x-rewrite-url"):
        assert client.get("/", headers={name: "127.0.0.1"}).status_code == 403


def test_a_tunnel_has_names_of_its_own() -> None:
    held = rules.public(PORT, hosts=("*.gradio.live", "demo.example", "other.example:8443"))
    for host in ("0123.gradio.live", "demo.example", f"demo.example:{PORT}", "other.example:8443", HOST):
        assert held.host_allowed(host), host
    for host in ("gradio.live.evil.example", "evilgradio.live", "other.example", "demo.example:1"):
        assert not held.host_allowed(host), host


def test_other_machines_need_a_login() -> None:
    with pytest.raises(UsageError, match="only use the app with a user and a password.*TL_APP_AUTH"):
        rules.lan(PORT, logins=())


def test_headers_that_keep_other_sites_out(modes: dict[str, TestClient]) -> None:
    for client in modes.values():
        for answer in (client.get("/"), client.get("/gradio_api/info")):
            assert "frame-ancestors" in answer.headers["content-security-policy"]
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] in ("same-origin", "no-referrer")


def test_websockets_are_refused(modes: dict[str, TestClient]) -> None:
    with (
        pytest.raises(WebSocketDisconnect) as refused,
        modes["local"].websocket_connect("/gradio_api/queue/join"),
    ):
        raise AssertionError("it was opened")
    assert refused.value.code == 1008


def test_one_browser_cannot_ask_without_end_and_others_do_not_notice() -> None:
    held = dataclasses.replace(rules.public(PORT), session_rate=Rate(60, 3))
    client, other = _client(held), _client(held)
    other._transport = client._transport  # the same server
    assert client.post("/gradio_api/queue/join").status_code == 403  # no page was opened
    for visitor in (client, other):
        assert visitor.get("/").status_code == 200
    codes = [client.post("/gradio_api/queue/join").status_code for _ in range(5)]
    assert codes == [200, 200, 200, 429, 429]
    refused = client.post("/gradio_api/queue/join")
    assert int(refused.headers["retry-after"]) >= 1 and "Please wait" in refused.json()["detail"]
    assert other.post("/gradio_api/queue/join").status_code == 200
    assert client.get("/").status_code == 200
    own = client.cookies.get(f"tl-app-{PORT}") or ""
    forged = own[:-1] + ("1" if own.endswith("0") else "0")
    client.cookies.clear()
    for cookie in (forged, "made-up", "made-up.", "a.b"):
        answer = client.post("/gradio_api/queue/join", headers={"cookie": f"tl-app-{PORT}={cookie}"})
        assert answer.status_code == 403


def test_everyone_together_cannot_ask_without_end() -> None:
    held = dataclasses.replace(rules.public(PORT), session_rate=Rate(60, 100), global_rate=Rate(60, 3))
    client = _client(held)
    codes = [client.get("/").status_code for _ in range(5)]
    assert codes == [200, 200, 200, 429, 429]
    assert client.get("/assets/index.js").status_code == 200
