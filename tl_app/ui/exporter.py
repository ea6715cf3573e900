"""Exports made in the background, one run at a time. Belongs to the server; knows nothing of components."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tl_app.errors import Interrupted
from tl_app.events import Event
from tl_app.runs import RunInfo
from tl_app.ui.aside import Aside

if TYPE_CHECKING:
    from tl_app.export.kept import ExportResult


@dataclass(frozen=True)
class Wanted:
    """What is to be exported: the run, and names of formats."""

    info: RunInfo
    formats: Sequence[str]


Exporter = Aside[Wanted, "list[ExportResult]"]


def exporter() -> Exporter:
    """A place where exports are made."""
    return Aside("tl-app export", _steps, busy="An export is under way already.", patience_seconds=60.0)


def _steps(plan: Wanted, stop: Callable[[], bool]) -> Generator[Event, None, list[ExportResult]]:
    from tl_app.export.exporting import export_run

    with contextlib.closing(export_run(plan.info, plan.formats)) as work:
        while True:
            try:
                event = next(work)
            except StopIteration as end:
                found: list[ExportResult] = end.value
                return found
            if stop():  # an event comes once a second at least; closing waits for the format under way
                raise Interrupted("Exporting was stopped. What was made before is there.")
            yield event
