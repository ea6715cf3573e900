from __future__ import annotations

import base64
import io
import json
import os
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from tl_app import caches
from tl_app.data.store import PhotoStore, Preprocessing
from tl_app.ui import data_tab, paths, remembered, thumbnails
from tl_app.ui.workspace import Workspace


@pytest.fixture
def acts(home: Path) -> data_tab._Acts:
    return data_tab._Acts(Workspace(home / "runs"))


def _scan(acts: data_tab._Acts, folder: Path) -> dict[str, object]:
    names = [
        "source",
        "path",
        "recent",
        "summary",
        "next_steps",
        "details",
        "counts",
        "shown",
        "grid",
        "more",
        "left_out",
    ]
    return dict(zip(names, acts.scan(str(folder), gr.Progress()), strict=True))


def test_a_folder_is_counted_drawn_and_remembered(acts: data_tab._Acts, photos: Path):
    found = _scan(acts, photos)
    assert found["source"] == str(photos)
    assert str(found["grid"]).count("data:image/jpeg;base64,") == 16
    assert sum(found["counts"]["data"][-1]["x"]) == 24  # type: ignore[index]
    assert remembered.recent() == [str(photos)]
    assert acts.restore()[0] == str(photos), "a page opened later shows the same photos"


def test_every_file_left_out_is_listed_with_its_reason(acts: data_tab._Acts, photos: Path):
    (photos / "red" / "broken & <b>.jpg").write_bytes(b"no photo")
    found = _scan(acts, photos)
    assert "broken &amp; &lt;b&gt;.jpg" in str(found["left_out"])
    assert "1 file left out" in str(found["left_out"])


def test_thumbnails_are_kept_and_small(photos: Path, acts: data_tab._Acts, home: Path):
    index = acts.work.scan(str(photos))
    first = thumbnails.of_classes(index, ["red"], per_class=3, side=32)
    kept = list((home / "cache" / "thumbnails").rglob("*.jpg"))
    assert len(first["red"]) == len(kept) == 3
    assert max(Image.open(kept[0]).size) <= 32
    for photo, _ in first["red"]:
        (photos / photo.path).unlink()
    assert thumbnails.of_classes(index, ["red"], per_class=3, side=32) == first, "from the cache"


def test_a_thumbnail_of_another_picture_is_not_kept(photos: Path, acts: data_tab._Acts):
    index = acts.work.scan(str(photos))
    files = [(photo.path, photo.content_hash) for photo in index.photos[:1]]
    whole = (photos / files[0][0]).read_bytes()
    Image.new("RGB", (40, 40), "green").save(photos / files[0][0])
    (green,) = thumbnails.of_files(index.root, files, 24)
    (photos / files[0][0]).write_bytes(whole)
    (right,) = thumbnails.of_files(index.root, files, 24)
    assert _picture(green).getpixel((9, 9)) != _picture(right).getpixel((9, 9))


def test_thumbnails_are_made_from_decoded_photos(
    photos: Path, acts: data_tab._Acts, monkeypatch: pytest.MonkeyPatch
):
    strip = photos / "red" / "strip.png"
    Image.linear_gradient("L").resize((300, 20)).save(strip)
    index = acts.work.scan(str(photos))
    paths = [photo.path for photo in index.photos]
    files = [(photo.path, photo.content_hash) for photo in index.photos]
    from_files = thumbnails.of_files(index.root, files, 24)
    assert PhotoStore(index.root, Preprocessing(resize=32, crop=28), photos=index.photos).prepare(paths) == {}
    caches.clear("thumbnails")
    opened: list[str] = []
    original = thumbnails.thumbnail
    monkeypatch.setattr(
        thumbnails, "thumbnail", lambda path, side: (opened.append(path.name), original(path, side))[1]
    )
    from_decoded = thumbnails.of_files(index.root, files, 24)
    assert opened == ["strip.png"], "of which only the middle is kept"
    for first, second in zip(map(_picture, from_files), map(_picture, from_decoded), strict=True):
        assert first.size == second.size
        assert np.abs(np.asarray(first, int) - np.asarray(second, int)).mean() < 12
    thumbnails.of_files(index.root, files, 100)
    assert len(opened) == 1 + len(files), "larger ones take the file"


