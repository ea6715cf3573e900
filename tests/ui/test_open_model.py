from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from PIL import Image

from tests.export import small_onnx
from tl_app.errors import UsageError
from tl_app.export.bundle import write_bundle
from tl_app.ui import form, open_model, settings, try_tab
from tl_app.ui.workspace import Workspace


@pytest.fixture
def uploads(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = home / "page"
    folder.mkdir(parents=True)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
    return folder


@pytest.fixture
def acts(home: Path) -> try_tab._Acts:
    return try_tab._Acts(Workspace(home / "runs"))


def dropped(acts: try_tab._Acts, *files: tuple[Path, str]):
    """What the page shows after files were dropped, by part."""
    data = {"files": [{"path": str(path), "name": name} for path, name in files]}
    outputs = acts.open(SimpleNamespace(_data=data))
    return dict(zip(("kind", "name", "used", "about", "use", "key"), outputs, strict=True))


def test_a_dropped_file_is_the_model_in_use(acts: try_tab._Acts, uploads: Path):
    model = small_onnx.write(uploads / "model.onnx")
    shown = dropped(acts, (model, "model.onnx"))
    assert shown["kind"] == try_tab.EXPORT and shown["name"]["value"] == "red-or-blue" == shown["key"]
    assert "the opened red-or-blue, exported as onnx" in shown["used"]
    assert "red, blue" in shown["about"] and "95.0 %" in shown["about"] and "no maps" in shown["about"]
    assert shown["use"]["visible"] is True
    Image.new("RGB", (30, 30), (200, 0, 0)).save(uploads / "red.png")
    photos, cards, _, used, made_by = acts._show(
        try_tab.EXPORT, "red-or-blue", 2, True, [str(uploads / "red.png")], gr.Progress()
    )
    assert "red" in cards and "Why?" not in cards and "data-photo" not in cards
    assert "no average over views" in used and made_by == (try_tab.EXPORT, "red-or-blue")
    event = SimpleNamespace(_data={"photo": photos[0], "label": "red", "turn": 1})
    with pytest.raises(gr.Error, match="cannot say why"):
        acts.why(photos, made_by, event)


def test_a_dropped_folder_is_put_together_and_leaves_nothing(acts: try_tab._Acts, uploads: Path):
    bundle = write_bundle(small_onnx.write(uploads / "m.onnx"), uploads / "b")
    names = [path.name for path in bundle.iterdir()]
    shown = dropped(acts, *((bundle / name, f"my bundle/{name}") for name in names))
    assert "A bundle" in shown["about"]
    assert not list((uploads / "opened").iterdir())
    again = dropped(acts, (bundle / "model.onnx", "model.onnx"))
    assert again["key"] == "red-or-blue (2)" and len(again["name"]["choices"]) == 2
    assert "A bundle" in acts.about_opened(try_tab.EXPORT, "red-or-blue")[0]
    assert acts.about_opened(try_tab.RUN, "red-or-blue")[0] == gr.skip()


def test_only_uploads_with_plain_names_are_put_together(acts: try_tab._Acts, uploads: Path, tmp_path: Path):
    good = small_onnx.write(uploads / "model.onnx")
    outside = small_onnx.write(tmp_path / "model.onnx")
    for name in ("../x.onnx", "/etc/x.onnx", "a/../../x", "a\\b", "c:x", "", "a\nb", "a/" * 9 + "b"):
        with pytest.raises(gr.Error, match="no name of a file"):
            dropped(acts, (good, name), (good, "model.onnx"))
    for path in (outside, Path("/etc/passwd"), uploads / "gone"):
        with pytest.raises(gr.Error, match="did not arrive"):
            dropped(acts, (path, "model.onnx"))
    with pytest.raises(gr.Error, match="did not arrive"):
        dropped(acts)
    with pytest.raises(gr.Error, match="201 files"):
        dropped(acts, *[(good, "model.onnx")] * 201)


def test_a_model_that_is_not_open_is_said(acts: try_tab._Acts):
    kind, choice, text = acts.models(try_tab.EXPORT)
    assert kind == try_tab.EXPORT and choice["choices"] == [] and "No model is open" in text
    with pytest.raises(UsageError, match="No model is open"):
        acts._show(try_tab.EXPORT, None, 3, False, [], gr.Progress())
    with pytest.raises(UsageError, match="not open any more"):
        acts._show(try_tab.EXPORT, "/etc/passwd", 3, False, [], gr.Progress())
    assert "not open any more" in acts.model_chosen(try_tab.EXPORT, "gone")


def test_its_settings_fill_the_form(acts: try_tab._Acts, uploads: Path, photos: Path, monkeypatch):
    said = []
    monkeypatch.setattr(gr, "Info", said.append)
    config = small_onnx.description()["config"] | {"weights": "run:/home/ann/runs/first", "epochs": 7}
    model = small_onnx.write(uploads / "m.onnx", small_onnx.description(config=config))
    key = dropped(acts, (model, "m.onnx"))["key"]
    acts.work.scan(str(photos))
    given = dict(zip(settings.PARTS, open_model.fill(acts.work, key, str(photos)), strict=True))
    assert given["epochs"] == "7" and given["data"] == gr.skip()
    assert given["weights"]["value"] == "default" and "not here" in said[0]
    assert set(form.FIELDS) <= set(given)


def test_a_model_without_settings_offers_none(acts: try_tab._Acts, uploads: Path):
    model = small_onnx.write(uploads / "m.onnx", small_onnx.description(config={"future": 1}))
    shown = dropped(acts, (model, "m.onnx"))
    assert shown["use"]["visible"] is False and "cannot read how it was trained" in shown["about"]
    with pytest.raises(gr.Error, match="does not say how"):
        open_model.fill(acts.work, shown["key"], "")


def test_few_models_stay_open(acts: try_tab._Acts, uploads: Path):
    model = small_onnx.write(uploads / "m.onnx")
    for _ in range(4):
        dropped(acts, (model, "m.onnx"))
    assert len(acts.work.opened.keys()) == 3
