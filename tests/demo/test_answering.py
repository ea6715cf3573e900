"""What the demo says of a photo, and what is left of the photo afterwards: nothing."""

from __future__ import annotations

import asyncio
import collections
import io
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.conftest import make_photos
from tests.synthetic_runs import make_run
from tl_app.demo import answering
from tl_app.demo.answering import Answering, asked, sweep
from tl_app.errors import UsageError
from tl_app.predictor import Predictor, load_run
from tl_app.serving import rules


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("demo-run")
    return load_run(make_run(folder / "runs", "tiny", make_photos(folder / "photos")))


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    folder = tmp_path / "uploads"
    folder.mkdir()
    return folder.resolve()


def _uploaded(uploads: Path, name: str = "a.png", content: bytes | None = None) -> Path:
    path = uploads / ("0" * 64) / name
    path.parent.mkdir(exist_ok=True)
    if content is None:
        Image.new("RGB", (60, 40), "red").save(path)
    else:
        path.write_bytes(content)
    return path


def _ask(answers: Answering, **data: Any) -> dict[str, Any]:
    return asyncio.run(answers.ask(data))


def test_a_photo_is_answered_and_forgotten(predictor: Predictor, uploads: Path) -> None:
    photo = _uploaded(uploads)
    arrived = collections.Counter([str(photo)])
    answers = Answering(predictor, uploads, arrived=arrived)
    said = _ask(answers, turn=3, photo=str(photo))
    assert said["turn"] == 3 and said["label"] in ("red", "blue") and "error" not in said
    assert said["html"].count('class="tl-bar"') == 2 and said["confidence"].endswith(" %")
    assert not arrived and list(uploads.iterdir()) == []
    assert (answers.counts.asked, answers.counts.answered) == (1, 1)


def test_two_visitors_with_the_same_photo_are_both_answered(predictor: Predictor, uploads: Path) -> None:
    photo, arrived = _uploaded(uploads), collections.Counter[str]()
    arrived.update([str(photo)])  # as gradio does, once an upload
    arrived.update([str(photo)])
    answers = Answering(predictor, uploads, arrived=arrived)
    assert _ask(answers, turn=1, photo=str(photo))["label"] and photo.is_file()
    assert _ask(answers, turn=1, photo=str(photo))["label"] and not photo.exists()
    assert "did not arrive" in _ask(answers, turn=1, photo=str(photo))["error"] and not arrived


def test_several_at_once_get_each_their_own_answer(predictor: Predictor, uploads: Path) -> None:
    answers = Answering(predictor, uploads)

    async def all_of_them() -> list[dict[str, Any]]:
        photos = [_uploaded(uploads, f"{number}.png") for number in range(10)]
        return await asyncio.gather(
            *(answers.ask({"turn": n, "photo": str(p)}) for n, p in enumerate(photos))
        )

    found = asyncio.run(all_of_them())
    assert [said["turn"] for said in found] == list(range(10)) and all(said["label"] for said in found)
    assert list(uploads.rglob("*.png")) == []


def test_why_is_answered_with_a_picture(predictor: Predictor, uploads: Path) -> None:
    answers = Answering(predictor, uploads)
    said = _ask(answers, turn=1, photo=str(_uploaded(uploads)), label="blue")
    assert said["picture"].startswith("data:image/png;base64,") and "“blue”" in said["legend"]
    assert (
        "There is no class 'green'"
        in _ask(answers, turn=1, photo=str(_uploaded(uploads)), label="green")["error"]
    )
    assert list(uploads.rglob("*.png")) == []


def test_examples_are_answered_from_memory(predictor: Predictor, uploads: Path) -> None:
    out = io.BytesIO()
    Image.new("RGB", (50, 50), "blue").save(out, "PNG")
    answers = Answering(predictor, uploads, [out.getvalue()])
    assert _ask(answers, turn=1, example=0)["label"]
    assert _ask(answers, turn=1, example=0, label="red")["legend"]
    assert "did not arrive" in _ask(answers, turn=1, example=1)["error"]


