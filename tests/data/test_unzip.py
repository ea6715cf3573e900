from __future__ import annotations

import errno
import io
import os
import shutil
import stat
import struct
import threading
import time
import zipfile
from collections import namedtuple
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tl_app import caches
from tl_app.data import unzip
from tl_app.data.index import scan
from tl_app.data.sources import open_source
from tl_app.errors import DataError, Interrupted, ResourceError

Picture = Callable[..., Image.Image]
Encoded = Callable[..., bytes]


def zip_of(path: Path, content: Mapping[str, bytes | zipfile.ZipInfo], **options: Any) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, data in content.items():
            if isinstance(data, zipfile.ZipInfo):
                archive.writestr(data, b"../../etc/passwd")
            else:
                archive.writestr(name, data)
    return path


@pytest.fixture
def photos(picture: Picture, encoded: Encoded) -> dict[str, bytes]:
    return {
        f"{label}/{n}.jpg": encoded(picture(seed=n), "JPEG") for n in range(3) for label in ("cats", "dogs")
    }


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def _nothing_left(home: Path) -> bool:
    return not (home / "cache" / "zips").exists() or not list((home / "cache" / "zips").iterdir())


def _refused(path: Path, match: str, kind: type[Exception] = DataError) -> str:
    with pytest.raises(kind, match=match) as caught:
        open_source(path)
    return str(caught.value)


# --- what works ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "wrapped/", "./", "deep/er/"])
def test_a_zip_is_scanned_like_a_folder(prefix: str, tmp_path: Path, photos: dict[str, bytes]) -> None:
    content = {prefix + name: data for name, data in photos.items()}
    content |= {f"__MACOSX/{prefix}cats/._0.jpg": b"x", f"{prefix}cats/.DS_Store": b"x"}
    path = zip_of(tmp_path / "photos.zip", content)
    index = scan(path)
    assert index.classes == ("cats", "dogs") and len(index.photos) == 6 and not index.left_out
    assert index.source == str(path)
    folder = open_source(path)
    assert _files(folder) == {
        name.removeprefix("./") for name in content if "." not in name.split("/")[-1][0]
    } - {name for name in content if "MACOSX" in name}


def test_split_folders_in_a_zip(tmp_path: Path, photos: dict[str, bytes]) -> None:
    content = {f"set/{split}/{name}": data for split in ("train", "val") for name, data in photos.items()}
    index = scan(zip_of(tmp_path / "x.zip", content))
    assert index.counts() == {label: {"train": 3, "val": 3} for label in ("cats", "dogs")}


def test_the_ending_does_not_matter(tmp_path: Path, photos: dict[str, bytes]) -> None:
    assert len(scan(zip_of(tmp_path / "photos", photos)).photos) == 6


def test_unpacked_once_by_content(tmp_path: Path, photos: dict[str, bytes], own_home: Path) -> None:
    path = zip_of(tmp_path / "x.zip", photos)
    first = open_source(path)
    assert first.parent == own_home / "cache" / "zips"
    marker = first / "still here"
    marker.touch()
    shutil.copy(path, tmp_path / "renamed.zip")
    assert open_source(tmp_path / "renamed.zip") == first and marker.exists()
    other = zip_of(tmp_path / "x.zip", photos | {"cats/new.jpg": photos["cats/0.jpg"]})
    assert open_source(other) != first


def test_backslashes_from_windows(tmp_path: Path, photos: dict[str, bytes]) -> None:
    content: dict[str, Any] = {"set\\": b""}
    content |= {"set\\" + name.replace("/", "\\"): data for name, data in photos.items()}
    assert scan(zip_of(tmp_path / "x.zip", content)).classes == ("cats", "dogs")


def test_odd_names_in_a_zip(tmp_path: Path, photos: dict[str, bytes]) -> None:
    names = ["cats/ü 猫.jpg", "cats/a'b\"c,.jpg", "cats/%2e%2e.jpg", "cats/x...jpg", "cats/a..b/c.jpg"]
    path = zip_of(tmp_path / "x.zip", photos | {name: photos["cats/0.jpg"] for name in names})
    assert len(scan(path).photos) == 6 + len(names)


def test_a_zip_in_a_zip_is_left_alone(tmp_path: Path, photos: dict[str, bytes]) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("cats/deep.jpg", photos["cats/0.jpg"])
    index = scan(zip_of(tmp_path / "x.zip", photos | {"cats/inner.zip": inner.getvalue()}))
    assert {photo.path: photo.issue for photo in index.left_out} == {
        "cats/inner.zip": "It is a zip archive, not a photo."
    }


