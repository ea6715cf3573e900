"""The bundle and the page as formats: made of a run's ONNX export, and asked through the network that they carry."""

from __future__ import annotations

from pathlib import Path

from tl_app.export.bundle import write_bundle
from tl_app.export.check import Ask
from tl_app.export.kept import FOLDER
from tl_app.export.onnx_files import onnx_answers
from tl_app.export.original import Original
from tl_app.export.page import carried_network, write_page

_MODEL = "model.onnx"


def bundle_of(original: Original, path: Path) -> str:
    """Writes the bundle of a run whose ONNX export is there; returns how it is run."""
    write_bundle(original.info.path / FOLDER / _MODEL, path)
    return "python app.py, with gradio and onnxruntime alone"


def bundle_answers(path: Path, original: Original | None = None) -> Ask:
    """Asks the network in a bundle."""
    return onnx_answers(path / _MODEL)


def page_of(original: Original, path: Path) -> str:
    """Writes the page of a run whose ONNX export is there; returns how it is used."""
    write_page(original.info.path / FOLDER / _MODEL, path)
    return "open it in a browser; it needs no network"


def page_answers(path: Path, original: Original | None = None) -> Ask:
    """Asks the network in a page, in ONNX Runtime on this machine; a browser's own is not asked."""
    return onnx_answers(carried_network(path))
