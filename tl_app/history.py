"""A run's ``history.jsonl``: every event in order, appended while it is trained and read by everyone.

Knows nothing of what else is in a run folder.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tl_app.events import EpochDone, Event, RolledBack, StepDone, from_json, to_json

NAME = "history.jsonl"


def append(history: IO[bytes], event: Event) -> None:
    """Writes one event, so that a reader in another process sees it."""
    history.write(to_json(event).encode() + b"\n")
    history.flush()


def end_torn_line(history: IO[bytes]) -> None:
    """A process killed while it wrote leaves a line without an end; the next event must not join it."""
    if history.tell():
        history.seek(-1, io.SEEK_END)
        if history.read(1) != b"\n":
            history.write(b"\n")


def read_history(path: Path) -> Iterator[Event]:
    """The events of a run in order; a line torn by a killed process is passed over."""
    try:
        with open(path / NAME, encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    yield from_json(line)
                except ValueError:
                    continue
    except FileNotFoundError:
        return


def history_csv(path: Path) -> str:
    """The curves of a run as CSV: a row per step, and one per epoch with the validation figures."""
    rows: list[StepDone | EpochDone] = []
    for event in read_history(path):
        if isinstance(event, StepDone | EpochDone):
            rows.append(event)
        elif isinstance(event, RolledBack):
            rows = [
                r
                for r in rows
                if r.step <= event.step and (isinstance(r, StepDone) or r.epoch <= event.epoch)
            ]
    columns = ["kind", "step", "epoch", "loss", "lr", "images_per_second", "seconds"]
    columns += ["train_loss", "train_accuracy", "val_loss", "val_accuracy", "is_best", "epoch_seconds"]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        kind = "step" if isinstance(row, StepDone) else "epoch"
        writer.writerow({"kind": kind, **dataclasses.asdict(row)})
    return text.getvalue()
