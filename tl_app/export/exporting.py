"""From a run to its exports: each is written under another name, loaded back, checked, and only then put in place.

Knows nothing of how results are shown.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import time
import traceback
import uuid
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from tl_app import words
from tl_app.engine.background import with_progress
from tl_app.errors import ExportError, Interrupted, ResourceError, UsageError, UserError
from tl_app.events import Event, Notice
from tl_app.export.check import MOST_CHANGED, Check, checked, size_of
from tl_app.export.described import is_text
from tl_app.export.formats import Format, chosen
from tl_app.export.kept import FOLDER, ExportResult, forget_export, keep_export
from tl_app.export.original import Original, Report, original_of
from tl_app.runs import RunInfo

_STALE_SECONDS = 24 * 3600
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

    A format that is refused, or cannot be made, stops no other one but those that are made from it.

    Args:
        info: The run.
        formats: Names of :data:`tl_app.export.formats.FORMATS`, or ``all``.
        out: Another folder to put copies into; None for the run's ``exports`` alone.
        unchecked: Whether exports may be kept when the validation photos are gone.
        device: Where the run itself is asked.

    Yields:
        Progress, and what to know.

    Returns:
        A row per format; ``error`` says why there is no file of it, where there is none.

    Raises:
        UsageError: There is no such format, or the run has no model yet.
        ExportError: The photos are gone, so that nothing can be checked.
        ResourceError: The folder of exports, or that for copies, cannot be written.
    """
    rows = chosen(formats)
    _check_names(info)
    original = yield from with_progress(
        "asking the run", "photos", lambda report: original_of(info, device, report)
    )
    if original.answers is None and not unchecked:
        raise ExportError(
            f"The validation photos of run '{info.name}' are gone, so no export of it can be checked.",
            remedy="Put the photos back where they were, or ask for unchecked exports (--unchecked).",
        )
    folder = _folder(info.path / FOLDER)
    _remove_leftovers(folder)
    results: list[ExportResult] = []
    for row in rows:
        result = ExportResult(row.name, row.label, "", original.model, _now())
        refused = {each.format for each in results if each.error}
        try:
            if missing := refused.intersection(row.needs):
                raise ExportError(f"{row.label} is made from {missing.pop()}, which could not be made.")
            result = yield from _export(original, row, folder, result)
        except Interrupted:
            raise
        except UserError as error:
            result = dataclasses.replace(result, passed=False, error=str(error))
            _note(folder, row.name + _REFUSED, result)
            yield Notice(str(error), "warning")
        results.append(result)
    if out is not None:
        place = _folder(out.expanduser())
        results = [each if each.error else _copied(each, place) for each in results]
    return results


def _check_names(info: RunInfo) -> None:
    odd = next((label for label in info.classes if not is_text(label)), None)
    if odd is not None:
        raise UsageError(
            f"The class {odd!r} has characters in its name that steer the text around it, or that are no text.",
            "No export would be opened again with such a name.",
            "Rename its folder and train again.",
        )


def _export(
    original: Original, row: Format, folder: Path, result: ExportResult
) -> Generator[Event, None, ExportResult]:
    """One format: written, checked, put in place, and noted.

    Raises:
        UserError: It cannot be made, or does not answer as it should; no file of it was kept.
    """
    temporary = folder / f".{uuid.uuid4().hex}.tmp" / row.file  # names keep their endings
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
            result, file=str(folder / row.file), size_bytes=size_of(temporary), **_figures(check, note)
        )
        _put(temporary, folder / row.file)
        keep_export(folder, row.name, result)
        forget_export(folder, row.name + _REFUSED)
    except OSError as error:
        raise ResourceError(
            f"{row.label} of run '{original.info.name}' could not be written: {error.strerror or error}.",
            remedy="Free some space, or make the run's folder writable.",
        ) from error
    except (UserError, Interrupted):
        raise
    except (
        Exception
    ) as error:  # of an exporter or a runtime, which know more kinds of errors than can be named
        traceback.print_exc()
        raise ExportError(
            f"{row.label} of run '{original.info.name}' could not be made: {type(error).__name__}: {error}"[
                :500
            ],
            remedy="Please report this with the backbone's name; another format may do.",
        ) from error
    finally:
        shutil.rmtree(temporary.parent, ignore_errors=True)
    return result


def _check(original: Original, row: Format, path: Path, report: Report) -> Check:
    return checked(original, row.answers(path, original), within=row.within, label=row.label, report=report)


def _figures(check: Check | None, note: str) -> dict[str, Any]:
    """What a check has found; what it leaves open joins the note."""
    if check is None:
        return {"note": note}
    said, changed = [note], check.photos - check.same
    if changed > MOST_CHANGED * check.photos:
        said.append(f"{changed} of {check.photos} answers are others than the run's")
    if check.missing:
        said.append(f"{words.plural(check.missing, 'validation photo')} could not be read")
    figures = {name: value for name, value in dataclasses.asdict(check).items() if name != "missing"}
    return {**figures, "passed": True, "note": "; ".join(filter(None, said))}


def _note(folder: Path, key: str, result: ExportResult) -> None:
    """Keeps a row in the table; where that cannot be written, what is returned says the same."""
    with contextlib.suppress(OSError):
        keep_export(folder, key, result)


def _remove_leftovers(folder: Path) -> None:
    """What processes that were killed while they exported left behind, once nobody can be writing there any more."""
    for path in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


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
