"""How exports look in a terminal: a table with ticks. Knows nothing of how they are made."""

from __future__ import annotations

from typing import Any

from rich.markup import escape

from tl_app import words
from tl_app.tables import console, table

_TICKS = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[yellow]not checked[/]"}


def show_exports(found: dict[str, Any]) -> None:
    """A row per format, then where the files are."""
    to, made = (
        console(),
        table("", "format", "size", "same top-1", "max Δp", "accuracy", "1 photo", "32 photos"),
    )
    for row in found["exports"]:
        made.add_row(
            _TICKS[row["passed"]],
            row["label"],
            words.size(row["size_bytes"]) if row["size_bytes"] else "–",
            f"{row['same']} of {row['photos']}" if row["photos"] else "–",
            f"{row['max_difference']:.1e}" if row["photos"] else "–",
            words.percent(row["accuracy"]),
            *(_latency(row["latency"].get(batch)) for batch in ("1", "32")),
        )
    to.print(made)
    to.print(
        "Times are p50 / p95 of a call on this machine's CPU, preprocessing included, for photos of at most 640 px.",
        style="dim",
    )
    for row in found["exports"]:
        if row["error"]:
            to.print(f"[red]✗[/] {row['label']}: {escape(row['error'])}", soft_wrap=True)
            continue
        note = f"  {row['note']}" if row["note"] else ""
        to.print(f"{escape(row['file'])}[dim]{escape(note)}[/]", soft_wrap=True)


def _latency(seconds: dict[str, float] | None) -> str:
    if seconds is None:
        return "–"
    return f"{words.milliseconds(seconds['p50'])} / {words.milliseconds(seconds['p95'])}"
