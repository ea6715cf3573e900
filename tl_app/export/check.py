"""The proof of an export: loaded back from its file, it is asked the run's validation photos.

Asks whatever it is given photos and compares; knows nothing of formats.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tl_app import words
from tl_app.errors import ExportError, PhotoError
from tl_app.export.original import Original, Pixels, Report

Ask = Callable[[Pixels], NDArray[np.float32]]  # photos uint8 (N, H, W, 3) to probabilities (N, classes)

LARGEST_DIFFERENCE = 1e-3  # of a probability, in exports that compute as the run does
LARGEST_LOSS = 0.01  # of accuracy, in those that compute in 8 bits
MOST_CHANGED = 0.03  # of the answers of those, beyond which it is said
# Of two answers as likely as that, either may come first: sums of floats end differently on every machine. As a share
# of the difference that is allowed.
_TIE = 0.01
_REPEATS, _SECONDS = 30, 3.0  # of timing a batch, at most
_BATCHES = (1, 32)
_TIMED_SIDE = 640  # pixels; 32 photos straight from a camera would take gigabytes


@dataclass(frozen=True)
class Check:
    """What asking an export has shown.

    Attributes:
        photos: How many were asked.
        missing: How many more the run has, which could not be read.
        same: How many of them have the same most likely class as in the run.
        max_difference: The largest difference of a probability.
        accuracy: Of the export, 0 to 1.
        run_accuracy: Of the run on the same photos.
        latency: By photos a call (``1``, ``32``): ``p50`` and ``p95`` of a call in seconds, on this machine's CPU.
    """

    photos: int
    missing: int
    same: int
    max_difference: float
    accuracy: float
    run_accuracy: float
    latency: dict[str, dict[str, float]]


def checked(
    original: Original, ask: Ask, *, within: float | None, label: str, report: Report | None = None
) -> Check:
    """Asks an export all validation photos of its run, one at a time, each at its own size.

    Args:
        original: What it is a copy of; its photos must be there.
        ask: The export.
        within: What its probabilities may differ from the run's, and then it has to name the same classes; None when
            only its accuracy counts, which may fall by a point.
        label: What it is called.
        report: Called with photos done and photos in all.

    Raises:
        ExportError: It does not answer as it should; the photo and both answers are named.
    """
    answers = original.answers
    assert answers is not None
    wanted, got, sample = original.probabilities(), [], None
    kept = []
    for number, path in enumerate(answers.paths):
        try:
            photo = original.pixels(answers.root / path)
        except PhotoError:  # gone since the run answered
            continue
        said = ask(photo)[0]
        if within is not None:
            _compare(original, label, path, wanted[number], said, within)
        sample = photo if sample is None else sample
        got.append(said)
        kept.append(number)
        if report is not None:
            report(number + 1, len(answers.paths))
    missing = len(answers.paths) - len(kept) + len(answers.left_out)
    if sample is None or len(kept) < missing:
        raise ExportError(
            f"{label} could not be checked: {words.plural(missing, 'validation photo')} of run "
            f"'{original.info.name}' cannot be read, {len(kept)} can.",
            "At least half of them must be there.",
            "Put them back where they were.",
        )
    found, expected, labels = np.stack(got), wanted[kept], answers.labels[kept]
    check = Check(
        photos=len(kept),
        missing=missing,
        same=int((found.argmax(1) == expected.argmax(1)).sum()),
        max_difference=float(np.abs(found - expected).max()),
        accuracy=float((found.argmax(1) == labels).mean()),
        run_accuracy=float((expected.argmax(1) == labels).mean()),
        latency={str(batch): _timed(ask, _smaller(sample).repeat(batch, 0)) for batch in _BATCHES},
    )
    if within is None:
        names = [answers.paths[number] for number in kept]
        _compare_accuracy(original, label, check, names, expected, found, labels)
    return check


def _compare(
    original: Original,
    label: str,
    path: str,
    wanted: NDArray[np.float32],
    said: NDArray[np.float32],
    within: float,
) -> None:
    """Refuses an answer that is not the run's."""
    if said.shape != wanted.shape:
        raise ExportError(
            f"{label} answers with {said.size} probabilities, run '{original.info.name}' with {wanted.size}."
        )
    difference = float(np.abs(said - wanted).max())
    first, now = int(wanted.argmax()), int(said.argmax())
    another = first != now and wanted[first] - wanted[now] > _TIE * within
    if difference <= within and not another:
        return
    raise ExportError(
        f"{label} does not answer as run '{original.info.name}' does: of the photo {path} the run says "
        f"{_told(original, wanted)}, the export {_told(original, said)}.",
        f"Allowed: the same class, and probabilities within {within:g}; the largest difference is "
        f"{difference:.4f}.",
        "No file was kept. Please report this with the backbone's name; another format may do.",
    )


def _compare_accuracy(
    original: Original,
    label: str,
    check: Check,
    paths: list[str],
    expected: NDArray[np.float32],
    found: NDArray[np.float32],
    labels: NDArray[np.int64],
) -> None:
    """Refuses an export that is right less often; the photo it lost most on is named."""
    if holds(found.argmax(1), expected.argmax(1), labels) and np.isfinite(found).all():
        return
    rows = np.arange(len(labels))
    lost = np.nan_to_num(expected[rows, labels] - found[rows, labels], nan=1.0)
    worst = int(np.where(found.argmax(1) != labels, lost, -1).argmax())
    raise ExportError(
        f"{label} is right on {words.percent(check.accuracy)} of {words.plural(check.photos, 'photo')}, run "
        f"'{original.info.name}' on {words.percent(check.run_accuracy)}. Of the photo {paths[worst]} the run says "
        f"{_told(original, expected[worst])}, the export {_told(original, found[worst])}.",
        f"Allowed: at most {100 * LARGEST_LOSS:.0f} point less.",
        "No file was kept. Choose onnx, which answers as the run does.",
    )


def holds(said: NDArray[np.int64], own: NDArray[np.int64], labels: NDArray[np.int64]) -> bool:
    """Whether answers are right nearly as often as the run's own: numbers of classes, (N,) each."""
    lost = int((own == labels).sum()) - int((said == labels).sum())
    return (
        lost <= LARGEST_LOSS * len(labels) + 1e-9
    )  # photos, so that one of a hundred is a point and no more


def _smaller(photo: Pixels) -> Pixels:
    """A photo of a size that is usual on the web, (1, H, W, 3): every so many pixels of a larger one."""
    step = -(-max(photo.shape[1:3]) // _TIMED_SIDE)
    return np.ascontiguousarray(photo[:, ::step, ::step])


def _told(original: Original, probabilities: NDArray[np.float32]) -> str:
    number = int(probabilities.argmax())
    return f"'{original.labels[number]}' ({words.percent(float(probabilities[number]), 2)})"


def _timed(ask: Ask, photos: Pixels) -> dict[str, float]:
    """Median and 95th percentile of a call, in seconds; the first calls warm it up."""
    ask(photos)
    start = time.perf_counter()
    seconds: list[float] = []
    while len(seconds) < _REPEATS and (len(seconds) < 3 or time.perf_counter() - start < _SECONDS):
        before = time.perf_counter()
        ask(photos)
        seconds.append(time.perf_counter() - before)
    p50, p95 = np.percentile(seconds, (50, 95))
    return {"p50": float(p50), "p95": float(p95)}


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return sum(each.stat().st_size for each in files)
