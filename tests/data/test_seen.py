"""A folder that is scanned again is looked at, not read; whatever has changed is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
from PIL import Image

from tl_app import caches, resources
from tl_app.data import index as index_module
from tl_app.data import seen as seen_module
from tl_app.data import store as store_module
from tl_app.data.index import DatasetIndex, scan
from tl_app.data.store import PhotoStore, Preprocessing
from tl_app.errors import Interrupted

Fill = Callable[..., Path]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are opened; files count as settled at once."""
    names: list[str] = []
    real = index_module.open_regular

    def opened(path: Path) -> object:
        names.append(path.name)
        return real(path)

    monkeypatch.setattr(index_module, "open_regular", opened)
    monkeypatch.setattr(seen_module, "_TICK_NS", -(10**12))
    return names


def _scanned(folder: Path, read: list[str], **how: object) -> tuple[DatasetIndex, list[str]]:
    read.clear()
    index = scan(folder, **how)  # type: ignore[arg-type]
    return index, sorted(read)


def test_a_second_scan_reads_nothing(tmp_path: Path, fill: Fill, read: list[str]) -> None:
    folder = fill(tmp_path / "x", {"a": 4, "b": 3})
    first, opened = _scanned(folder, read)
    assert len(opened) == 7
    assert _scanned(folder, read) == (first, [])
    other, opened = _scanned(folder, read, seed=5, val_fraction=0.4)
    assert not opened and other != first, "splits are another matter"


def test_what_has_changed_is_read(tmp_path: Path, fill: Fill, read: list[str]) -> None:
    folder = fill(tmp_path / "x", {"a": 4, "b": 3})
    before, _ = _scanned(folder, read)
    picture, moved = folder / "a" / "1.jpg", folder / "b" / "0.jpg"
    times = picture.stat()
    pixels = bytearray(picture.read_bytes())
    pixels[-30] ^= 1  # as many bytes, and the time of writing put back
    picture.write_bytes(pixels)
    os.utime(picture, ns=(times.st_atime_ns, times.st_mtime_ns))
    moved.rename(folder / "b" / "9.jpg")
    Image.new("RGB", (9, 8)).save(folder / "a" / "new.jpg")
    after, opened = _scanned(folder, read)
    assert opened == ["1.jpg", "9.jpg", "new.jpg"]
    hashes = [{photo.path: photo.content_hash for photo in index.photos} for index in (before, after)]
    assert hashes[0]["a/1.jpg"] != hashes[1]["a/1.jpg"]
    assert hashes[0]["b/0.jpg"] == hashes[1]["b/9.jpg"] and "b/0.jpg" not in hashes[1]
    assert _scanned(folder, read)[1] == []


def test_files_that_cannot_be_used_are_looked_into_again(tmp_path: Path, fill: Fill, read: list[str]) -> None:
    folder = fill(tmp_path / "x", {"a": 3, "b": 3, "a/broken.jpg": b"no photo"})
    first, _ = _scanned(folder, read)
    second, opened = _scanned(folder, read)
    assert first == second and opened == ["broken.jpg"]
    assert [photo.file_bytes for photo in second.left_out] == [8]


def test_a_file_that_changed_a_moment_ago_may_change_again(
    tmp_path: Path, fill: Fill, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen_module, "_TICK_NS", 10**9)
    folder = fill(tmp_path / "x", {"a": 2, "b": 2})
    _scanned(folder, read)
    assert len(_scanned(folder, read)[1]) == 4
    time.sleep(1.1)
    _scanned(folder, read)
    assert _scanned(folder, read)[1] == []


def test_a_scan_that_was_stopped_goes_on_where_it_was(
    tmp_path: Path, fill: Fill, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "_BATCH", 1)
    folder = fill(tmp_path / "x", {"a": 40, "b": 40})
    stopping: list[bool] = []

    def report(done: int, total: int) -> None:
        if done >= 10:
            stopping.append(True)

    with pytest.raises(Interrupted):
        scan(folder, on_progress=report, should_stop=lambda: bool(stopping))
    known = len(read)
    assert 10 <= known
    index, opened = _scanned(folder, read)
    assert len(index.photos) == 80 and len(opened) <= 80 - 10
    with pytest.raises(Interrupted):
        scan(folder, should_stop=lambda: True)
    assert _scanned(folder, read)[1] == [], "what was known of the others stays"


def test_links_are_followed_to_what_they_lead_to(tmp_path: Path, fill: Fill, read: list[str]) -> None:
    folder, elsewhere = fill(tmp_path / "x", {"a": 2, "b": 2}), tmp_path / "one.jpg"
    Image.new("RGB", (12, 9), "red").save(elsewhere)
    (folder / "a" / "link.jpg").symlink_to(elsewhere)
    first, _ = _scanned(folder, read)
    Image.new("RGB", (7, 9), "blue").save(elsewhere)
    second, opened = _scanned(folder, read)
    assert opened == ["link.jpg"]
    sizes = [{p.path: (p.width, p.height) for p in index.photos}["a/link.jpg"] for index in (first, second)]
    assert sizes == [(12, 9), (7, 9)]
    elsewhere.unlink()
    assert _scanned(folder, read)[0].left_out[0].path == "a/link.jpg"


@pytest.mark.parametrize("spoilt", [b"", b"{}", b"[[1, 2]]", b'[["a/0.jpg", 1, 2, 3, 4, 5]]', b"\xff"])
def test_a_spoilt_memory_is_no_memory(tmp_path: Path, fill: Fill, read: list[str], spoilt: bytes) -> None:
    folder = fill(tmp_path / "x", {"a": 2, "b": 2})
    first, _ = _scanned(folder, read)
    (file,) = (resources.cache_dir() / "scans").rglob("files.json")
    file.write_bytes(spoilt)
    assert _scanned(folder, read)[0] == first
    assert _scanned(folder, read)[1] == []


def test_it_is_cached_like_all_else(tmp_path: Path, fill: Fill, read: list[str]) -> None:
    folder = fill(tmp_path / "x", {"a": 2, "b": 2})
    _scanned(folder, read)
    assert [kind.kind for kind in caches.info().kinds] == ["scans"]
    assert caches.clear("scans") > 0
    assert len(_scanned(folder, read)[1]) == 4
    caches.set_budget(0)
    _scanned(folder, read)
    assert caches.info().total_bytes == 0, "a cache that may keep nothing keeps nothing"
    assert len(_scanned(folder, read)[1]) == 4


def test_what_has_not_changed_since_is_not_hashed_when_it_is_decoded(
    tmp_path: Path, fill: Fill, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what has, is: two photos that swap their names keep their contents, and their sizes tell nothing."""
    index = scan(fill(tmp_path / "pets", {"cats": 4, "dogs": 4}))
    hashed: list[str] = []
    real = store_module.content_hash

    def counted(file: BinaryIO) -> str:
        hashed.append(real(file))
        return hashed[-1]

    monkeypatch.setattr(store_module, "content_hash", counted)
    preprocessing = Preprocessing(resize=40, crop=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    first, second, *rest = sorted(index.photos, key=lambda photo: photo.path)
    aside = tmp_path / "aside"
    (index.root / first.path).rename(aside)
    (index.root / second.path).rename(index.root / first.path)
    aside.rename(index.root / second.path)
    photos = PhotoStore(index.root, preprocessing, photos=index.photos)
    assert not photos.prepare([photo.path for photo in index.photos])
    assert sorted(hashed) == sorted([first.content_hash, second.content_hash])
    assert photos.changed == {first.path: second.content_hash, second.path: first.content_hash}
    for photo in rest:
        assert photos.get(photo.path).shape[0] == 3
