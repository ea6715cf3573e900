"""Suites of the page: how soon it answers after its start, and how soon while a training runs behind it."""

from __future__ import annotations

import contextlib
import http.client
import json
import queue
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks import photos
from tests.benchmarks.measure import Measured, end_tree, environment, run, tree_memory
from tests.benchmarks.results import Results, Row
from tests.benchmarks.sides import ROOT, script
from tests.benchmarks.training import Say

_HOST = "127.0.0.1"
_TOKEN = "known-to-the-benchmark"
_START_SECONDS = 120.0
_PAUSE_SECONDS = 0.02  # between requests: a page asks once a second, so this is fifty pages


def startup(repeat: int, idle_seconds: float, work: Path, results: Results, say: Say) -> None:
    """A bare page and ours, started in turn, each in a process of its own.

    Args:
        repeat: How often; a first start of each, which writes byte code, is not counted.
        idle_seconds: How long a page has answered when its memory is read; torch is loaded behind it meanwhile.
        work: For home folders, which are removed.
        results: Gets the rows.
        say: Told of each.
    """
    ours = [sys.executable, "-P", "-m", "tl_app", "ui", "--no-browser", "--port"]
    pages = {
        "bare": ("bare Gradio page, one textbox", script(sys.executable, "bare_page")),
        "ours": ("tl-app ui", ours),
    }
    rows = {side: results.begin(Row("startup", "", side, label)) for side, (label, _) in pages.items()}
    for number in range(-1, repeat):
        for side, (label, command) in pages.items():
            with _home(work) as env:
                measured = _start_page(command, env, idle_seconds if number >= 0 else 0.0)
            if number >= 0:
                idle = max(rows[side].said.get("idle_bytes", 0), measured.said["idle_bytes"])
                rows[side].take(measured)
                rows[side].said["idle_bytes"] = idle
                say(f"{label}: {measured.seconds:.2f} s, {idle / 1e6:.0f} MB")
                results.save()
    _help(repeat, work, results, say)


def _help(repeat: int, work: Path, results: Results, say: Say) -> None:
    row = results.begin(Row("startup", "", "help", "tl-app --help"))
    for _ in range(repeat):
        with _home(work) as env:
            row.take(run([sys.executable, "-P", "-m", "tl_app", "--help"], env))
    say(f"{row.label}: {statistics.median(row.seconds):.2f} s {row.note}".rstrip())
    results.save()


def _start_page(command: Sequence[str], env: Mapping[str, str], idle_seconds: float) -> Measured:
    with _page(command, env) as (process, port, seconds):
        time.sleep(idle_seconds)
        _, total = tree_memory(process.pid)
        _, once = tree_memory(process.pid, shared_once=True)
        status, _ = _ask(http.client.HTTPConnection(_HOST, port, timeout=10), "GET", "/")
        assert status == 200, "a page that answered at first no longer does"
        return Measured(seconds, 0.0, total, once, {"idle_bytes": total})


def latency(count: int, epochs: int, backbone: str, work: Path, results: Results, say: Say) -> None:
    """Requests to our page, first idle and then while it trains: the head alone, and everything.

    Args:
        count: Photos to train on.
        epochs: Of the training of the head; everything is trained for one.
        backbone: Torchvision's name.
        work: For photos, and for home folders, which are removed.
        results: Gets the rows.
        say: Told of each.
    """
    data = photos.make(work, count)
    for freeze, passes, what in (("head", epochs, "the head"), ("none", 1, "everything")):
        settings = [data, "--backbone", backbone, "--freeze", freeze, "--epochs", passes, "--port"]
        with _home(work) as env, _page(script(sys.executable, "training_page", *settings), env) as page:
            process, port, _ = page
            time.sleep(15)  # torch is loaded behind the page; that is no training
            if freeze == "head":
                _note(results, say, "idle", "idle", _requests(port, 200, threading.Event()))
            ended, words = threading.Event(), queue.SimpleQueue[str]()
            threading.Thread(target=_listen, args=[process, words, ended], daemon=True).start()
            assert process.stdin is not None
            process.stdin.write(b"train\n")
            process.stdin.flush()
            while (word := words.get(timeout=_START_SECONDS)) != "training":
                assert not word.startswith("failed"), word
            seconds = _requests(port, 100_000, ended)
            _note(results, say, f"training-{freeze}", f"{backbone} trains {what}", seconds)
            last = words.get(timeout=5)
            if last != "done":
                say(f"the training {last}")


