"""A photo explained: through the API, on the command line, and as a picture."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tl_app
from tl_app import cli
from tl_app.analysis.overlay import legend, overlay
from tl_app.errors import PhotoError, UsageError
from tl_app.files import write_new


@pytest.fixture
def run(photos: Path) -> str:
    result = tl_app.train(
        photos, backbone="mobilenet_v3_small", weights="random", epochs=1, image_size=32, device="cpu"
    )
    return result.run


def test_an_explanation_and_its_command(
    run: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo, out = photos / "red" / "00.png", tmp_path / "why"
    found = tl_app.explain(run, photo)
    answer = tl_app.predict(run, photo)[0]
    assert (found.label, found.path) == (answer.label, str(photo))
    assert found.confidence == pytest.approx(answer.confidence, abs=1e-5)
    assert found.map.shape == (32, 32) and 0 <= found.map.min() and found.map.max() <= 1
    assert found.label in found.legend and Image.open(io.BytesIO(found.overlay)).size == (320, 320)
    assert tl_app.explain(run, photo.read_bytes(), "red").label == "red"
    with pytest.raises(UsageError, match="no class 'rad'.*such as red"):
        tl_app.explain(run, photo, "rad")
    with pytest.raises(PhotoError):
        tl_app.explain(run, b"nothing")

    capsys.readouterr()
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"nothing")
    asked = [
        "explain",
        run,
        str(photo),
        str(photos / "blue" / "00.png"),
        str(bad),
        "--out",
        str(out),
        "--json",
    ]
    assert cli.run(asked) == 0
    one, other, broken = json.loads(capsys.readouterr().out)["explanations"]
    assert one["label"] == found.label and Path(one["picture"]).read_bytes() == found.overlay
    assert [Path(each["picture"]).name for each in (one, other)] == ["00-why.png", "00-why-2.png"]
    assert set(broken) == {"path", "error"}
    assert cli.run([*asked[:-1], "--label", "blue"]) == 0
    assert "00-why-3.png" in capsys.readouterr().out
    assert Path(one["picture"]).read_bytes() == found.overlay, "a picture that was there was written over"
    assert cli.run([*asked, "--label", "green"]) == 2
    assert "no class 'green'" in json.loads(capsys.readouterr().out)["error"]


def test_a_picture_is_warm_where_the_heat_is_and_grey_elsewhere() -> None:
    photo = np.full((64, 64, 3), (40, 160, 90), np.uint8)
    heat = np.zeros((64, 64), np.float32)
    heat[:32, :32] = 1
    with Image.open(io.BytesIO(overlay(photo, heat))) as picture:
        pixels = np.asarray(picture).astype(int)
    assert pixels.shape == (320, 320, 3)
    assert (pixels[20, 20, :2] > 200).all() and pixels[20, 20, 2] < 180
    assert np.ptp(pixels[300, 300]) < 40 < np.ptp(photo[0, 0])
    with Image.open(io.BytesIO(overlay(np.zeros((400, 400, 3), np.uint8), heat))) as picture:
        assert picture.size == (400, 400)
    assert "spoke for “ants”" in legend("ants") and "No place" in legend("ants", False)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match=r"file cannot be written.*Choose another folder"):
        write_new(tmp_path / "file", "a", ".png", b"x")
