"""The public Python API for asking a model: a run, a pretrained network as it is, or an export read back.

Imports torch only inside functions. Knows nothing of how answers are shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tl_app import resources, runs
from tl_app.errors import UsageError
from tl_app.references import BACKBONE_PREFIX

if TYPE_CHECKING:
    from tl_app.export.answering import OnnxPredictor
    from tl_app.predictor import Prediction, Predictor


def predict(
    run: str | Path,
    photos: str | Path | Iterable[str | Path],
    *,
    top: int = 5,
    tta: bool = False,
    device: str = "auto",
    runs_dir: str | Path | None = None,
) -> list[Prediction]:
    """Classifies photos with a run's best model.

    Args:
        run: A run's name or path, ``backbone:NAME`` (``backbone:NAME:WEIGHTS``) for a pretrained network, or the path
            of an export: an ONNX file, an exported folder, or a zip of one.
        photos: A file, or several; a folder stands for the photos in it.
        top: How many classes to name per photo.
        tta: Whether to average over several views of each photo (test-time augmentation), about six times as slow.
        device: Where to compute.
        runs_dir: None for the user's own folder.

    Returns:
        One prediction per photo, with ``error`` set where it could not be read.

    Raises:
        UserError: There is no such run, or it has no model yet.
    """
    from tl_app.data.sources import photo_files

    loaded = _loaded(run, device, runs_dir)
    return loaded.predict(photo_files(photos), top=top, average=tta)


def load_predictor(run: str | Path, *, device: str = "auto", runs_dir: str | Path | None = None) -> Predictor:
    """A run's best model, or a pretrained network, ready for many calls; arguments as for :func:`predict`.

    Raises:
        UserError: There is no such run, it has no model yet, or it is an ONNX file.
    """
    from tl_app.predictor import Predictor

    loaded = _loaded(run, device, runs_dir)
    if not isinstance(loaded, Predictor):
        raise UsageError(
            f"{run} is an exported ONNX file: its answers cannot be explained or averaged.",
            "It classifies photos, with `tl-app predict` and `tl_app.predict`.",
            "Name the run itself, or its safetensors export.",
        )
    return loaded


def _loaded(run: str | Path, device: str, runs_dir: str | Path | None) -> Predictor | OnnxPredictor:
    from tl_app import predictor
    from tl_app.export.reading import is_export, read_export

    if str(run).startswith(BACKBONE_PREFIX):
        backbone, _, weights = str(run).removeprefix(BACKBONE_PREFIX).partition(":")
        return predictor.load_backbone(backbone, weights or "default", device)
    folder = resources.runs_dir(runs_dir)
    if not _names_a_run(run, folder) and is_export(run):
        return read_export(run, device).predictor
    return predictor.load_run(runs.open_run(run, folder), device)


def _names_a_run(run: str | Path, folder: Path) -> bool:
    """Whether it does; a folder that was exported has a ``config.json`` too, but no checkpoints."""
    return runs.is_run(run, folder) and any(
        (path / run / "checkpoints").is_dir() for path in (folder, Path())
    )