def _note(results: Results, say: Say, side: str, label: str, seconds: dict[str, list[float]]) -> None:
    for name, each in seconds.items():
        row = results.begin(Row("latency", "", f"{side}-{name}", f"{label}: {name}"))
        row.seconds = [sum(each)]
        ranked = sorted(each)
        if ranked:
            p95 = ranked[min(len(ranked) - 1, int(0.95 * len(ranked)))]
            row.said = {"p50": statistics.median(ranked), "p95": p95, "max": ranked[-1], "calls": len(ranked)}
            say(
                f"{row.label}: p50 {1e3 * row.said['p50']:.1f} ms, p95 {1e3 * p95:.1f} ms, {len(ranked)} calls"
            )
        else:
            row.note = "no request fitted in"
    results.save()


def _requests(port: int, most: int, ended: threading.Event) -> dict[str, list[float]]:
    """Seconds of each request, one after the other: the page itself, and what it asks once a second."""
    connection = http.client.HTTPConnection(_HOST, port, timeout=60)
    config = json.loads(_ask(connection, "GET", "/config")[1])
    ticks = (each for each in config["dependencies"] if any(event == "tick" for _, event in each["targets"]))
    tick = next(ticks)
    nothing = [None] * len(tick["inputs"])
    body = json.dumps({"data": nothing, "fn_index": tick["id"], "session_hash": "benchmark"})
    path = f"{config['api_prefix']}/run/predict"
    seconds: dict[str, list[float]] = {"the page": [], "its tick": []}
    while not ended.is_set() and len(seconds["its tick"]) < most:
        for name, request in (("the page", ("GET", "/")), ("its tick", ("POST", path, body))):
            start = time.perf_counter()
            status, answer = _ask(connection, *request)
            seconds[name].append(time.perf_counter() - start)
            assert status == 200, f"{name} answered {status}: {answer[:200]!r}"
            time.sleep(_PAUSE_SECONDS)
    return seconds


def _listen(process: subprocess.Popen[bytes], words: queue.SimpleQueue[str], ended: threading.Event) -> None:
    """Passes on what the page's process says; its last word ends the training."""
    assert process.stdout is not None
    for line in process.stdout:
        words.put(line.decode(errors="replace").strip())
        if line.startswith((b"done", b"failed")):
            ended.set()
    ended.set()


@contextmanager
def _page(
    command: Sequence[str], env: Mapping[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], int, float]]:
    """A page that answers: its process, its port, and the seconds from its start to its first answer."""
    port = _free_port()
    start = time.perf_counter()
    with tempfile.TemporaryFile() as errors:  # no pipe: nobody reads it, and a full one would stop the page
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            [*command, str(port)], env=dict(env), stdin=pipe, stdout=pipe, stderr=errors
        )
        try:
            while not _answers(port):
                if process.poll() is not None or time.perf_counter() - start > _START_SECONDS:
                    errors.seek(0)
                    raise RuntimeError(f"The page did not answer: {errors.read().decode()[-500:]}")
                time.sleep(0.005)
            yield process, port, time.perf_counter() - start
        finally:
            end_tree(process)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        return _ask(http.client.HTTPConnection(_HOST, port, timeout=5), "GET", "/")[0] == 200
    return False


def _ask(connection: http.client.HTTPConnection, method: str, path: str, body: str = "") -> tuple[int, bytes]:
    """One request and its whole answer; the connection stays open."""
    headers = {"Authorization": f"Bearer {_TOKEN}"} | ({"Content-Type": "application/json"} if body else {})
    connection.request(method, path, body or None, headers)
    response = connection.getresponse()
    return response.status, response.read()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def _home(work: Path) -> Iterator[dict[str, str]]:
    """The environment of a program with a home folder of its own, removed afterwards."""
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="homes-", dir=work) as homes:
        yield environment(Path(homes) / "own", PYTHONPATH=str(ROOT), TL_APP_TOKEN=_TOKEN)
