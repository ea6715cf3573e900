"""Which photos a run's weights have learned from, through all the runs that they come from. Imports no torch."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tl_app.data.index import DatasetIndex
from tl_app.errors import UserError
from tl_app.references import RUN_PREFIX
from tl_app.runs import RunInfo, open_run


def learned_from(info: RunInfo) -> set[str]:
    """Content hashes of all photos that a run's weights have learned from, those of the runs it began with too."""
    index = DatasetIndex.read_manifest(info.path / "manifest.csv")
    return inherited(info) | {photo.content_hash for photo in index.used("train")}


def inherited(info: RunInfo) -> set[str]:
    """Those of the runs that it began with, or that taught it, alone."""
    found: set[str] = set()
    for name in (info.config.weights, info.config.teacher):
        if name.startswith(RUN_PREFIX):
            with contextlib.suppress(UserError):  # deleted since
                source = Path(name.removeprefix(RUN_PREFIX))
                found |= learned_from(open_run(source, source.parent))
    return found
