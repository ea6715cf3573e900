"""From a run to its exports: each is written under another name, loaded back, checked, and only then put in place.

Knows nothing of how results are shown.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
import uuid
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from tl_app.engine.background import with_progress
from tl_app.errors import ExportError, ResourceError, UserError
from tl_app.events import Event, Notice
from tl_app.export.check import Check, checked, size_of
from tl_app.export.formats import Format, chosen
from tl_app.export.kept import FOLDER, ExportResult, forget_export, keep_export
from tl_app.export.original import Original, Report, original_of
from tl_app.runs import RunInfo

_REFUSED = " refused"  # behind a format's name, the key of why there is none


def export_run(
    info: RunInfo,
    formats: Sequence[str],
    *,
    out: Path | None = None,
    unchecked: bool = False,
    device: str = "cpu",
) -> Generator[Event, None, list[ExportResult]]:
    """Exports a run's best model and checks every export on the run's own validation photos.

    A format that fails stops no other one; the first failure is raised in the end.

    Args:
        info: The run.
        formats: Names of :data:`tl_app.export.formats.FORMATS`, or ``all``.
        out: Another folder to put copies into; None for the run's ``exports`` alone.
        unchecked: Whether exports may be kept when the validation photos are gone.
        device: Where the run itself is asked.

    Yields:
        Progress, and what to know.

    Returns:
        A row per format.

    Raises:
        UsageError: There is no such format, or the run has no model yet.
        ExportError: An export does not answer as the run does, or cannot be checked; no file of it was kept.
        ResourceError: A file cannot be written.
    """
    rows = chosen(formats)
    original = yield from with_progress(
        "asking the run", "photos", lambda report: original_of(info, device, report)
    )
    if original.answers is None and not unchecked:
        raise ExportError(
            f"The validation photos of run '{info.name}' are gone, so no export of it can be checked.",
            remedy="Put the photos back where they were, or ask for unchecked exports (--unchecked).",
        )
    folder = _folder(info.path / FOLDER)
    results: list[ExportResult] = []
    failures: list[UserError] = []
    for row in rows:
        try:
            results.append((yield from _export(original, row, folder)))
        except UserError as error:
            failures.append(error)
            yield Notice(str(error), "warning")
    if out is not None:
        results = [_copied(each, _folder(out.expanduser())) for each in results]
    if failures:
        raise failures[0]
    return results


def _export(original: Original, row: Format, folder: Path) -> Generator[Event, None, ExportResult]:
    """One format: written, checked, put in place, and noted."""
    temporary = folder / f".{uuid.uuid4().hex}.tmp" / row.file  # names keep their endings
    result = ExportResult(row.name, row.label, "", original.model, _now())
    try:
        temporary.parent.mkdir()
        note = yield from with_progress(
            f"writing {row.label}", "", lambda report: row.write(original, temporary)
        )
        check = None
        if original.answers is not None:
            check = yield from with_progress(
                f"checking {row.label}", "photos", lambda report: _check(original, row, temporary, report)
            )
        result = dataclasses.replace(
            result, file=str(folder / row.file), size_bytes=size_of(temporary), note=note, **_figures(check)
        )
        _put(temporary, folder / row.file)
        keep_export(folder, row.name, result)
        forget_export(folder, row.name + _REFUSED)
    except OSError as error:
        raise ResourceError(
            f"{row.label} of run '{original.info.name}' could not be written: {error.strerror or error}.",
            remedy="Free some space, or make the run's folder writable.",
        ) from error
    except UserError as error:
        keep_export(folder, row.name + _REFUSED, dataclasses.replace(result, passed=False, error=str(error)))
        raise
    finally:
        shutil.rmtree(temporary.parent, ignore_errors=True)
    return result


def _check(original: Original, row: Format, path: Path, report: Report) -> Check:
    return checked(original, row.answers(path, original), exact=row.exact, label=row.label, report=report)


def _figures(check: Check | None) -> dict[str, Any]:
    return {} if check is None else {**dataclasses.asdict(check), "passed": True}


def _put(made: Path, place: Path) -> None:
    """Puts a file or a folder into its place, where an older one may be."""
    if not place.is_dir():
        os.replace(made, place)
        return
    old = made.parent / "old"  # no rename replaces a folder that is not empty
    os.rename(place, old)
    try:
        os.rename(made, place)
    except OSError:
        os.rename(old, place)
        raise


def _copied(result: ExportResult, folder: Path) -> ExportResult:
    source, target = Path(result.file), folder / Path(result.file).name
    try:
        if source.resolve() == target.resolve():
            return result
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, target)
    except OSError as error:
        raise ResourceError(f"{target} could not be written: {error.strerror or error}.") from error
    return dataclasses.replace(result, file=str(target))


def _folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(f"The folder {path} cannot be made: {error.strerror or error}.") from error
    return path


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
