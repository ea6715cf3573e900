"""The Python API to models that leave the app and come back: sending a run's exports to the Hub, reading exports.

Imports torch only inside functions. Knows nothing of how results are shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tl_app import resources, runs
from tl_app.errors import UsageError

if TYPE_CHECKING:
    from tl_app.export.hub import Pushed
    from tl_app.export.reading import ReadExport


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
