from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.export import small_onnx
from tl_app import cards, resources
from tl_app.data.decode import open_pixels
from tl_app.errors import ResourceError
from tl_app.export import bundle
from tl_app.export.answering import OnnxPredictor
from tl_app.export.formats import chosen
from tl_app.export.guarded import read_onnx
from tl_app.export.onnx_files import onnx_answers

# Runs the folder's own script with everything blocked that a fresh environment would not have.
ASK = """
import json, sys
sys.modules.update(dict.fromkeys(["torch", "torchvision", "tl_app", "onnx", "cv2", "timm", "safetensors"]))
sys.path.insert(0, sys.argv[1])
import app
rows, saved, note = app.many(sys.argv[3:]) if sys.argv[2] == "many" else (None, None, "")
answers = [] if rows else [app.ranked(photo) if sys.argv[2] == "ranked" else app.one(photo) for photo in sys.argv[3:]]
page = app.build() if sys.argv[2] == "page" else None
if page is not None:
    answers = [[each["api_visibility"] for each in page.get_config_file()["dependencies"]], page._queue.max_size]
table = open(saved, newline="").read() if saved else ""
print(json.dumps({"answers": answers, "rows": rows, "note": note, "csv": table}))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return bundle.write_bundle(small_onnx.write(tmp_path / "model.onnx"), tmp_path / "bundle")


def ask(folder: Path, how: str, *photos: Path) -> dict:
    command = [sys.executable, "-c", ASK, str(folder), how, *map(str, photos)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def odd_photos(folder: Path) -> list[Path]:
    """Photos in which decoders differ if they can: orientation, transparency, palettes, 16 bits, a huge JPEG."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (60, 41, 3)).astype(np.uint8)
    colours = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6
    colours.save(folder / "turned.jpg", exif=exif)
    see_through = colours.copy()
    see_through.putalpha(Image.fromarray(pixels[..., 0]))
    see_through.save(folder / "alpha.png")
    see_through.save(folder / "alpha.webp", lossless=True)
    colours.quantize(16).save(folder / "palette.gif")
    colours.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray((pixels[..., 0].astype(np.uint16) << 8) + 7).save(folder / "deep.png")
    colours.resize((1100, 1300)).save(folder / "huge.jpg")
    return sorted(path for path in folder.iterdir() if path.suffix in (".jpg", ".png", ".webp", ".gif"))


def test_it_answers_like_the_app_without_torch(folder: Path, tmp_path: Path):
    photos = odd_photos(tmp_path)
    assert len(photos) == 7
    expected = OnnxPredictor(read_onnx(folder / "model.onnx")).predict(photos)
    for photo, mine, theirs in zip(photos, expected, ask(folder, "ranked", *photos)["answers"], strict=True):
        assert [label for label, _ in theirs] == [label for label, _ in mine.top], photo.name
        assert [share for _, share in theirs] == pytest.approx([share for _, share in mine.top], abs=1e-6)


def test_it_decodes_like_training(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(folder))
    import app

    for photo in odd_photos(tmp_path):
        assert np.array_equal(app.pixels(photo), open_pixels(photo, shorter_side=64)), photo.name
    monkeypatch.delitem(sys.modules, "app")


def test_it_says_when_it_is_not_sure_and_what_cannot_be_used(folder: Path, tmp_path: Path):
    for name, colour in (("red", (255, 0, 0)), ("between", (120, 0, 115))):
        Image.new("RGB", (30, 30), colour).save(tmp_path / f"{name}.png")
    (tmp_path / "text.jpg").write_text("no photo")
    Image.new("1", (8000, 7000)).save(tmp_path / "bomb.png")
    names = ["red.png", "between.png", "text.jpg", "bomb.png"]
    red, between, text, bomb = ask(folder, "one", *(tmp_path / name for name in names))["answers"]
    assert red[0]["red"] > 0.9 and red[1] == ""
    assert "Not sure" in between[1]
    assert text[0] is None and "not a photo that can be read" in text[1]
    assert bomb[0] is None and "50 megapixels" in bomb[1]


