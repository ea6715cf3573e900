"""Figures drawn from rows, ratios above all, and how they are written for people."""

from __future__ import annotations

import statistics

from tests.benchmarks.results import Results, Row

GAP = "–"


def epoch_seconds(results: Results, row: Row) -> float | None:
    """What one epoch costs: the median of those a peer timed; ours is the difference of two whole processes."""
    if row.note:
        return None
    if row.side == "ours-further":
        again = results.find(row.suite, row.group, "ours-again")
        if again is None:
            return None
        more = row.said["epochs"] - again.said["epochs"]
        seconds = (statistics.median(row.seconds) - statistics.median(again.seconds)) / more
        return seconds if seconds > 0 else None  # too few epochs: noise was larger
    timed = row.said.get("epoch_seconds")
    return statistics.median(timed) if timed else None


def duration(seconds: float | None) -> str:
    """Seconds for people."""
    if seconds is None:
        return GAP
    if seconds < 1:
        return f"{1000 * seconds:.{0 if seconds >= 0.01 else 1}f} ms"
    return f"{seconds:.0f} s" if seconds >= 100 else f"{seconds:.1f} s"


def times(value: float | None, digits: int = 1) -> str:
    """A ratio for people, with so many digits after the point while it is small."""
    if value is None:
        return GAP
    return f"{value:.0f}×" if value >= 100 else f"{value:.{digits}f}×"


def megabytes(count: float) -> str:
    """Bytes for people."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def faster(results: Results, row: Row, side: str) -> float | None:
    """How many times the whole process of ``side`` takes that of ``row``; None where that compares nothing."""
    other = results.find(row.suite, row.group, side)
    if (
        other is None
        or row.median_seconds is None
        or row.side == "ours-further"
        or row.side.startswith("floor")
    ):
        return None
    theirs = other.median_seconds
    return theirs / row.median_seconds if theirs else None


def over_floor(results: Results, row: Row) -> float | None:
    """How many times the floor of the same engine a first run with one view takes."""
    floors = {"ours": "floor", "ours-openvino": "floor-openvino"}
    floor = results.find(row.suite, row.group, floors.get(row.side, ""))
    if floor is None or row.median_seconds is None or not floor.median_seconds:
        return None
    return row.median_seconds / floor.median_seconds


def spread(seconds: list[float]) -> str:
    """The median, and from what to what."""
    middle = duration(statistics.median(seconds))
    return f"{middle} ({min(seconds):.1f}{GAP}{max(seconds):.1f})" if len(seconds) > 1 else middle
