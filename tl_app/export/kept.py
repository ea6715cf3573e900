"""The table of a run's exports, ``exports/exports.json``: what was made, and how each did when it was checked.

Knows nothing of how they are made.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tl_app.engine import checkpoints
from tl_app.files import write_json
from tl_app.runs import RunInfo

FOLDER = "exports"
_FILE = "exports.json"
_FORMAT = 1


@dataclass(frozen=True)
class ExportResult:
    """An export of a run, or why there is none.

    Attributes:
        format: As in :data:`tl_app.export.formats.FORMATS`.
        label: Of that format, for people.
        file: Its path; empty when it failed.
        model: Which best model of the run it is a copy of.
        created: ISO date and time, in UTC.
        size_bytes: Of the file, or of all files in the folder.
        passed: Whether it was checked and answers as it should; None when it was not checked.
        photos: How many validation photos it was asked.
        same: How many of them have the same most likely class as in the run.
        max_difference: The largest difference of a probability.
        accuracy: On those photos, 0 to 1.
        run_accuracy: Of the run on the same photos.
        latency: By photos a call (``1``, ``32``): ``p50`` and ``p95`` of a call in seconds, on the CPU it was made on.
        note: How it was made, where there was a choice.
        error: Why it was refused; empty when it was not.
        stale: Whether the run has a better model by now.
    """

    format: str
    label: str
    file: str
    model: str
    created: str
    size_bytes: int = 0
    passed: bool | None = None
    photos: int = 0
    same: int = 0
    max_difference: float | None = None
    accuracy: float | None = None
    run_accuracy: float | None = None
    latency: dict[str, dict[str, float]] = field(default_factory=dict)
    note: str = ""
    error: str = ""
    stale: bool = False


def read_exports(info: RunInfo) -> list[ExportResult]:
    """What was exported of a run, and what was refused the last time, in the order of formats.

    Files that were removed since do not count.
    """
    current = checkpoints.model_id(info.path / "checkpoints")
    rows = []
    for values in _read(info.path / FOLDER / _FILE).values():
        known = {field.name for field in dataclasses.fields(ExportResult)}
        try:
            row = ExportResult(**{name: value for name, value in values.items() if name in known})
        except (TypeError, AttributeError):  # of another version, or spoilt
            continue
        path = Path(_at(info, row.file))
        if row.error or (row.file and path.name in os.listdir(path.parent) and not path.is_symlink()):
            file = _at(info, row.file) if row.file else ""
            rows.append(dataclasses.replace(row, file=file, stale=row.model != current))
    return rows


def keep_export(folder: Path, key: str, result: ExportResult) -> None:
    """Adds a row to the table, in the place of an older one.

    Args:
        folder: The run's folder of exports.
        key: Of the row: the format's name, or that of its refusal.
        result: Its file as a path; the table names it without its folder, as runs may be moved.

    Raises:
        OSError: It cannot be written.
    """
    rows = _read(folder / _FILE)
    file = Path(result.file).name if Path(result.file).parent == folder else result.file
    row = {**dataclasses.asdict(result), "file": file}
    del row["stale"]
    write_json(folder / _FILE, {"format": _FORMAT, "exports": {**rows, key: row}})


def forget_export(folder: Path, key: str) -> None:
    """Takes a row out of the table, where it has one.

    Raises:
        OSError: It cannot be written.
    """
    rows = _read(folder / _FILE)
    if rows.pop(key, None) is not None:
        write_json(folder / _FILE, {"format": _FORMAT, "exports": rows})


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text())
        return dict(values["exports"]) if values["format"] == _FORMAT else {}
    except (OSError, ValueError, KeyError, TypeError):  # none yet, or spoilt: it can be made again
        return {}


def _at(info: RunInfo, file: str) -> str:
    """Of a file beside the table, whatever the table says: it may have come with a run from elsewhere."""
    return str(info.path / FOLDER / Path(file).name)
