"""Results: one row per side, saved after each measurement, joined from several files when asked to."""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks.measure import Measured

_FORMAT = 1
Key = tuple[str, str, str]  # suite, group, side


@dataclass
class Row:
    """What was measured of one side; a second measurement of the same side joins the first.

    Attributes:
        suite: ``head``, ``partial``, …
        group: What is compared within itself: a backbone, or empty.
        side: Short name that ratios are looked up by.
        label: For people.
        photos: In all, both splits.
        epochs: Of the comparison; a side may have been given others, and its label then says so.
        seconds: Of each whole process.
        cpu_seconds: Of each, over all cores.
        memory_bytes: Highest sum of resident memory over the process tree.
        shared_once_bytes: The same with shared pages counted once.
        said: What the program itself reported last.
        note: Why there is no figure; empty when there is.
    """

    suite: str
    group: str
    side: str
    label: str
    photos: int = 0
    epochs: int = 0
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    memory_bytes: int = 0
    shared_once_bytes: int = 0
    said: dict[str, Any] = field(default_factory=dict)
    note: str = ""

    @property
    def key(self) -> Key:
        return self.suite, self.group, self.side

    @property
    def median_seconds(self) -> float | None:
        """None when there is no figure."""
        return statistics.median(self.seconds) if self.seconds and not self.note else None

    def take(self, measured: Measured) -> None:
        """Adds a measurement; a failed one makes the row a note."""
        self.seconds.append(measured.seconds)
        self.cpu_seconds.append(measured.cpu_seconds)
        self.memory_bytes = max(self.memory_bytes, measured.memory_bytes)
        self.shared_once_bytes = max(self.shared_once_bytes, measured.shared_once_bytes)
        self.said = measured.said
        self.note = self.note or (f"failed, {measured.error}" if measured.error else "")


class Results:
    """All rows of one report.

    Args:
        machine: From :func:`tests.benchmarks.machine.describe`.
        path: Where to save after each change; None keeps them in memory.
    """

    def __init__(self, machine: dict[str, Any], path: Path | None = None) -> None:
        self.machine = machine
        self.commands: list[str] = []
        self.warnings: list[str] = []
        self.rows: dict[Key, Row] = {}
        self._path = path

    def begin(self, row: Row) -> Row:
        """A new row, in place of what an earlier file said of the same side."""
        self.rows.pop(row.key, None)
        self.rows[row.key] = row
        return row

    def find(self, suite: str, group: str, side: str) -> Row | None:
        """A row that has a figure."""
        row = self.rows.get((suite, group, side))
        return row if row is not None and not row.note else None

    def groups(self, suite: str) -> list[str]:
        """The groups of a suite, in the order they were measured."""
        return list(dict.fromkeys(row.group for row in self.rows.values() if row.suite == suite))

    def of(self, suite: str, group: str) -> list[Row]:
        """The rows of one group, in the order they were measured."""
        return [row for row in self.rows.values() if (row.suite, row.group) == (suite, group)]

    def save(self) -> None:
        """Writes everything, when a file was named."""
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            part = self._path.with_name(f"{self._path.name}.part")
            part.write_text(json.dumps(self.as_json(), indent=1))
            os.replace(part, self._path)

    def as_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "format": _FORMAT,
            "machine": self.machine,
            "commands": self.commands,
            "warnings": self.warnings,
            "rows": [dataclasses.asdict(row) for row in self.rows.values()],
        }

    def merge(self, path: Path) -> None:
        """Takes in the rows of an earlier file; a side measured in both keeps the later one's.

        Raises:
            ValueError: It was measured on another machine or on another number of photos or epochs.
        """
        other = json.loads(path.read_text())
        if other.get("format") != _FORMAT:
            raise ValueError(f"{path.name} is no result of these benchmarks.")
        for name in ("processor", "cores", "memory_gib", "python"):
            if other["machine"][name] != self.machine[name]:
                raise ValueError(f"{path.name} was measured on another machine: {name} differs.")
        for values in other["rows"]:
            self._take_in(Row(**values), path.name)
        self.commands += other["commands"]
        self.warnings += [warning for warning in other["warnings"] if warning not in self.warnings]
        self.machine["versions"] = {**other["machine"]["versions"], **self.machine["versions"]}

    def _take_in(self, row: Row, name: str) -> None:
        for mine in self.of(row.suite, row.group):
            if (mine.photos, mine.epochs) != (row.photos, row.epochs):
                raise ValueError(f"{name} has other photos or epochs in {row.suite}, {row.group}.")
        self.begin(row)


def read(paths: list[Path]) -> Results:
    """Results joined from files.

    Raises:
        ValueError: They do not go together.
    """
    results = Results(json.loads(paths[0].read_text())["machine"])
    for path in paths:
        results.merge(path)
    return results
