"""Tables in Markdown, ready for the README, from results. Measures nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.benchmarks import machine
from tests.benchmarks.figures import (
    GAP,
    duration,
    epoch_seconds,
    faster,
    megabytes,
    over_floor,
    spread,
    times,
)
from tests.benchmarks.goals import goals
from tests.benchmarks.results import Results, Row

# Peers, the machine, ours: also where the pieces of a table were measured in another order.
_ORDER = ("tutorial", "fastai", "ultralytics", "floor", "ours")
_TITLES = {
    "head": "Head only",
    "partial": "Last stage unfrozen",
    "full": "Full fine-tuning",
    "startup": "Start-up",
    "predict": "One photo, one core, after decoding",
    "latency": "Requests to the page, before and while it trains",
    "big": "Many photos",
}


def render(results: Results) -> str:
    """Everything there is a row of: the machine, the commands, a table per suite and group, and the goals."""
    parts = [f"Machine: {machine.sentence(results.machine)}."]
    parts += [f"**{warning}**" for warning in results.warnings]
    parts.append("```sh\n" + "\n".join(results.commands) + "\n```")
    if len(results.commands) > 1:
        parts.append("Measured in several calls, one after the other.")
    for suite, title in _TITLES.items():
        for group in results.groups(suite):
            rows = results.of(suite, group)
            head = ", ".join(part for part in (title, group, _size(rows[0])) if part)
            parts.append(f"**{head}**\n\n{_TABLES[suite](results, rows)}")
    held = goals(results)
    if held:
        parts.append("**Goals**\n\n" + table(("what", "goal", "measured", "holds"), held))
    return "\n\n".join(parts)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)


def _size(row: Row) -> str:
    photos = f"{row.photos:,} photos" if row.photos else ""
    epochs = f"{row.epochs} epoch{'s' if row.epochs > 1 else ''}" if row.epochs else ""
    return ", ".join(part for part in (photos, epochs) if part)


def _training(results: Results, rows: list[Row]) -> str:
    """Whole processes side by side; only columns that someone has a figure in."""
    rows = sorted(rows, key=lambda row: _ORDER.index(row.side.split("-")[0]))
    columns: dict[str, Callable[[Row], str]] = {
        "": lambda row: row.label if not row.note else f"{row.label}: {row.note}",
        "whole process": lambda row: spread(row.seconds) if not row.note else GAP,
        "tutorial ÷ this": lambda row: times(faster(results, row, "tutorial")),
        "fastai ÷ this": lambda row: times(faster(results, row, "fastai")),
        "this ÷ floor": lambda row: times(over_floor(results, row), digits=2),
        "one more epoch": lambda row: duration(epoch_seconds(results, row)),
        "peak memory": _memory,
        "best val accuracy": _accuracy,
    }
    cells = {name: [show(row) for row in rows] for name, show in columns.items()}
    kept = [name for name, column in cells.items() if any(cell != GAP for cell in column)]
    return table(kept, [[cells[name][number] for name in kept] for number in range(len(rows))])


def _memory(row: Row) -> str:
    """Shared pages counted once; in brackets the plain sum over processes where it differs."""
    if row.note or not row.memory_bytes:
        return GAP
    more = f" ({megabytes(row.memory_bytes)})" if row.memory_bytes > 1.05 * row.shared_once_bytes else ""
    return megabytes(row.shared_once_bytes) + more


def _accuracy(row: Row) -> str:
    value = row.said.get("val_accuracy")
    return GAP if row.note or value is None else f"{100 * value:.1f} %"


def _startup(results: Results, rows: list[Row]) -> str:
    bare = results.find("startup", "", "bare")
    lines = []
    for row in rows:
        seconds = row.median_seconds
        ratio = seconds / bare.median_seconds if seconds and bare and bare.median_seconds else None
        ratio = None if row.side == "help" else ratio
        idle = row.said.get("idle_bytes")
        first = spread(row.seconds) if seconds else row.note
        lines.append([row.label, first, times(ratio, digits=2), megabytes(idle) if idle else GAP])
    return table(("", "first answer", "this ÷ bare page", "idle memory"), lines)


def _percentiles(results: Results, rows: list[Row]) -> str:
    head = ("", "p50", "p95", "calls")
    lines = []
    for row in rows:
        figures = [duration(row.said.get(name)) for name in ("p50", "p95")]
        lines.append(
            [row.label + (f": {row.note}" if row.note else ""), *figures, str(row.said.get("calls", GAP))]
        )
    return table(head, lines)


def _big(results: Results, rows: list[Row]) -> str:
    lines = []
    for row in rows:
        cache = row.said.get("cache_bytes")
        remark = row.note or row.said.get("remark", "")
        cells = [duration(row.median_seconds), _memory(row), megabytes(cache) if cache else GAP, remark]
        lines.append([row.label, *cells])
    return table(("", "whole process", "peak memory", "cache on disk", ""), lines)


_TABLES: dict[str, Callable[[Results, list[Row]], str]] = {
    "head": _training,
    "partial": _training,
    "full": _training,
    "startup": _startup,
    "predict": _percentiles,
    "latency": _percentiles,
    "big": _big,
}
