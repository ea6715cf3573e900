"""The public Python API for taking a run out of the app: exports, sending them to the Hub, reading them back.

Imports torch only inside functions. Knows nothing of how results are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tl_app import resources, runs
from tl_app.errors import ExportError, UsageError
from tl_app.events import Event

if TYPE_CHECKING:
    from tl_app.export.hub import Pushed
    from tl_app.export.kept import ExportResult
    from tl_app.export.reading import ReadExport


def export_run(
    run: str | Path,
    to: str | Sequence[str] = "onnx",
    *,
    out: str | Path | None = None,
    unchecked: bool = False,
    strict: bool = True,
    device: str = "cpu",
    runs_dir: str | Path | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> list[ExportResult]:
    """Exports a run's best model, and checks every export on the run's own validation photos.

    Each export is loaded back from its file and asked every photo: it has to give the run's answers (those with fewer
    bits: its accuracy within a point). One that does not is an error and leaves no file.

    Args:
        run: Its name in ``runs_dir``, or its path.
        to: A format or several: ``onnx``, …, or ``all``; :func:`list_formats` has them.
        out: A folder for copies; exports always lie in the run's own ``exports`` folder.
        unchecked: Whether to export a run whose validation photos are gone, so that nothing can be checked.
        strict: Whether the first export that was refused is raised once the others are made; else its row says why.
        device: Where the run itself is asked; exports are asked on the CPU.
        runs_dir: None for the user's own folder.
        on_event: Called with progress and notices.

    Returns:
        A row per format, with its file, size, differences, accuracy and speed.

    Raises:
        UserError: There is no such run or format, an export does not answer as the run does, or nothing can be checked.
    """
    from tl_app.engine.background import to_the_end
    from tl_app.export.exporting import export_run as steps

    info = runs.open_run(run, resources.runs_dir(runs_dir))
    formats = [to] if isinstance(to, str) else list(to)
    folder = Path(out) if out is not None else None
    rows = to_the_end(steps(info, formats, out=folder, unchecked=unchecked, device=device), on_event)
    refused = next((row.error for row in rows if row.error), "")
    if strict and refused:
        raise ExportError(refused)
    return rows


def list_exports(run: str | Path, *, runs_dir: str | Path | None = None) -> list[ExportResult]:
    """What was exported of a run, with the outcome of each check; ``stale`` where the run has a better model by now.

    Raises:
        UserError: There is no such run.
    """
    from tl_app.export.kept import read_exports

    return read_exports(runs.open_run(run, resources.runs_dir(runs_dir)))


def list_formats() -> dict[str, str]:
    """What a run can be exported to, by name, with what each is for."""
    from tl_app.export.formats import FORMATS

    return {each.name: each.purpose for each in FORMATS}


def push(
    run: str | Path,
    *,
    to_model: str | None = None,
    to_space: str | None = None,
    private: bool = False,
    token: str | None = None,
    endpoint: str | None = None,
    runs_dir: str | Path | None = None,
) -> Pushed:
    """Sends a run's exports to the Hugging Face Hub, as a model or as a Space. They are made before, with an export.

    Args:
        run: Its name in ``runs_dir``, or its path.
        to_model: ``USER/NAME`` of a model, made of the safetensors export, and the ONNX file where there is one.
        to_space: ``USER/NAME`` of a Space, made of the bundle.
        private: Whether it is for its owner alone; a repository that is public already is then refused.
        token: For this once, with write access; None for that of ``hf auth login`` or ``HF_TOKEN``. It is not kept.
        endpoint: Of another Hub; None for the usual one.
        runs_dir: None for the user's own folder.

    Raises:
        UserError: There is no such run or export, the export is of an earlier model, the Hub refuses the token, or it
            cannot be reached.
    """
    from tl_app.export import hub

    if (to_model is None) == (to_space is None):
        raise UsageError("It is not said where to send it.", "Wanted is a model or a Space, one of them.")
    info = runs.open_run(run, resources.runs_dir(runs_dir))
    kind = hub.MODEL if to_model is not None else hub.SPACE
    where = to_model or to_space or ""
    return hub.push_run(info, kind, where, private=private, token=token, endpoint=endpoint)


def read_export(path: str | Path, *, device: str = "auto") -> ReadExport:
    """Reads a model back: its classes, its settings for a new training, and a predictor.

    Args:
        path: Of an ONNX file that tl-app exported, of an exported folder or a run's, or of a zip of one. It may come
            from anyone: nothing in it is run, and weights are safetensors or ONNX.
        device: Where to compute; ONNX files are computed on the CPU.

    Raises:
        UserError: It is none of those, or is not to be opened; the message says why.
    """
    from tl_app.export import reading

    return reading.read_export(path, device)
