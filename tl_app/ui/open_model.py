"""Open a model: a place to drop an export, what is said of it, and its settings for a new training.

Part of the Try it tab, which then classifies with it. Knows what reading exports gives, not how they are read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import gradio as gr

from tl_app.errors import UsageError
from tl_app.presets import Preset
from tl_app.references import RUN_PREFIX
from tl_app.ui import markup, preset_bar, theme
from tl_app.ui.blocks import html
from tl_app.ui.toasts import toasts
from tl_app.ui.workspace import Workspace

if TYPE_CHECKING:
    from tl_app.export.reading import ReadExport

TITLES = {
    "tl-open-use": "Fills the form of the Train tab as this model was trained; photos and device stay as they are."
}
MOST_FILES = 200
MOST_BYTES = 2 * 2**30
_DEEPEST = 6  # folders in folders
_KINDS = {
    "run": "A run's folder",
    "onnx": "An ONNX file",
    "bundle": "A bundle",
    "safetensors": "A safetensors export",
}
_NO_MAPS = "It looks at each photo once and cannot say why: there are no maps, and no average over views."


@dataclass(frozen=True)
class OpenModel:
    """The components; the Try it tab and the page as a whole wire them."""

    drop: gr.HTML
    about: gr.HTML
    use: gr.Button
    key: gr.State


def lay_out() -> OpenModel:
    """Lays the place out."""
    with gr.Accordion("Open a model", open=False, elem_id="tl-open"):
        drop = gr.HTML(
            label="Open a model",
            html_template=theme.asset("model.html").strip(),
            js_on_load=theme.script("model"),
            apply_default_css=False,
            elem_id="tl-open-drop",
        )
        about = html(elem_id="tl-open-about")
        use = gr.Button(
            "Use its settings for a new training", size="sm", visible=False, elem_id="tl-open-use"
        )
    return OpenModel(drop, about, use, gr.State(None))


def opened(work: Workspace, data: Any) -> tuple[str, ReadExport]:
    """Reads what was dropped; returns its key among the opened models, and what it is.

    Raises:
        UserError: It did not arrive, or is no model that may be opened.
    """
    with _gathered(data) as path:
        return work.opened.open(path)


def shown(key: str, found: ReadExport) -> tuple[Any, ...]:
    """What the card, the button and the key say of an opened model."""
    return about(found), gr.update(visible=found.settings is not None), key


def about(found: ReadExport) -> str:
    """The card of an opened model."""
    classes = ", ".join(found.classes[:8]) + (", …" if len(found.classes) > 8 else "")
    facts = [(_KINDS[found.kind], found.name), (f"{len(found.classes)} classes", classes)]
    figures = f'<p class="tl-fine">{markup.text(found.figures)}</p>' if found.figures else ""
    limits = f'<p class="tl-fine">{_NO_MAPS}</p>' if found.predictor.views == 1 else ""
    unread = markup.message(found.unread, "info") if found.unread else ""
    return f'<div class="tl-card tl-tight">{markup.facts(facts)}{figures}{limits}{unread}</div>'


def bind(parts: OpenModel, work: Workspace, source: gr.State, form: list[Any]) -> Any:
    """Wires the button that fills the form; returns the event, for what comes after it.

    Args:
        parts: From :func:`lay_out`.
        work: The app's memory.
        source: Names the photos chosen on the Data tab.
        form: ``Settings.all``.
    """

    def filled(key: str | None, photos: str) -> tuple[Any, ...]:
        return fill(work, key, photos)

    return parts.use.click(filled, [parts.key, source], form, show_progress="hidden")


@toasts
def fill(work: Workspace, key: str | None, source: str) -> tuple[Any, ...]:
    """The form as the opened model was trained: outputs of ``Settings.all``.

    Weights of a run that is not here become the recommended ones.

    Raises:
        UserError: The model is not open any more, or its settings do not fit this machine.
    """
    preset = work.opened.get(key).settings
    if preset is None:
        raise UsageError("This model does not say how it was trained.")
    try:
        return preset_bar.filled(work, preset, source)
    except UsageError:
        here = _without_runs(preset)
        if here == preset:
            raise
        outputs = preset_bar.filled(work, here, source)
    gr.Info(
        "The model began as a run that is not here: the form begins with the recommended weights instead."
    )
    return outputs


def _without_runs(preset: Preset) -> Preset:
    kept = {
        name: value
        for name, value in preset.settings.items()
        if not (isinstance(value, str) and value.startswith(RUN_PREFIX))
    }
    return dataclasses.replace(preset, settings=kept)


@contextlib.contextmanager
def _gathered(data: Any) -> Iterator[Path]:
    """The uploaded file, or a folder made of uploaded files under the names they had; gone afterwards.

    Raises:
        UsageError: What came is no list of uploads, or holds names that lead out of a folder.
    """
    folder = Path(os.environ["GRADIO_TEMP_DIR"]).resolve()
    files = [_checked(entry, folder) for entry in _entries(data)]
    if sum(path.stat().st_size for path, _ in files) > MOST_BYTES:
        raise UsageError("This is too large for a model.", f"Allowed: {MOST_BYTES // 2**30} GB.")
    if len(files) == 1 and len(files[0][1].parts) == 1:
        yield files[0][0]
        return
    made = folder / "opened" / uuid.uuid4().hex
    try:
        for path, name in files:
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, made / name)
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _entries(data: Any) -> list[dict[str, Any]]:
    entries = data.get("files", []) if isinstance(data, dict) else []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries) or not entries:
        raise UsageError("The model did not arrive.", remedy="Drop it again.")
    if len(entries) > MOST_FILES:
        raise UsageError(
            f"These are {len(entries)} files.",
            f"A model has up to {MOST_FILES}.",
            "Drop the model's own folder, or a zip of it.",
        )
    return entries


def _checked(entry: dict[str, Any], folder: Path) -> tuple[Path, PurePosixPath]:
    """An upload inside gradio's own folder, and its name in the model's."""
    path, text = Path(str(entry.get("path", ""))).resolve(), str(entry.get("name", ""))
    if not path.is_relative_to(folder) or not path.is_file():
        raise UsageError("The model did not arrive.", remedy="Drop it again.")
    name = PurePosixPath(text)
    odd = not name.parts or name.is_absolute() or ".." in name.parts or len(name.parts) > _DEEPEST
    if odd or len(text) > 500 or not text.isprintable() or any(sign in text for sign in "\\:"):
        raise UsageError(f"'{text[:80]}' is no name of a file in a model's folder.")
    return path, name