def test_it_refuses_jpegs_of_thousands_of_layers(folder: Path, tmp_path: Path):
    whole, layers = tmp_path / "whole.jpg", tmp_path / "layers.jpg"
    Image.new("L", (64, 64)).save(whole, progressive=True)
    content = whole.read_bytes()
    layers.write_bytes(content[:-2] + content[content.rindex(b"\xff\xda") : -2] * 50 + content[-2:])
    answered, refused = ask(folder, "one", whole, layers)["answers"]
    assert answered[0]["red"] >= 0 and refused[0] is None and "more than 40 layers" in refused[1]


def test_many_photos_make_a_table_that_no_spreadsheet_runs(folder: Path, tmp_path: Path):
    photos = [tmp_path / "=cmd.png", *(tmp_path / f"{number}.png" for number in range(21))]
    for photo in photos:
        Image.new("RGB", (20, 20), "blue").save(photo)
    found = ask(folder, "many", *photos)
    assert len(found["rows"]) == 20 and "first 20 of 22" in found["note"]
    assert found["rows"][0][:2] == ["=cmd.png", "blue"]
    lines = found["csv"].splitlines()
    assert lines[0] == "file,class,confidence,remark" and lines[1].startswith("'=cmd.png,blue,")


def test_doubt_is_said_in_the_same_words_everywhere():
    assets = resources.assets_dir() / "export"
    assert f'NOT_SURE = "{cards.NOT_SURE}"' in (assets / "bundle" / "app.py").read_text("utf-8")
    assert f">{cards.NOT_SURE}</p>" in (assets / "page.html").read_text("utf-8")


def test_its_page_has_no_api_and_a_short_queue(folder: Path):
    visible, waiting = ask(folder, "page")["answers"]
    assert set(visible) <= {"private", "undocumented"} and waiting == 32


def test_a_read_me_that_a_space_reads(tmp_path: Path):
    about = small_onnx.description(
        name='odd: "name" #1',
        classes=["<b>", "{{NAME}}"],
        licence="CC BY-NC 4.0",
        sure_threshold=None,
        temperature=1,
    )
    made = bundle.write_bundle(small_onnx.write(tmp_path / "m.onnx", about), tmp_path / "bundle")
    _, front, text = (made / "README.md").read_text().split("---\n", 2)
    values = yaml.safe_load(front)
    assert values["title"] == 'odd: "name" #1'
    assert values["sdk"] == "gradio" and values["app_file"] == "app.py"
    assert len(values["short_description"]) <= 60
    assert "95.0 % (90–98 %, 95 % interval) of 100 val photos" in text
    assert "CC BY-NC 4.0" in text and "not measured from which confidence" in text
    assert "<b>" not in text and "{{" not in text.replace("&#123;", "")
    assert "torch" not in (made / "requirements.txt").read_text()


def test_bundle_and_page_are_formats_made_of_the_onnx_export(tmp_path: Path):
    """Checked through the network that they carry, as any other format is."""
    (tmp_path / "exports").mkdir()
    small_onnx.write(tmp_path / "exports" / "model.onnx")
    photos = np.random.default_rng(0).integers(0, 256, (2, 30, 40, 3)).astype(np.uint8)
    expected = onnx_answers(tmp_path / "exports" / "model.onnx")(photos)
    rows = [row for row in chosen(["bundle", "page"]) if row.name != "onnx"]
    assert [row.name for row in rows] == ["bundle", "page"] and "onnx" in rows[0].needs + rows[1].needs
    run = SimpleNamespace(info=SimpleNamespace(path=tmp_path))
    for row in rows:
        assert row.write(run, tmp_path / row.file) and row.within is not None
        assert np.array_equal(row.answers(tmp_path / row.file, run)(photos), expected)
    (tmp_path / "exports" / "model.onnx").unlink()
    with pytest.raises(ResourceError, match="cannot be read"):
        rows[0].write(run, tmp_path / "another")


def test_it_is_replaced_whole_or_not_at_all(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (folder / "old.txt").write_text("old")
    with monkeypatch.context() as patch, pytest.raises(TypeError):
        patch.setattr(bundle, "readme", None)  # half way
        bundle.write_bundle(tmp_path / "model.onnx", folder)
    assert (folder / "old.txt").is_file()
    bundle.write_bundle(tmp_path / "model.onnx", folder)
    assert not (folder / "old.txt").exists() and (folder / "app.py").is_file()
    assert not list(tmp_path.glob(".bundle*"))
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="cannot be written"):
        bundle.write_bundle(tmp_path / "model.onnx", tmp_path / "file" / "bundle")
