"""Numbers and times as people read them: 3.5 M parameters, 14 MB, 2 min 05 s."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime


def count(number: float) -> str:
    """A count with at most three digits and a magnitude: ``950``, ``12.3 k``, ``3.5 M``, ``1.2 G``."""
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= limit:
            value = number / (1e3 if suffix == "k" else limit)
            return f"{value:.0f} {suffix}" if value >= 100 else f"{value:.1f} {suffix}"
    return f"{number:,.0f}"


def size(bytes_: float) -> str:
    """A size in decimal units, as file managers show it."""
    for limit, suffix in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if bytes_ >= limit:
            value = bytes_ / limit
            return f"{value:.0f} {suffix}" if value >= 20 else f"{value:.1f} {suffix}"
    return f"{bytes_:.0f} bytes"


def duration(seconds: float) -> str:
    """A stretch of time in its two largest units."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def about(seconds: float) -> str:
    """A stretch of time that is only roughly known."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def milliseconds(seconds: float) -> str:
    """A moment in milliseconds, with a digit more below 10."""
    value = 1000 * seconds
    return f"{value:.1f} ms" if value < 10 else f"{value:,.0f} ms"


def lineage(tasks: Sequence[str]) -> str:
    """The tasks that weights come from, oldest first."""
    return " → ".join(tasks)


def moment(iso: str) -> str:
    """A date and time in this machine's time zone; text that is none stays as it is."""
    try:
        return datetime.fromisoformat(iso).astimezone().strftime("%d %b %Y, %H:%M")
    except ValueError:
        return iso


def percent(share: float | None, digits: int = 1) -> str:
    """A share from 0 to 1 as a percentage; a dash when there is none."""
    if share is None or not math.isfinite(share):
        return "–"
    return f"{share * 100:.{digits}f} %"


def share(part: float, whole: float) -> str:
    """``part`` of ``whole`` as a percentage that never rounds something to 0 % or to 100 %."""
    if whole <= 0:
        return "0 %"
    value = 100 * part / whole
    if 0 < value < 0.1:
        return "under 0.1 %"
    if 99.9 < value < 100:
        return "99.9 %"
    return f"{value:.0f} %" if value >= 10 or value == 0 else f"{value:.1f} %"


def plural(number: int, one: str, many: str = "") -> str:
    """``1 photo``, ``2 photos``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def interval(share: float, bounds: tuple[float, float]) -> str:
    """A share with the interval that it lies in, in percent: ``94.1 %, 89–97``."""
    low, high = (f"{100 * bound:.0f}" for bound in bounds)
    return f"{percent(share)}, {low}–{high}"
