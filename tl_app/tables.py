"""What all tables in a terminal share: where they go, and how they look. Knows nothing of what is in them."""

from __future__ import annotations

import os
import sys

from rich.console import Console
from rich.table import Table


def console() -> Console:
    """Standard output; where that is a file or another program, nobody gains from lines of 80 columns."""
    narrow = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(highlight=False, width=None if narrow else 160)


def table(*columns: str) -> Table:
    """A table without lines; columns of numbers are aligned to the right."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    numbers = {
        "photos",
        "right",
        "train",
        "val",
        "test",
        "parameters",
        "GFLOPs",
        "top-1",
        "accuracy",
        "confidence",
        "entries",
        "size",
        "precision",
        "recall",
        "F1",
        "times",
        "fold",
    }
    for column in columns:
        made.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    return made


def show_left_out(to: Console, rows: list[tuple[str, str]]) -> None:
    """Each file that could not be used, with its reason."""
    if rows:
        to.print(f"[yellow]{len(rows)} {'file is' if len(rows) == 1 else 'files are'} left out:[/]")
        for path, reason in rows:
            to.print(f"  {path}: {reason}", soft_wrap=True, markup=False)
