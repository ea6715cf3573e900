"""The downloader against a server on this machine: success, and every failure, leaving nothing behind."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import http.server
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tl_app.backbones import download as download_module
from tl_app.backbones import weights
from tl_app.backbones.catalogue import WeightChoice, get_backbone, list_backbones
from tl_app.errors import Interrupted, ResourceError

BODY = bytes(range(256)) * 8192  # 2 MiB
HASH = hashlib.sha256(BODY).hexdigest()[:8]
OTHER_HASH = "0123abcd"


class _Stub(http.server.BaseHTTPRequestHandler):
    requests: list[str] = []

    def do_GET(self) -> None:
        kind = self.path.split("/")[1]
        self.requests.append(kind)
        if kind == "missing":
            self.send_error(404)
            return
        if kind == "late":
            time.sleep(3)
        self.send_response(200)
        if kind != "unsized":
            self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        if kind == "truncated":
            self.wfile.write(BODY[:100_000])
            return
        for start in range(0, len(BODY), 1 << 16):
            try:
                self.wfile.write(BODY[start : start + (1 << 16)])
            except OSError:
                return  # the other side stopped
            if kind == "slow":
                time.sleep(0.05)
            if kind == "stalls":
                time.sleep(3)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "*")
    _Stub.requests = []
    stub = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Stub)
    stub.daemon_threads = True
    threading.Thread(target=stub.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{stub.server_port}"
    stub.shutdown()
    stub.server_close()


def _choice(url: str) -> WeightChoice:
    return dataclasses.replace(get_backbone("resnet18").default_weights, url=url, download_bytes=len(BODY))


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_a_download_arrives_whole_and_tells_its_progress(server: str, weights_home: Path) -> None:
    seen: list[tuple[int, int]] = []
    choice = _choice(f"{server}/good/resnet18-{HASH}.pth")
    path = weights.download(choice, on_progress=lambda done, total: seen.append((done, total)))
    assert path == weights_home / f"resnet18-{HASH}.pth" == weights.cached_path(choice)
    assert path.read_bytes() == BODY
    assert _files(weights_home) == [path.name]
    assert seen[0] == (0, len(BODY)) and seen[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert len(seen) > 3
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask  # others who share the cache can read it

    assert weights.download(choice, on_progress=lambda done, total: pytest.fail("it was there")) == path
    assert _Stub.requests == ["good"]


def test_a_server_that_tells_no_length_will_do(server: str, weights_home: Path) -> None:
    seen: list[tuple[int, int]] = []
    weights.download(
        _choice(f"{server}/unsized/a-{HASH}.pth"), on_progress=lambda *step: seen.append(tuple(step))
    )
    assert seen[-1] == (len(BODY), 0)
    assert _files(weights_home) == [f"a-{HASH}.pth"]


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        (f"good/a-{OTHER_HASH}.pth", f"is not the published file.*starts with {HASH}, not {OTHER_HASH}"),
        (f"truncated/a-{HASH}.pth", "broke off after 0.1 MB of 2.1 MB"),
        (f"missing/a-{HASH}.pth", "127.0.0.1 answered 404 Not Found"),
    ],
)
def test_what_arrives_wrong_is_thrown_away(server: str, weights_home: Path, path: str, problem: str) -> None:
    with pytest.raises(ResourceError, match=problem) as caught:
        weights.download(_choice(f"{server}/{path}"))
    assert "IMAGENET1K_V1 weights of resnet18" in caught.value.problem
    assert caught.value.allowed == "On this machine are bundled BUNDLED."
    assert "weights 'random'" in caught.value.remedy
    assert _files(weights_home) == []


def test_no_network_is_said_at_once_with_what_can_be_used(
    weights_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    weights_home.mkdir(parents=True)
    other = weights.cached_path(get_backbone("mobilenet_v2").default_weights)
    other.write_bytes(b"anything")
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, but nobody listens
        start = time.monotonic()
        with pytest.raises(
            ResourceError, match=r"no connection to 127\.0\.0\.1 \(Connection refused\)"
        ) as caught:
            weights.download(_choice(f"http://127.0.0.1:{held.getsockname()[1]}/a-{HASH}.pth"))
    assert time.monotonic() - start < 5
    assert caught.value.allowed == "On this machine are bundled BUNDLED, mobilenet_v2 IMAGENET1K_V2."
    assert caught.value.exit_code == 4
    assert _files(weights_home) == [other.name]


def test_an_unknown_host_is_no_network(weights_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*args: Any, **kwargs: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    with pytest.raises(ResourceError, match="no connection to weights.example .Name or service not known"):
        weights.download(_choice(f"http://weights.example/a-{HASH}.pth"))


@pytest.mark.parametrize("kind", ["late", "stalls"])
def test_silence_has_a_limit(
    server: str, weights_home: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(download_module, "CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(download_module, "STALL_SECONDS", 0.5)
    with pytest.raises(ResourceError, match="no answer in time"):
        weights.download(_choice(f"{server}/{kind}/a-{HASH}.pth"))
    assert _files(weights_home) == []


@pytest.mark.parametrize("kind", ["slow", "late", "stalls"])
def test_stopping_takes_effect_at_once_and_leaves_nothing(server: str, weights_home: Path, kind: str) -> None:
    start = time.monotonic()
    with pytest.raises(Interrupted, match="download of the IMAGENET1K_V1 weights of resnet18 was stopped"):
        weights.download(
            _choice(f"{server}/{kind}/a-{HASH}.pth"), should_stop=lambda: time.monotonic() - start > 0.4
        )
    assert time.monotonic() - start < 2
    assert _files(weights_home) == []


def test_an_error_of_the_reader_leaves_nothing(server: str, weights_home: Path) -> None:
    def fail(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        weights.download(_choice(f"{server}/good/a-{HASH}.pth"), on_progress=fail)
    assert _files(weights_home) == []


def test_a_full_disk_is_told_before_the_download(
    server: str, weights_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = download_module.shutil.disk_usage(weights_home.parents[2])
    monkeypatch.setattr(download_module.shutil, "disk_usage", lambda folder: usage._replace(free=5_000_000))
    with pytest.raises(ResourceError, match=r"No space for .* 2\.1 MB are needed, 5\.0 MB are free"):
        weights.download(_choice(f"{server}/good/a-{HASH}.pth"))
    assert _files(weights_home) == []


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (errno.EROFS, "cannot be written .Read-only file system"),
        (errno.EACCES, "cannot be written .Permission denied"),
        (errno.ENOSPC, "the disk is full"),
    ],
)
def test_a_folder_that_cannot_be_written_is_named(
    server: str, weights_home: Path, monkeypatch: pytest.MonkeyPatch, code: int, problem: str
) -> None:
    _fail_to_open(monkeypatch, lambda path: path.suffix == ".partial", code)
    with pytest.raises(ResourceError, match=problem) as caught:
        weights.download(_choice(f"{server}/good/a-{HASH}.pth"))
    assert str(weights_home) in caught.value.problem
    assert _Stub.requests == []
    assert _files(weights_home) == []


def _fail_to_open(monkeypatch: pytest.MonkeyPatch, chosen: Callable[[Path], bool], code: int) -> None:
    """As on a read-only disk, also for root, whom permissions do not stop."""
    really_open = Path.open

    def refuse(self: Path, *args: Any, **kwargs: Any) -> Any:
        if chosen(self):
            raise OSError(code, os.strerror(code), str(self))
        return really_open(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)


def test_a_disk_that_fills_up_midway_is_told(
    server: str, weights_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match="No space for .*: the disk is full"):
        weights.download(_choice(f"{server}/good/a-{HASH}.pth"))
    assert _files(weights_home) == []


def test_a_file_in_the_folders_place_is_told(server: str, weights_home: Path) -> None:
    weights_home.parents[1].mkdir(parents=True)
    weights_home.parent.write_text("not a folder")
    with pytest.raises(ResourceError, match="There is no place for .* cannot be written .Not a directory"):
        weights.download(_choice(f"{server}/good/a-{HASH}.pth"))


def test_two_at_once_download_once(server: str, weights_home: Path) -> None:
    choice = _choice(f"{server}/slow/a-{HASH}.pth")
    paths: list[Path] = []
    threads = [threading.Thread(target=lambda: paths.append(weights.download(choice))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert paths == [weights.cached_path(choice)] * 3
    assert _Stub.requests == ["slow"]


def test_waiting_for_another_download_can_be_stopped(server: str, weights_home: Path) -> None:
    choice = _choice(f"{server}/slow/a-{HASH}.pth")
    started = threading.Event()
    first = threading.Thread(
        target=lambda: weights.download(choice, on_progress=lambda done, total: started.set())
    )
    first.start()
    assert started.wait(10)
    with pytest.raises(Interrupted, match="was stopped"):
        weights.download(choice, should_stop=lambda: True)
    first.join()
    assert weights.is_on_disk(choice)


def test_leftovers_of_a_killed_download_are_tidied_up(server: str, weights_home: Path) -> None:
    weights_home.mkdir(parents=True)
    name = f"a-{HASH}.pth"
    old, fresh = weights_home / f".{name}.old.partial", weights_home / f".{name}.fresh.partial"
    for path in (old, fresh):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    weights.download(_choice(f"{server}/good/{name}"))
    assert _files(weights_home) == [fresh.name, name]  # the fresh one may be another user's


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18-f37072fd.pth", "f37072fd"),
        ("vgg16_features-amdegroot-88682ab5.pth", "88682ab5"),
        ("mnasnet0.5_top1_67.823-3ffadce67e.pth", "3ffadce67e"),
        ("plain.pth", ""),
    ],
)
def test_the_hash_is_read_from_the_name(name: str, expected: str) -> None:
    assert download_module.published_hash(name) == expected


def test_every_published_file_has_a_hash_in_its_name() -> None:
    choices = [choice for spec in list_backbones() for choice in spec.weights if not choice.bundled]
    assert all(download_module.published_hash(weights.cached_path(choice).name) for choice in choices)