def _picture(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_photos_are_spread_over_a_class(photos: Path, acts: data_tab._Acts):
    chosen = thumbnails.spread(acts.work.scan(str(photos)).used("train"), 2)
    assert len(chosen) == 2 and chosen[0] != chosen[1]


def test_many_classes_come_a_page_at_a_time(acts: data_tab._Acts, tmp_path: Path):
    for number in range(15):
        (tmp_path / f"class {number:02d}").mkdir()
        for name in ("a", "b"):
            Image.new("RGB", (8, 8), (number * 10, 0, 0)).save(
                tmp_path / f"class {number:02d}" / f"{name}.png"
            )
    found = _scan(acts, tmp_path)
    assert found["shown"] == 12 and found["more"]["visible"] is True  # type: ignore[index]
    shown, grid, more = acts.more(str(tmp_path), 12)
    assert shown == 15 and "class 14" in grid and more["visible"] is False


@pytest.mark.parametrize("typed", ["", "   ", None])
def test_an_empty_box_says_what_to_do(acts: data_tab._Acts, typed: str | None):
    with pytest.raises(gr.Error, match="sample photos"):
        acts.scan(typed, gr.Progress())


def test_a_zip_is_kept_for_good(acts: data_tab._Acts, photos: Path, tmp_path: Path, home: Path):
    import shutil

    upload = Path(shutil.make_archive(str(tmp_path / "set"), "zip", photos))
    cleared, source, *_ = acts.scan_zip(str(upload), gr.Progress())
    assert cleared is None
    assert Path(source).is_file() and Path(source).is_relative_to(home / "uploads")
    assert not upload.exists()


def test_a_zip_that_cannot_be_used_does_not_stay(acts: data_tab._Acts, tmp_path: Path, home: Path):
    junk = tmp_path / "junk.zip"
    junk.write_bytes(b"no zip at all")
    with pytest.raises(gr.Error, match=r"junk\.zip"):
        acts.scan_zip(str(junk), gr.Progress())
    assert not [path for path in (home / "uploads").rglob("*") if path.is_file()]


def test_suggestions_are_the_folders_and_zips_that_begin_so(tmp_path: Path):
    for name in ("photos", "phones", ".phantom", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "pho.zip").touch()
    (tmp_path / "pho.txt").touch()
    ends = [os.path.relpath(path, tmp_path) for path in paths.suggest(f"{tmp_path}/PHO")]
    assert ends == ["phones", "photos", "pho.zip"]
    assert [Path(path).name for path in paths.suggest(f"{tmp_path}/.p")] == [".phantom"]
    assert len(paths.suggest(f"{tmp_path}/")) == 4


def test_suggesting_never_fails(tmp_path: Path):
    assert paths.suggest("") == []
    assert paths.suggest(f"{tmp_path}/not/there/") == []
    assert paths.suggest("\0") == []
    os.mkdir(os.fsencode(tmp_path) + b"/a\xff")
    json.dumps(paths.suggest(f"{tmp_path}/a")).encode()


def test_a_home_folder_can_be_typed_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "pictures").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.suggest("~/pi") == [f"{tmp_path}/pictures/"]


@pytest.mark.parametrize(
    ("pasted", "meant"),
    [
        (' "/a b/c" ', "/a b/c"),
        ("file:///a%20b", "/a b"),
        ("/a/b/", "/a/b"),
        ("", ""),
    ],
)
def test_a_pasted_path_is_tidied(pasted: str, meant: str):
    assert paths.tidy(pasted) == meant


def test_recent_ones_that_are_gone_are_not_offered(tmp_path: Path, home: Path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        remembered.remember(str(tmp_path / name))
    assert remembered.recent() == [str(tmp_path / "b"), str(tmp_path / "a")]
    (tmp_path / "b").rmdir()
    assert remembered.recent() == [str(tmp_path / "a")]
    (home / "recent.json").write_text("{")
    assert remembered.recent() == []
