from __future__ import annotations

import time
import zipfile
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from tests.export.conftest import odd_photos, odd_photos_once, quick, run
from tl_app.errors import UsageError
from tl_app.export import formats, hub
from tl_app.export.hub import Pushed
from tl_app.export.kept import FOLDER, ExportResult
from tl_app.runs import RunInfo
from tl_app.ui import export_tab, form, hub_card, settings, smaller_card
from tl_app.ui.workspace import Workspace

__all__ = ["odd_photos", "odd_photos_once", "quick", "run"]  # fixtures
NAMES = ("seen", "clock", "status", "panel", "go", "stop", "table", "files", "file", "download")


@pytest.fixture
def acts(run: RunInfo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> export_tab.Acts:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "page"))
    return export_tab.Acts(Workspace(run.path.parent))


def _shown(outputs: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip(NAMES, outputs, strict=True))


def _ended(acts: export_tab.Acts, run: str) -> dict[str, Any]:
    for _ in range(600):
        if not acts.work.exporter.is_under_way:
            return _shown(acts.draw(run))
        time.sleep(0.1)
    raise AssertionError("the export did not end")


def test_a_run_is_exported_checked_and_downloaded(acts: export_tab.Acts, run: RunInfo) -> None:
    listed, offered, *before = acts.refresh(None, [])
    assert listed["value"] == run.name and offered["value"] == ["onnx"]
    assert [name for _, name in offered["choices"]] == [each.name for each in formats.FORMATS]
    assert "Nothing was exported of this run yet" in _shown(tuple(before))["status"]
    begun = _shown(acts.go(run.name, ["onnx"]))
    assert begun["clock"].active and begun["stop"]["visible"] and not begun["go"]["interactive"]
    with pytest.raises(gr.Error, match="An export is under way already"):
        acts.go(run.name, ["onnx"])
    ended = _ended(acts, run.name)
    photos = len(list((run.path / "manifest.csv").read_text().splitlines())) - 1
    assert ended["status"] == "" and "✓ answers as the run does" in ended["table"] and photos == 20
    assert ended["file"]["value"] == "onnx" and ended["files"]["visible"]
    file = Path(ended["download"]["value"])
    assert file.read_bytes() == (run.path / FOLDER / "model.onnx").read_bytes()
    assert ended["download"]["label"].startswith(f"Download {run.name}-model.onnx (")
    assert acts.tick(ended["seen"], run.name) == gr.skip() and acts.tick(-1, run.name) != gr.skip()
    assert acts.ready(run.name, "onnx")["value"] == str(file)
    with pytest.raises(gr.Error, match="That export is gone"):
        acts.ready(run.name, "torch")


def test_what_cannot_be_exported_is_said(acts: export_tab.Acts, run: RunInfo) -> None:
    with pytest.raises(gr.Error, match="No run is chosen"):
        acts.go(None, ["onnx"])
    with pytest.raises(gr.Error, match="Nothing is ticked"):
        acts.go(run.name, [])
    for photo in Path(run.config.data).rglob("*.png"):
        photo.unlink()
    acts.go(run.name, ["onnx"])
    ended = _ended(acts, run.name)
    assert "validation photos of run" in ended["status"] and "are gone" in ended["status"]
    assert ended["table"] == "" and not ended["files"]["visible"]


def test_refused_and_stale_exports_have_a_cross() -> None:
    good = ExportResult("onnx", "ONNX", "/x/model.onnx", "m", "now", 9_000_000, True, 20, 20, 1e-6, 0.9, 0.9)
    refused = ExportResult(
        "onnx-int8", "INT8", "", "m", "now", error="photo a<b.png: it says bee, the run ant."
    )
    old = ExportResult("torch", "torch.export", "/x/model.pt2", "m", "now", stale=True)
    shown = export_tab.table_of([good, refused, old])
    assert shown.count("✓") == 1 and "20 of 20 photos" in shown and "9.0 MB" in shown
    assert "✗ refused" in shown and "a&lt;b.png: it says bee" in shown
    assert "of an earlier model of this run" in shown


def test_a_folder_is_downloaded_as_a_zip(acts: export_tab.Acts, run: RunInfo, tmp_path: Path) -> None:
    folder = tmp_path / "safetensors"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    row = ExportResult("safetensors", "safetensors", str(folder), "m", "now", 2)
    file = export_tab._download(run.name, row)["value"]
    assert file.endswith(f"{run.name}-safetensors.zip")
    assert zipfile.ZipFile(file).read("safetensors/config.json") == b"{}"


def test_only_the_button_sends_to_the_hub_and_the_token_is_not_kept(
    acts: export_tab.Acts, run: RunInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []

    def push(exports: Path, kind: str, repository: str, **rest: Any) -> Pushed:
        sent.append((exports, kind, repository, rest))
        return Pushed(kind, repository, "https://hub/me/<it>", ("README.md", "model.safetensors"))

    monkeypatch.setattr(hub, "push", push)
    card = hub_card.Acts(acts.work)
    said, token = card.push(run.name, "model", " me/it ", True, "hf_secret")
    assert sent == [(run.path / FOLDER, "model", "me/it", {"private": True, "token": "hf_secret"})]
    assert token == "" and "2 files" in said and "&lt;it&gt;" in said and "hf_secret" not in said
    with pytest.raises(gr.Error, match="no name for the repository"):
        card.push(run.name, "model", " ", True, "")
    with pytest.raises(gr.Error, match="No run is chosen"):
        card.push(None, "model", "me/it", True, "")


def test_a_smaller_copy_fills_the_form(acts: export_tab.Acts, run: RunInfo) -> None:
    filled = dict(
        zip(settings.PARTS, smaller_card.fill(acts.work, run.name, "shufflenet_v2_x0_5"), strict=True)
    )
    assert filled["backbone"]["value"] == "shufflenet_v2_x0_5" and filled["recipe"] == "full"
    assert filled["teacher"] == f"run:{run.path}" and filled["soft_labels"] == 0.5
    assert form.read({**form.shown(run.config), "teacher": filled["teacher"], "recipe": "full"}).teacher
    with pytest.raises(UsageError, match="no backbone for its copy"):
        smaller_card.fill(acts.work, run.name, None)


def test_another_tab_points_at_a_run(acts: export_tab.Acts, run: RunInfo) -> None:
    assert acts.point_at(run.name)["value"] == run.name
    with pytest.raises(gr.Error, match="No run is open. It can be exported there after the first epoch"):
        acts.point_at("")