def test_what_cannot_be_used_is_deleted_too_and_no_path_is_told(
    predictor: Predictor, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = Answering(predictor, uploads)
    png = io.BytesIO()
    Image.new("1", (9000, 6000)).save(png, "PNG")  # 54 megapixels in a few kilobytes
    for content, said in (
        (b"<html>", "web page"),
        (png.getvalue(), "megapixels"),
        (b"\xff\xd8\xff\xe0" + b"\0" * answering.MAX_BYTES, "At most 10.0 MB are taken"),
    ):
        error = _ask(answers, turn=1, photo=str(_uploaded(uploads, content=content)))["error"]
        assert said in error and str(uploads) not in error and "/" not in error.replace("/ ", "")
    assert "did not arrive" in _ask(answers, turn=1, photo=str(uploads / "0" / "never.png"))["error"]
    assert list(uploads.rglob("*.*")) == [] and answers.counts.answered == 0


def test_an_answer_that_takes_too_long_is_given_up(
    predictor: Predictor, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert answering.SECONDS < (rules.public(1).seconds or 0), "the guard would say something else before"
    answers = Answering(predictor, uploads, seconds=0.05)
    monkeypatch.setattr(answers, "_predict", lambda question: time.sleep(0.3))
    said = _ask(answers, turn=5, photo=str(_uploaded(uploads)))
    assert "took longer" in said["error"] and said["turn"] == 5
    assert list(uploads.rglob("*.png")) == []


def test_a_decoder_that_does_not_end_lets_others_know(predictor: Predictor, uploads: Path) -> None:
    answers = Answering(predictor, uploads, seconds=2.0)  # half of them to wait for a turn
    large = io.BytesIO()
    Image.new("1", (4000, 4000)).save(large, "PNG")
    with answers._large:  # as held by a thread whose visitor has long been told to give up
        photo = _uploaded(uploads, content=large.getvalue())
        assert "Others are asking" in _ask(answers, turn=1, photo=str(photo))["error"]
        assert _ask(Answering(predictor, uploads), turn=2, photo=str(_uploaded(uploads)))["label"]
    permits = answers._decoding
    while permits.acquire(blocking=False):
        pass
    assert "Others are asking" in _ask(answers, turn=3, photo=str(_uploaded(uploads)))["error"]


def test_too_many_maps_at_once_are_refused(
    predictor: Predictor, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = Answering(predictor, uploads)
    monkeypatch.setattr(answers, "_maps_waiting", answering._MOST_MAPS)
    assert "Too many others" in _ask(answers, turn=1, photo=str(_uploaded(uploads)), label="red")["error"]


def test_only_uploads_are_read(uploads: Path, tmp_path: Path) -> None:
    mine = _uploaded(uploads)
    assert asked({"turn": 1, "photo": str(mine)}, uploads, 0).photo == mine
    secret = tmp_path / "secret.png"
    shutil.copy(mine, secret)
    link = mine.with_name("link.png")
    os.symlink(secret, link)
    folder_link = uploads / "elsewhere"
    os.symlink(tmp_path, folder_link)
    for photo in (
        "/etc/passwd",
        str(secret),
        str(link),
        str(folder_link / "secret.png"),
        "",
        "\0",
        str(uploads),
        7,
    ):
        with pytest.raises(UsageError, match="did not arrive"):
            asked({"turn": 1, "photo": photo}, uploads, 0)
    for data in (
        None,
        "x",
        [],
        {},
        {"turn": "x"},
        {"turn": 1},
        {"turn": 1, "example": -1},
        {"turn": 1, "example": 0},
    ):
        with pytest.raises(UsageError, match="did not arrive"):
            asked(data, uploads, 0)
    with pytest.raises(UsageError):
        asked({"turn": 1, "photo": str(mine), "label": ["x"]}, uploads, 0)
    assert secret.is_file()


def test_uploads_that_nobody_asks_about_are_swept(uploads: Path) -> None:
    old = _uploaded(uploads)
    now = time.time()
    arrived = collections.Counter({str(old): 2})
    assert sweep(uploads, 60, now, arrived) == 0 and old.is_file() and arrived
    assert sweep(uploads, 60, now + 100, arrived) == 1
    assert list(uploads.iterdir()) == [] and not arrived
