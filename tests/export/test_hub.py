"""A stub of the Hub on this machine: what would arrive, and what happens when it refuses."""

from __future__ import annotations

import base64
import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tl_app
from tests.export import small_onnx
from tl_app import cli
from tl_app.errors import ResourceError, UsageError
from tl_app.export import hub
from tl_app.export.bundle import write_bundle
from tl_app.export.kept import ExportResult, keep_export

TOKEN = "hf_" + "S3cretS3cretS3cretS3cret"  # of the shape that real ones have


@dataclass
class Stub:
    """What a Hub was told."""

    url: str = ""
    status: int = 200
    public: bool = False  # whether the repository is there already, and for everyone
    created: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    state = Stub()

    class Answers(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            if not state.public and not state.created:
                return self.answer({"error": "Repository not found"}, 404)
            return self.answer({"id": "ann/bees", "private": not state.public})

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length) if length else self.chunks()
            state.tokens.add(self.headers.get("Authorization", ""))
            if state.status != 200:
                # As an odd proxy might: the token comes back in the answer.
                return self.answer({"error": f"no, {self.headers.get('Authorization')}"}, state.status)
            if self.path == "/api/repos/create":
                state.created.append(json.loads(body))
                return self.answer({"url": f"{state.url}/ann/bees"})
            if "/preupload/" in self.path:
                names = [each["path"] for each in json.loads(body)["files"]]
                modes = [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]
                return self.answer({"files": modes})
            if "/commit/" in self.path:
                for line in map(json.loads, body.decode().splitlines()):
                    if line["key"] == "file":
                        state.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                return self.answer({"commitUrl": f"{state.url}/ann/bees/commit/0", "commitOid": "0" * 40})
            return self.answer({})

        def chunks(self) -> bytes:
            body = b""
            while size := int(self.rfile.readline() or b"0", 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            return body

        def answer(self, values: Any, status: int = 200) -> None:
            text = json.dumps(values).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            if status == 404 and self.command == "GET":
                self.send_header("X-Error-Code", "RepoNotFound")  # as the Hub does
            self.end_headers()
            self.wfile.write(text)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    state.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture
def run(home: Path) -> Path:
    """A run's folder with exports, as far as sending them knows it."""
    path = home / "runs" / "bees"
    (path / "exports" / "safetensors").mkdir(parents=True)
    (path / "exports" / "safetensors" / "README.md").write_text("card")
    (path / "exports" / "safetensors" / "model.safetensors").write_bytes(b"weights")
    model = small_onnx.write(path / "exports" / "model.onnx")
    bundle = write_bundle(model, path / "exports" / "bundle")
    (bundle / "__pycache__").mkdir()
    (bundle / "__pycache__" / "app.pyc").touch()
    (bundle / ".env").write_text("mine")
    return path


def test_a_model_arrives_with_its_files(stub: Stub, run: Path):
    sent = hub.push(run / "exports", "model", "ann/bees", private=True, token=TOKEN, endpoint=stub.url)
    assert set(stub.files) == {"README.md", "model.safetensors", "onnx/model.onnx"} == set(sent.files)
    assert stub.files["onnx/model.onnx"] == (run / "exports" / "model.onnx").read_bytes()
    assert stub.created[0]["name"] == "bees" and stub.created[0]["organization"] == "ann"
    assert stub.created[0]["visibility"] == "private"
    assert sent.url.endswith("/ann/bees") and sent.kind == "model"
    assert stub.tokens == {f"Bearer {TOKEN}"}


def test_a_space_arrives(stub: Stub, run: Path):
    sent = hub.push(run / "exports", "space", "ann/bees", token=TOKEN, endpoint=stub.url)
    assert set(stub.files) == {"README.md", "app.py", "model.onnx", "requirements.txt"}
    assert stub.created[0]["type"] == "space" and stub.created[0]["sdk"] == "gradio"
    assert stub.created[0]["visibility"] == "public" and sent.url == f"{stub.url}/spaces/ann/bees"


def test_old_exports_stay_and_unchecked_ones_are_named(
    stub: Stub, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    info = SimpleNamespace(path=run)
    monkeypatch.setattr("tl_app.runs.open_run", lambda name, folder: info)
    monkeypatch.setattr("tl_app.engine.checkpoints.model_id", lambda folder: "second")
    monkeypatch.setenv("HF_ENDPOINT", stub.url)
    monkeypatch.setenv("HF_TOKEN", TOKEN)

    def keep(kind: str, file: str, model: str, passed: bool | None) -> None:
        path = run / "exports" / file
        keep_export(path.parent, kind, ExportResult(kind, kind, str(path), model, "now", 1, passed))

    keep("onnx", "model.onnx", "first", True)
    keep("safetensors", "safetensors", "first", True)
    with pytest.raises(UsageError, match="better model .*: onnx, safetensors.*--to onnx --to safetensors`"):
        tl_app.push("bees", to_model="ann/bees")
    keep("safetensors", "safetensors", "second", True)
    with pytest.raises(UsageError, match="--to onnx`"):
        tl_app.push("bees", to_model="ann/bees")
    assert stub.files == {} and stub.created == []
    assert tl_app.push("bees", to_space="ann/bees").note.endswith("sent: bundle."), "none of its own is old"
    keep("onnx", "model.onnx", "second", None)
    assert cli.run(["push", "bees", "--to-model", "ann/bees"]) == 0
    assert "Not checked on photos before it was sent: model.onnx." in capsys.readouterr().out
    keep("onnx", "model.onnx", "second", True)
    assert tl_app.push("bees", to_model="ann/bees").note == ""


def test_private_does_not_end_in_public(stub: Stub, run: Path):
    stub.public = True
    with pytest.raises(UsageError, match="everyone can see it"):
        hub.push(run / "exports", "model", "ann/bees", private=True, token=TOKEN, endpoint=stub.url)
    assert stub.files == {}
    hub.push(run / "exports", "model", "ann/bees", token=TOKEN, endpoint=stub.url)
    assert stub.files and stub.created == []


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "refuses the token"),
        (403, "may not write to ann/bees"),
        (500, "status 500"),
        (404, "knows no 'ann'"),
    ],
)
def test_a_refusal_is_said_without_the_token(stub: Stub, run: Path, status: int, said: str):
    stub.status = status
    with pytest.raises((UsageError, ResourceError), match=said) as caught:
        hub.push(run / "exports", "model", "ann/bees", token=TOKEN, endpoint=stub.url)
    assert TOKEN not in str(caught.value) and caught.value.__suppress_context__