def test_progress_and_stopping(tmp_path: Path, photos: dict[str, bytes], own_home: Path) -> None:
    path = zip_of(tmp_path / "x.zip", photos)
    with pytest.raises(Interrupted, match="stopped"):
        open_source(path, should_stop=lambda: True)
    answers = iter([False] * 8)
    with pytest.raises(Interrupted, match="stopped"):
        open_source(path, should_stop=lambda: next(answers, True))
    assert _nothing_left(own_home)
    seen: list[tuple[int, int]] = []
    open_source(path, on_progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, 6) and seen[-1] == (6, 6)


def test_two_at_the_same_time(tmp_path: Path, photos: dict[str, bytes], own_home: Path) -> None:
    path = zip_of(tmp_path / "x.zip", photos)
    start = threading.Barrier(4)

    def work(_: int) -> Path:
        start.wait()
        return open_source(path)

    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(work, range(4)))
    assert len(folders) == 1 and _files(folders.pop()) == set(photos)
    assert len(list((own_home / "cache" / "zips").iterdir())) == 1


def test_what_a_killed_process_left_is_removed(
    tmp_path: Path, photos: dict[str, bytes], own_home: Path
) -> None:
    zips = own_home / "cache" / "zips"
    for name, age in (("partial-old", 2 * 24 * 3600), ("partial-new", 60)):
        (zips / name / "cats").mkdir(parents=True)
        os.utime(zips / name, (time.time() - age,) * 2)
    open_source(zip_of(tmp_path / "x.zip", photos))
    assert not (zips / "partial-old").exists() and (zips / "partial-new").exists()


# --- attacks and accidents -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["../evil.jpg", "cats/../../evil.jpg", "/etc/evil.jpg", "//server/evil.jpg", "C:/evil.jpg", "C:evil.jpg"]
    + ["..\\evil.jpg", "cats\\..\\..\\evil.jpg", "\\evil.jpg", "C:\\evil.jpg", "..", "cats/.."],
)
def test_nothing_is_written_outside(
    name: str, tmp_path: Path, photos: dict[str, bytes], own_home: Path
) -> None:
    path = zip_of(tmp_path / "x.zip", photos | {name: b"evil"})
    before = _files(tmp_path)
    message = _refused(path, "is not unpacked: it holds '.*', which would be written outside its own folder")
    assert "unpack it yourself" in message
    assert _files(tmp_path) == before and _nothing_left(own_home)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_devices(kind: int, tmp_path: Path, photos: dict[str, bytes], own_home: Path) -> None:
    info = zipfile.ZipInfo("cats/odd.jpg")
    info.create_system = 3
    info.external_attr = (kind | 0o777) << 16
    _refused(zip_of(tmp_path / "x.zip", {**photos, "odd": info}), r"odd\.jpg'.*Only plain files are unpacked")
    assert _nothing_left(own_home)


def _flags(path: Path, flag: int) -> Path:
    """Set a flag bit of every member, in both places where a zip keeps it."""
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(signature)
        while at >= 0:
            content[at + offset] |= flag
            at = content.find(signature, at + 4)
    path.write_bytes(content)
    return path


def test_a_password(tmp_path: Path, photos: dict[str, bytes], own_home: Path) -> None:
    path = _flags(zip_of(tmp_path / "x.zip", photos), 1)
    assert "Unpack it and name the folder" in _refused(path, "protected with a password")
    assert _nothing_left(own_home)


def test_a_bomb_by_its_table_of_contents(tmp_path: Path, own_home: Path) -> None:
    path = zip_of(tmp_path / "bomb.zip", {f"a/{n}.bmp": bytes(30 * 2**20) for n in range(4)})
    assert path.stat().st_size < 200_000
    _refused(path, "more than 200 times its size, as a zip bomb does")
    assert _nothing_left(own_home)


