from __future__ import annotations

import dataclasses
import os
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from tests.export.conftest import odd_photos, odd_photos_once, quick, run
from tl_app.engine import background
from tl_app.errors import UsageError
from tl_app.export import exporting, formats, hub
from tl_app.export.hub import Pushed
from tl_app.export.kept import FOLDER, ExportResult, keep_export
from tl_app.runs import RunInfo
from tl_app.ui import downloads, export_tab, form, hub_card, settings, smaller_card
from tl_app.ui.aside import Standing
from tl_app.ui.exporter import Wanted
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
    assert ended["file"]["value"] is None and ended["files"]["visible"], (
        "45 MB are copied when they are asked for"
    )
    chosen = acts.ready(run.name, "onnx")
    file = Path(chosen["value"])
    assert file.read_bytes() == (run.path / FOLDER / "model.onnx").read_bytes()
    assert chosen["label"].startswith(f"Download {run.name}-model.onnx (")
    assert acts.tick(ended["seen"], run.name) == gr.skip() and acts.tick(-1, run.name) != gr.skip()
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
    fewer = export_tab.table_of(
        [ExportResult("onnx-int8", "INT8", "/x/i", "m", "now", 3, True, 20, 19, 0.1, 0.9, 0.9)]
    )
    assert "✓ accuracy within a point" in fewer and "answers as the run" not in fewer
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


def test_every_version_of_every_run_has_a_download_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "page"))
    files = []
    for name in ("a b", "a-b", "a+b", "a@b"):
        source = tmp_path / name / "model.onnx"
        source.parent.mkdir()
        source.write_text(name)
        files.append(Path(downloads.copied("exports", f"{name}-model.onnx", source)))
    assert [file.read_text() for file in files] == ["a b", "a-b", "a+b", "a@b"]
    assert {file.name for file in files} == {"a-b-model.onnx"}
    source, first = tmp_path / "a b" / "model.onnx", files[0]
    inode = first.stat().st_ino
    assert downloads.copied("exports", "a b-model.onnx", source) == str(first)
    assert first.stat().st_ino == inode, "it is not written again"
    with first.open() as streaming:
        source.write_text("new")
        newer = Path(downloads.copied("exports", "a b-model.onnx", source))
        assert newer.read_text() == "new" and streaming.read() == "a b"
    assert not list((tmp_path / "page").rglob("*.tmp*"))
    os.utime(files[1], (0, 0))
    downloads.made("exports", "another.txt", "text")
    assert not files[1].exists() and files[2].exists()


def test_nothing_large_and_no_folder_is_copied_before_it_is_chosen(
    acts: export_tab.Acts, run: RunInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run.path / FOLDER / "safetensors"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    keep_export(folder.parent, "safetensors", ExportResult("safetensors", "s", str(folder), "m", "now", 2))
    shown = _shown(acts.draw(run.name))
    assert shown["file"]["value"] is None and shown["download"]["value"] is None
    assert shown["download"]["label"] == "Choose what to download" and not shown["download"]["interactive"]
    assert not (tmp_path / "page").exists()
    assert acts.ready(run.name, "safetensors")["label"].startswith("Download odd-safetensors.zip (")
    file = folder.parent / "model.onnx"
    file.write_bytes(b"model")
    keep_export(folder.parent, "onnx", ExportResult("onnx", "o", str(file), "m", "now", 5))
    assert _shown(acts.draw(run.name))["file"]["value"] == "onnx"
    monkeypatch.setattr(downloads, "_QUICK_BYTES", 5)
    assert _shown(acts.draw(run.name))["file"]["value"] is None


def test_a_status_belongs_to_one_run_and_is_said_once(acts: export_tab.Acts, run: RunInfo) -> None:
    exporter = acts.work.exporter
    other = Wanted(dataclasses.replace(run, path=run.path.parent / "zw"), ["onnx"])
    exporter.plan, exporter.standing = other, Standing(activity="checking ONNX", done=3, total=9)
    status = _shown(acts.draw(run.name))["status"]
    assert "Run &#x27;zw&#x27; is being exported" in status and "Checking" not in status
    exporter.standing = Standing("failed", "It went wrong.")
    assert "went wrong" not in _shown(acts.draw(run.name))["status"]
    exporter.plan = Wanted(run, ["onnx"])
    assert "went wrong" in _shown(acts.draw(run.name))["status"]
    (run.path / FOLDER).mkdir()
    refused = ExportResult("onnx", "ONNX", "", "m", "now", error="It went wrong.")
    keep_export(run.path / FOLDER, "onnx refused", refused)
    shown = _shown(acts.draw(run.name))
    assert "went wrong" not in shown["status"] and shown["table"].count("went wrong") == 1


def test_stop_is_seen_while_a_format_is_written_and_its_thread_ends(
    acts: export_tab.Acts, run: RunInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "_HEARTBEAT_SECONDS", 0.02)
    began, written = threading.Event(), threading.Event()

    def silent(*_: Any) -> None:
        began.set()
        assert written.wait(30)

    monkeypatch.setattr(exporting, "original_of", silent)
    acts.go(run.name, ["onnx"])
    assert began.wait(60)
    acts.stop(run.name)
    threading.Timer(0.2, written.set).start()
    acts.work.exporter.make_way()
    assert written.is_set() and not acts.work.exporter.is_under_way
    assert not [each for each in threading.enumerate() if each.name == "tl-app asking the run"]
    assert "Exporting was stopped" in _shown(acts.draw(run.name))["status"]


def test_only_the_button_sends_to_the_hub_and_the_token_is_not_kept(
    acts: export_tab.Acts, run: RunInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []

    def push(info: RunInfo, kind: str, repository: str, **rest: Any) -> Pushed:
        sent.append((info.name, kind, repository, rest))
        return Pushed(
            kind, repository, "https://hub/me/<it>", ("README.md", "model.safetensors"), "Not <sure>."
        )

    monkeypatch.setattr(hub, "push_run", push)
    card = hub_card.Acts(acts.work)
    said, token = card.push(run.name, "model", " me/it ", True, "hf_secret")
    assert sent == [(run.name, "model", "me/it", {"private": True, "token": "hf_secret"})]
    assert token == "" and "2 files" in said and "&lt;it&gt;" in said and "hf_secret" not in said
    assert "Not &lt;sure&gt;." in said
    acts.work.roots = (run.path.parent,)
    with pytest.raises(gr.Error, match="There is no token.*a token of their own"):
        card.push(run.name, "model", "me/it", True, " ")
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