def test_no_network_is_said(run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(ResourceError, match="cannot be reached.*by hand"):
        hub.push(run / "exports", "model", "ann/bees", token=TOKEN, endpoint="http://127.0.0.1:9")


def test_the_token_is_nowhere_afterwards(
    stub: Stub,
    run: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
):
    monkeypatch.setattr("tl_app.runs.open_run", lambda name, folder: type("Info", (), {"path": run}))
    monkeypatch.setattr("getpass.getpass", lambda prompt: TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", stub.url)
    monkeypatch.setenv("HF_ENDPOINT", stub.url)
    with caplog.at_level(logging.DEBUG):
        for status in (200, 403, 500):
            stub.status = status
            code = cli.run(["push", "bees", "--to-space", "ann/bees", "--ask-token", "--json"])
            assert (code == 0) == (status == 200)
    said = capsys.readouterr()
    assert "/ann/bees" in said.out and "[token]" in said.err
    assert stub.tokens == {f"Bearer {TOKEN}"}
    assert TOKEN not in said.out + said.err + caplog.text
    for path in home.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path


def test_the_token_of_the_environment_is_used_and_hidden(
    stub: Stub, run: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.push(run / "exports", "model", "ann/bees", endpoint=stub.url)
    assert stub.tokens == {f"Bearer {TOKEN}"}
    assert hub.redacted(f"a {TOKEN} b hf_abcdefghij c", None) == "a [token] b [token] c"


def test_what_cannot_be_sent_is_said(stub: Stub, run: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("bees", "ann/", "ann/be es", "ann/../x", "a/b/c", "ann/x.git", f"ann/{TOKEN}!"):
        with pytest.raises(UsageError, match="is no name of a repository") as caught:
            hub.push(run / "exports", "model", name, token=TOKEN, endpoint=stub.url)
        assert TOKEN not in str(caught.value)
    with pytest.raises(UsageError, match="no safetensors export .*--to safetensors"):
        hub.push(run, "model", "ann/bees", token=TOKEN, endpoint=stub.url)
    with pytest.raises(UsageError, match="no bundle export"):
        hub.push(run, "space", "ann/bees", token=TOKEN, endpoint=stub.url)
    with pytest.raises(UsageError, match="nothing to send"):
        hub.push(run / "exports", "dataset", "ann/bees", token=TOKEN, endpoint=stub.url)
    for both in ({}, {"to_model": "a/b", "to_space": "a/b"}):
        with pytest.raises(UsageError, match="one of them"):
            tl_app.push("bees", **both)
    assert stub.created == []
