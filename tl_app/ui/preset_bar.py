"""Presets on the Train tab: choose one that ships, load a file, save the form as one.

Knows the form as a whole, no field of it by name but the photos and the device, which no preset holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from tl_app import loading, presets
from tl_app.presets import Preset
from tl_app.references import located
from tl_app.ui import downloads, form, markup, settings, theme
from tl_app.ui.blocks import html
from tl_app.ui.settings import Settings
from tl_app.ui.toasts import toasts
from tl_app.ui.workspace import Workspace

TITLES = {
    "tl-load-preset": "Fills the form from a YAML file that was saved here or on another machine.",
    "tl-save-preset": "Saves the settings as they are now as a YAML file, without the photos.",
    "tl-preset-file": "The file that was just made.",
}


@dataclass(frozen=True)
class PresetBar:
    """The components; :func:`bind` wires them to the form."""

    choice: gr.Dropdown
    note: gr.HTML
    load: gr.UploadButton
    save: gr.Button
    file: gr.DownloadButton


def build() -> PresetBar:
    """Lays the bar out."""
    choice = gr.Dropdown(
        [(preset.name, key) for key, preset in presets.shipped().items()],
        value=None,
        label="Preset",
        info="Fills the form with a recipe and all its settings; change what you like afterwards.",
        elem_id="tl-preset",
    )
    note = html(elem_id="tl-preset-note")
    with gr.Row(elem_classes=["tl-buttons"]):
        load = gr.UploadButton(
            "Load a file", file_types=[".yaml", ".yml"], size="sm", elem_id="tl-load-preset", min_width=120
        )
        save = gr.Button("Save these settings", size="sm", elem_id="tl-save-preset", min_width=160)
    file = gr.DownloadButton("Preset", visible="hidden", elem_id="tl-preset-file")
    return PresetBar(choice, note, load, save, file)


def bind(bar: PresetBar, work: Workspace, source: gr.State, chosen: Settings) -> None:
    """Wires the bar to the form.

    Args:
        bar: From :func:`build`.
        work: The app's memory.
        source: Names the photos chosen on the Data tab.
        chosen: The form.
    """
    acts, quiet = _Acts(work), {"show_progress": "hidden"}
    shown = [bar.choice, bar.note, *chosen.all]
    bar.choice.input(acts.choose, [bar.choice, source], shown, **quiet)
    bar.load.upload(acts.load, [bar.load, source], shown, **quiet)
    made = bar.save.click(acts.save, chosen.run_name, bar.file, inputs_kwargs=chosen.form, **quiet)
    made.success(None, js=theme.script("download"))


@dataclass(frozen=True)
class _Acts:
    """The bar's event handlers."""

    work: Workspace

    @toasts
    def choose(self, key: str | None, source: str) -> tuple[Any, ...]:
        """Fills the form from one that ships."""
        if not key:
            return (gr.skip(), "", *[gr.skip()] * len(settings.PARTS))
        return self._filled(key, presets.load(key), source)

    @toasts
    def load(self, file: str, source: str) -> tuple[Any, ...]:
        """Fills the form from a file; what is wrong with it is said under the name it had."""
        path = Path(file)
        return self._filled(None, presets.read(path, path.name), source)

    @toasts
    def save(self, run_name: str | None, **values: Any) -> Any:
        """Makes the file that the browser then downloads."""
        preset = presets.of_config(form.read(values), (run_name or "").strip())
        file = downloads.made("presets", f"{preset.name}.yaml", presets.to_yaml(preset))
        return gr.update(value=file)

    def _filled(self, key: str | None, preset: Preset, source: str) -> tuple[Any, ...]:
        return key, _note(preset), *filled(self.work, preset, source)


def filled(work: Workspace, preset: Preset, source: str) -> tuple[Any, ...]:
    """The form with a preset's settings: outputs of ``Settings.all``. Photos and device stay as they are.

    Raises:
        UserError: A run that they name is not here, or they do not fit together.
    """
    loading.wait()
    config = located(work.checked(preset.config(data=source)), work.runs_dir)
    index = work.dataset(source) or work.last_dataset()
    classes = len(index.classes) if index is not None else 2
    return settings.filled(config, classes, work.runs_dir, keep=presets.LEFT_OUT)


def _note(preset: Preset) -> str:
    said = preset.description or "The form below is filled from the file."
    return f'<p class="tl-fine"><b>{markup.text(preset.name)}.</b> {markup.text(said)}</p>'