def test_a_bomb_whose_table_of_contents_lies(
    tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zip_of(tmp_path / "bomb.zip", {f"a/{n}.bmp": bytes(30 * 2**20) for n in range(4)})
    real = unzip._check_bytes
    calls: list[int] = []

    def check(path: Path, packed_bytes: int, unpacked_bytes: int, most_bytes: int) -> None:
        calls.append(unpacked_bytes)
        if len(calls) > 1:  # the first call is about what the table claims
            real(path, packed_bytes, unpacked_bytes, most_bytes)

    monkeypatch.setattr(unzip, "_check_bytes", check)
    _refused(path, "zip bomb")
    assert calls[-1] < 70 * 2**20 and _nothing_left(own_home)  # stopped on the way, nothing stays


def test_members_that_claim_to_be_smaller_than_they_are(tmp_path: Path, own_home: Path) -> None:
    path = zip_of(tmp_path / "x.zip", {"a/1.bmp": bytes(10**6)})
    content = path.read_bytes().replace(struct.pack("<I", 10**6), struct.pack("<I", 10))
    path.write_bytes(content)
    _refused(path, "cannot be unpacked")
    assert _nothing_left(own_home)


def test_limits(tmp_path: Path, photos: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    path = zip_of(tmp_path / "x.zip", photos)
    with monkeypatch.context() as patch:
        patch.setattr(unzip, "MAX_MEMBERS", 5)
        _refused(path, "it holds 6 files.*At most 5 are unpacked")
    with monkeypatch.context() as patch:
        patch.setattr(unzip, "MAX_UNPACKED_BYTES", 1000)
        _refused(path, "it unpacks to more than")
    assert unzip.MAX_MEMBERS == 100_000 and unzip.MAX_RATIO == 200


def test_many_members_for_real(tmp_path: Path) -> None:
    path = tmp_path / "many.zip"
    # One member's entry in the table of contents, 100,001 times over.
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/1.txt", b"x")
    content = path.read_bytes()
    start, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    table = content[start:end] * 65_535
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 65_535, 65_535, len(table), start, 0)
    path.write_bytes(content[:start] + table + tail)
    old, unzip.MAX_MEMBERS = unzip.MAX_MEMBERS, 60_000
    try:
        _refused(path, "it holds 65,535 files")
    finally:
        unzip.MAX_MEMBERS = old


Usage = namedtuple("Usage", "total used free")


def test_a_full_disk(
    tmp_path: Path, photos: dict[str, bytes], own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zip_of(tmp_path / "x.zip", photos)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: Usage(10, 10, 100))
        message = _refused(path, "unpacks to 0.0 GB, and 0.0 GB are free", ResourceError)
        assert "TL_APP_HOME" in message
    with monkeypatch.context() as patch:

        def full(*args: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(unzip, "_created", full)
        _refused(path, "The disk is full", ResourceError)
    assert _nothing_left(own_home)


def test_room_is_made_within_the_caches_limit(tmp_path: Path, photos: dict[str, bytes]) -> None:
    path = zip_of(tmp_path / "x.zip", photos | {"cats/large.txt": bytes(300_000)})
    old, young = (caches.folder("decoded", name) for name in ("old", "young"))
    for entry, age_seconds in ((old, 100.0), (young, 0.0)):
        (entry / "pixels").write_bytes(os.urandom(300_000))
        os.utime(entry, (time.time() - age_seconds,) * 2)
    caches.set_budget(800_000)
    with caches.hold(old), caches.hold(young):
        message = _refused(path, "unpacks to 0.0 GB.*the cache may take 0.0 GB", ResourceError)
        assert "tl-app cache limit" in message and "unpack it yourself" in message
    assert open_source(path).is_dir()
    assert young.is_dir() and not old.exists() and caches.info().total_bytes < 800_000


def test_a_cache_that_cannot_be_written(
    tmp_path: Path, photos: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "a file"
    blocked.touch()
    monkeypatch.setenv("TL_APP_HOME", str(blocked))
    _refused(zip_of(tmp_path / "x.zip", photos), "The cache folder .* cannot be written", ResourceError)


def test_a_name_that_is_both_file_and_folder(tmp_path: Path, own_home: Path) -> None:
    path = zip_of(tmp_path / "x.zip", {"a": b"x", "a/1.jpg": b"x"})
    _refused(path, r"'a/1\.jpg' in it cannot be written")
    _refused(zip_of(tmp_path / "y.zip", {"a/" + "n" * 300 + ".jpg": b"x"}), "cannot be written")
    assert _nothing_left(own_home)


def test_a_damaged_member(tmp_path: Path, photos: dict[str, bytes], own_home: Path) -> None:
    path = zip_of(tmp_path / "x.zip", photos)
    content = bytearray(path.read_bytes())
    content[80] ^= 0xFF
    path.write_bytes(content)
    assert "Download or make it again" in _refused(path, "cannot be unpacked")
    assert _nothing_left(own_home)


def test_any_damage_is_an_error_of_ours(tmp_path: Path, photos: dict[str, bytes], own_home: Path) -> None:
    import random

    whole = zip_of(tmp_path / "x.zip", photos).read_bytes()
    rng = random.Random(1)
    for number in range(150):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        if number % 3 == 0:  # the table of contents, at the end
            content[-rng.randint(1, 300)] = rng.randrange(256)
        path = tmp_path / "spoilt.zip"
        path.write_bytes(content)
        try:
            open_source(path)
        except (DataError, ResourceError) as error:
            assert str(error)
    assert not list((own_home / "cache" / "zips").glob("partial-*"))
