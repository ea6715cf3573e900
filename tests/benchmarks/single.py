"""Suites of one program alone: how long a photo takes to answer, and many photos, stopped and gone on with."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks import photos
from tests.benchmarks.measure import Measured, environment, run
from tests.benchmarks.results import Results, Row
from tests.benchmarks.sides import ROOT, script
from tests.benchmarks.training import Say

_EXTRA = "openvino"
_FEW = 20  # photos that the model to predict with is trained on
_STOPPED = 130
_NAME = "big"


def predict(backbones: Sequence[str], calls: int, work: Path, results: Results, say: Say) -> None:
    """One photo at a time on one core: the forward pass alone, and from file to answer.

    Args:
        backbones: Torchvision's names.
        calls: How many are timed.
        work: For photos and home folders.
        results: Gets the rows.
        say: Told of each.
    """
    data = photos.make(work, _FEW)
    photo = next((data / "val").rglob("*.jpg"))
    extras = [""] + [_EXTRA] * (importlib.util.find_spec(_EXTRA) is not None)
    with tempfile.TemporaryDirectory(prefix="homes-", dir=work) as homes:
        env = environment(Path(homes) / "own", PYTHONPATH=str(ROOT))
        for backbone in backbones:
            settings = ["--backbone", backbone, "--weights", "random", "--freeze", "head", "--epochs", 1]
            trained = run(script(sys.executable, "ours", "train", data, *settings, "--json"), env)
            for extra in extras:
                _predict(backbone, extra, trained, [photo, "--calls", calls], env, results, say)


def _predict(
    backbone: str,
    extra: str,
    trained: Measured,
    settings: Sequence[object],
    env: dict[str, str],
    results: Results,
    say: Say,
) -> None:
    labels = {
        "ours": "tl-app",
        "file": "tl-app, from file to answer",
        "eager": "torchvision's network as it is",
    }
    without = [] if extra else ["--without", _EXTRA]
    measured = trained
    if not trained.error:
        command = script(sys.executable, "predict", trained.said["run"], *settings, *without)
        measured = run(command, {**env, "OMP_NUM_THREADS": "1"})
    for side, label in labels.items():
        if extra and side == "eager":
            continue
        name = f"{side}-{extra}" if extra else side
        row = results.begin(Row("predict", backbone, name, label + (f", [{extra}]" if extra else "")))
        row.take(measured)
        row.said = measured.said.get(side, {})
        p50 = f"p50 {1e3 * row.said['p50']:.1f} ms" if row.said else row.note
        say(f"{backbone}, {row.label}: {p50}")
    results.save()


def big(
    count: int,
    epochs: int,
    backbone: str,
    more: Sequence[str],
    stop_after: float,
    work: Path,
    results: Results,
    say: Say,
) -> None:
    """Many photos: trained on in one go, and stopped on the way and gone on with.

    Args:
        count: Photos in all.
        epochs: Of the head.
        backbone: Torchvision's name.
        more: Further options of ``tl-app train``.
        stop_after: Share of the first run's time after which the second one gets Ctrl-C.
        work: For photos and home folders.
        results: Gets the rows.
        say: Told of each.
    """
    data = photos.make(work, count)
    settings = ["--backbone", backbone, "--weights", "random", "--freeze", "head", "--epochs", epochs]
    train = script(sys.executable, "ours", "train", data, *settings, *more, "--name", _NAME, "--json")
    resume = script(sys.executable, "ours", "resume", _NAME, "--json")

    def note(side: str, label: str, measured: Measured, home: Path, remark: str = "") -> None:
        row = results.begin(Row("big", "", side, label, count, epochs))
        ended_well = measured.code in (0, _STOPPED)
        row.take(dataclasses.replace(measured, error="") if ended_well else measured)
        row.said = {"remark": remark, "cache_bytes": _size(home / "cache"), **measured.said}
        say(
            f"{label}: {measured.seconds:.0f} s, {measured.memory_bytes / 1e9:.2f} GB, {remark}{row.note}".rstrip(
                ", "
            )
        )
        results.save()

    with tempfile.TemporaryDirectory(prefix="homes-", dir=work) as homes:
        whole, parts = Path(homes) / "whole", Path(homes) / "parts"
        photos.warm(data)
        first = run(train, environment(whole, PYTHONPATH=str(ROOT)))
        note("whole", f"{backbone}, in one go", first, whole)
        env = environment(parts, PYTHONPATH=str(ROOT))
        stopped, waited = _interrupted(train, env, stop_after * first.seconds)
        in_time = stopped.code == _STOPPED
        remark = f"ended {waited:.1f} s after Ctrl-C" if in_time else "ended before Ctrl-C"
        note("stopped", f"{backbone}, Ctrl-C on the way", stopped, parts, remark)
        if in_time:
            last = run(resume if (parts / "runs" / _NAME).is_dir() else train, env)
            remark = f"both parts take {(stopped.seconds + last.seconds) / first.seconds:.2f}× one go"
            note("resumed", f"{backbone}, gone on with", last, parts, remark)


def _interrupted(command: Sequence[str], env: dict[str, str], after_seconds: float) -> tuple[Measured, float]:
    """Runs a program that gets Ctrl-C on the way; and how long it took to end from then on."""
    asked: list[float] = []

    def ask(pid: int) -> None:
        asked.append(time.perf_counter())
        os.kill(pid, signal.SIGINT)

    timers: list[threading.Timer] = []

    def start(pid: int) -> None:
        timers.append(threading.Timer(after_seconds, ask, [pid]))
        timers[0].start()

    # A shell's background job ignores it, and so would what it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    measured = run(command, env, on_start=start)
    timers[0].cancel()
    if not asked:
        return measured, 0.0
    return measured, time.perf_counter() - asked[0]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
