"""The file of decoded photos: what is read back is right whatever happened while it was written."""

from __future__ import annotations

import errno
import gc
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tl_app import caches, resources
from tl_app.data import decoded, durable, pixelfile, preprocessing
from tl_app.data.decode import _opened
from tl_app.data.decoded import DecodedPhotos, open_decoded
from tl_app.data.index import scan
from tl_app.data.manifest import DatasetIndex, Photo, content_hash
from tl_app.data.store import PhotoStore, Preprocessing
from tl_app.errors import Interrupted, PhotoError, ResourceError

Fill = Callable[..., Path]
Picture = Callable[..., Image.Image]
Encoded = Callable[..., bytes]

SMALL = Preprocessing(resize=16, crop=12)
PHOTOS = 24


@pytest.fixture
def index(tmp_path: Path, fill: Fill) -> DatasetIndex:
    return scan(fill(tmp_path / "x", {"a": PHOTOS // 2, "b": PHOTOS // 2}))


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hash of each photo that is decoded."""
    seen: list[str] = []
    original = preprocessing.open_pixels

    def counted(source: Any, **options: Any) -> np.ndarray:
        with _opened(source) as file:
            seen.append(content_hash(file))
        return original(source, **options)

    monkeypatch.setattr(preprocessing, "open_pixels", counted)
    return seen


def used(index: DatasetIndex) -> list[Photo]:
    return [photo for photo in index.photos if not photo.issue]


def store_of(index: DatasetIndex, **options: Any) -> PhotoStore:
    return PhotoStore(index.root, SMALL, photos=used(index), **options)


def paths_of(index: DatasetIndex) -> list[str]:
    return [photo.path for photo in used(index)]


def settle() -> None:
    """Waits until what was written is in the journal and nobody holds the file any more."""
    for thread in threading.enumerate():
        if thread.name == "tl-app decoded photos":
            thread.join(20)
            assert not thread.is_alive()


def entry() -> Path:
    (folder,) = (resources.cache_dir() / "decoded").iterdir()
    return folder


def assert_right(store: PhotoStore, index: DatasetIndex) -> None:
    for path in paths_of(index):
        assert torch.equal(store.get(path), SMALL.load(index.root / path)), path


# --- the store on top of it ------------------------------------------------------------------------------


def test_each_photo_is_decoded_once_for_good(index: DatasetIndex, decodes: list[str]) -> None:
    first = store_of(index)
    assert first.prepare(paths_of(index)) == {} and len(decodes) == PHOTOS
    assert first.notice == "" and first.held_bytes == 0  # nothing is in memory as well
    for path in paths_of(index):
        photo = first.get(path)
        assert photo.dtype == torch.uint8 and photo.shape == (3, 16, 24) and photo.stride() == (1, 72, 3)
    del first
    settle()
    again = store_of(index)
    seen: list[tuple[int, int]] = []
    assert again.prepare(paths_of(index), on_progress=lambda *step: seen.append(step)) == {}
    assert len(decodes) == PHOTOS and seen == [(PHOTOS, PHOTOS)]
    assert_right(again, index)


def test_other_preprocessing_is_another_file(index: DatasetIndex, decodes: list[str]) -> None:
    kinds = [
        SMALL,
        Preprocessing(16, 16),
        Preprocessing(20, 12),
        Preprocessing(16, 12, interpolation="bicubic"),
    ]
    for each in kinds:
        store = PhotoStore(index.root, each, photos=used(index))
        store.prepare(paths_of(index))
        assert torch.equal(store.get("a/0.jpg"), each.load(index.root / "a/0.jpg"))
    assert len(list((resources.cache_dir() / "decoded").iterdir())) == 3  # the crop does not matter
    assert len(decodes) == 3 * PHOTOS + len(kinds)


def test_part_of_the_photos_now_and_the_rest_later(index: DatasetIndex, decodes: list[str]) -> None:
    """Evaluation wants the validation photos alone, of the same file."""
    val = [photo.path for photo in index.used("val")]
    store_of(index).prepare(val)
    settle()
    assert 0 < len(decodes) == len(val) < PHOTOS
    store_of(index).prepare(paths_of(index))
    assert len(decodes) == PHOTOS and len(set(decodes)) == PHOTOS


def test_names_and_order_do_not_matter(index: DatasetIndex, decodes: list[str]) -> None:
    store_of(index).prepare(paths_of(index))
    settle()
    (index.root / "b" / "0.jpg").rename(index.root / "a" / "99.jpg")  # put into the right class
    moved = scan(index.root)
    store = store_of(moved)
    store.prepare(paths_of(moved)[::-1])
    assert len(decodes) == PHOTOS and len(list((resources.cache_dir() / "decoded").iterdir())) == 1
    assert_right(store, moved)


def test_photos_that_are_added_are_the_only_ones_decoded(
    index: DatasetIndex, picture: Picture, encoded: Encoded, decodes: list[str]
) -> None:
    store_of(index).prepare(paths_of(index))
    settle()
    first = entry()
    (index.root / "a" / "new.jpg").write_bytes(encoded(picture(seed=99), "JPEG"))
    grown = scan(index.root)
    of_new = next(photo.content_hash for photo in grown.photos if photo.path == "a/new.jpg")
    store = store_of(grown)
    assert store.prepare(paths_of(grown)) == {}
    assert len(decodes) == PHOTOS + 1 and decodes[-1] == of_new
    settle()
    shutil.rmtree(first)  # the photos were copied
    assert store.prepare(paths_of(grown)) == {} and len(decodes) == PHOTOS + 1
    assert_right(store, grown)


def test_a_spoilt_file_gives_nothing(
    index: DatasetIndex, picture: Picture, encoded: Encoded, decodes: list[str]
) -> None:
    store_of(index).prepare(paths_of(index))
    settle()
    done_bytes = (entry() / "journal").stat().st_size
    (index.root / "a" / "new.jpg").write_bytes(encoded(picture(seed=99), "JPEG"))
    grown = scan(index.root)
    for name, length_bytes in (("journal", done_bytes - 1), ("pixels", 100), ("photos", 70)):
        os.truncate(entry() / name, length_bytes)
        decodes.clear()
        store = store_of(grown)
        assert store.prepare(paths_of(grown)) == {} and len(decodes) == PHOTOS + 1
        assert_right(store, grown)
        del store
        settle()
        shutil.rmtree(
            max((resources.cache_dir() / "decoded").iterdir(), key=lambda path: path.stat().st_mtime)
        )


def test_the_same_photo_twice(index: DatasetIndex, decodes: list[str]) -> None:
    (index.root / "b" / "copy.jpg").write_bytes((index.root / "a" / "0.jpg").read_bytes())
    twice = scan(index.root)
    store = store_of(twice)
    assert store.prepare(paths_of(twice)) == {}
    assert torch.equal(store.get("a/0.jpg"), store.get("b/copy.jpg"))
    assert len((entry() / "photos").read_text().splitlines()) == PHOTOS


def test_photos_on_their_side(tmp_path: Path, fill: Fill, picture: Picture, encoded: Encoded) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    folder = fill(tmp_path / "x", {"a": 2, "b": 2, "b/side.jpg": encoded(picture(), "JPEG", exif=exif)})
    index = scan(folder)
    store = store_of(index)
    store.prepare(paths_of(index))
    assert store.held_bytes == 0 and store.get("b/side.jpg").shape == (3, 24, 16)
    assert_right(store, index)


@pytest.mark.usefixtures("one_by_one")
def test_stop_and_go_on(index: DatasetIndex, decodes: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([False] * 6)
    counted = preprocessing.open_pixels
    with monkeypatch.context() as patch:
        patch.setattr(
            preprocessing,
            "open_pixels",
            lambda *args, **options: (time.sleep(0.02), counted(*args, **options))[1],
        )
        with pytest.raises(Interrupted):
            store_of(index).prepare(paths_of(index), should_stop=lambda: next(answers, True))
    settle()
    done = len(decodes)
    assert 7 <= done < PHOTOS
    seen: list[tuple[int, int]] = []
    store = store_of(index)
    store.prepare(paths_of(index), on_progress=lambda *step: seen.append(step))
    assert seen[0] == (done, PHOTOS) and seen[-1] == (PHOTOS, PHOTOS)
    assert len(decodes) == PHOTOS
    assert_right(store, index)


def test_a_second_store_sees_what_the_disk_has_not_confirmed(
    index: DatasetIndex, decodes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    confirmed = threading.Event()
    original = durable._sync
    monkeypatch.setattr(durable, "_sync", lambda handle: (confirmed.wait(20), original(handle)))
    try:
        store_of(index).prepare(paths_of(index))
        second = store_of(index)
        second.prepare(paths_of(index))
        assert len(decodes) == PHOTOS
        assert_right(second, index)
    finally:
        confirmed.set()
    settle()
    assert len(store_of(index)._decoded._journal.read()[0]) == PHOTOS


def test_a_photo_that_has_changed_since_the_scan(
    index: DatasetIndex, picture: Picture, encoded: Encoded, decodes: list[str]
) -> None:
    path = index.root / "a" / "0.jpg"
    content = path.read_bytes()
    other = encoded(picture(seed=1000), "JPEG", quality=50)
    same_size = bytearray(content)
    same_size[-40] ^= 1
    for changed in (other, bytes(same_size)):
        path.write_bytes(changed)
        store = store_of(index)
        assert store.prepare(paths_of(index)) == {}
        assert torch.equal(store.get("a/0.jpg"), SMALL.load(changed))
        assert store.held_bytes == 3 * 16 * 24  # in memory alone
        assert list(store.changed) == ["a/0.jpg"] and store.changed["a/0.jpg"] != index.photos[0].content_hash
        del store
        settle()
    path.write_bytes(content)
    store = store_of(index)
    store.prepare(paths_of(index))
    assert store.held_bytes == 0
    assert_right(store, index)


@pytest.mark.parametrize("decoded_before", [False, True])
@pytest.mark.parametrize("room", [False, True])
def test_renumbered_files_are_what_they_are_now(
    index: DatasetIndex, decodes: list[str], room: bool, decoded_before: bool
) -> None:
    if not room:
        caches.set_budget(0)
    elif decoded_before:
        store_of(index).prepare(["a/1.jpg", "a/2.jpg", "b/0.jpg"])
        settle()
    scanned = {photo.path: photo.content_hash for photo in index.photos}
    pixels = {photo.content_hash: SMALL.load(index.root / photo.path) for photo in index.photos}
    (index.root / "a" / "0.jpg").unlink()
    for number in range(1, PHOTOS // 2):
        (index.root / "a" / f"{number}.jpg").rename(index.root / "a" / f"{number - 1}.jpg")
    store = store_of(index, budget_bytes=0)
    assert list(store.prepare(paths_of(index))) == ([f"a/{PHOTOS // 2 - 1}.jpg"])
    for path in paths_of(index):
        if (index.root / path).exists():
            content = store.changed.get(path, scanned[path])
            assert torch.equal(store.get(path), pixels[content]), path
    known = 2 if room and decoded_before else 0
    assert len(store.changed) == PHOTOS // 2 - 1 - known


def test_a_photo_that_changes_after_it_was_read(
    index: DatasetIndex, picture: Picture, encoded: Encoded
) -> None:
    """What is computed of it later would be kept under the hash of what was there at first."""
    caches.set_budget(0)
    store = store_of(index, budget_bytes=0)
    assert store.prepare(paths_of(index)) == {}
    (index.root / "a" / "0.jpg").write_bytes(encoded(picture(seed=1000), "JPEG", quality=50))
    with pytest.raises(PhotoError, match=r"a/0\.jpg is another picture than"):
        store.get("a/0.jpg")
    assert store.changed == {}


def test_what_cannot_be_decoded_is_known_the_next_time(
    index: DatasetIndex, encoded: Encoded, picture: Picture, decodes: list[str]
) -> None:
    content = bytearray(encoded(picture(64, 64), "PNG"))
    content[len(content) // 2] ^= 0xFF  # whole in structure, damaged in its pixels: only decoding tells
    (index.root / "a" / "spoilt.png").write_bytes(content)
    spoilt = scan(index.root)
    failed = store_of(spoilt).prepare(paths_of(spoilt))
    assert list(failed) == ["a/spoilt.png"] and "damaged" in failed["a/spoilt.png"]
    settle()
    decodes.clear()
    store = store_of(spoilt)
    assert store.prepare(paths_of(spoilt)) == failed and decodes == []
    with pytest.raises(PhotoError) as caught:
        store.get("a/spoilt.png")
    assert str(caught.value) == failed["a/spoilt.png"]


@pytest.mark.parametrize(
    ("cause", "decoded_again"),
    [
        (MemoryError(), True),
        (ImportError(), True),
        (OSError(errno.EIO, "I/O error"), True),
        (OSError("bad"), False),
    ],
)
def test_what_may_go_well_the_next_time_is_tried_again(
    index: DatasetIndex, monkeypatch: pytest.MonkeyPatch, cause: Exception, decoded_again: bool
) -> None:
    def failing(*_: Any, **__: Any) -> np.ndarray:
        raise PhotoError("It went wrong.") from cause

    with monkeypatch.context() as patch:
        patch.setattr(preprocessing, "open_pixels", failing)
        assert len(store_of(index).prepare(paths_of(index))) == PHOTOS
        settle()
    assert len(store_of(index).prepare(paths_of(index))) == (0 if decoded_again else PHOTOS)


def test_a_file_that_is_gone_is_not_remembered(index: DatasetIndex) -> None:
    content = (index.root / "a" / "0.jpg").read_bytes()
    (index.root / "a" / "0.jpg").unlink()
    store = store_of(index)
    assert "not there" in store.prepare(paths_of(index))["a/0.jpg"]
    (index.root / "a" / "0.jpg").write_bytes(content)
    assert store.prepare(paths_of(index)) == {}
    (index.root / "a" / "0.jpg").unlink()  # from here on the cache has it
    assert store.get("a/0.jpg").shape == (3, 16, 24)


def test_many_threads_read_while_others_write(index: DatasetIndex) -> None:
    expected = {path: SMALL.load(index.root / path) for path in paths_of(index)}
    store = store_of(index)

    def work(number: int) -> bool:
        if number % 4 == 0:
            return store.prepare(paths_of(index)) == {}
        order = np.random.default_rng(number).permutation(PHOTOS)
        return all(torch.equal(store.get(paths_of(index)[i]), expected[paths_of(index)[i]]) for i in order)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(16)))


def test_the_entry_stays_while_a_store_is_open(index: DatasetIndex) -> None:
    store = store_of(index)
    store.prepare(paths_of(index))
    settle()
    assert caches.in_use("decoded") == [f"decoded/{entry().name}"]
    assert caches.clear("decoded") == 0
    assert_right(store, index)
    settle()
    gc.disable()  # no cycle keeps it
    try:
        del store
        assert caches.in_use() == [] and caches.clear("decoded") > 0
    finally:
        gc.enable()


def test_an_unpacked_zip_stays_while_its_photos_are_read(fill: Fill) -> None:
    folder = fill(resources.cache_dir() / "zips" / "abc" / "photos", {"a": 2})
    store = PhotoStore(folder, SMALL)
    assert caches.in_use() == ["zips/abc"]
    del store
    assert caches.in_use() == []


# --- no room, no rights ----------------------------------------------------------------------------------


def test_without_room_photos_are_kept_in_memory(index: DatasetIndex, decodes: list[str]) -> None:
    caches.set_budget(PHOTOS * 3 * 16 * 24 - 1)
    store = store_of(index)
    assert "no room on the disk to keep 0.0 GB" in store.notice and "tl-app cache limit" in store.notice
    store.prepare(paths_of(index))
    assert store.held_bytes == PHOTOS * 3 * 16 * 24
    assert_right(store, index)
    assert caches.info().total_bytes == 0


def test_a_budget_lowered_half_way(index: DatasetIndex, decodes: list[str]) -> None:
    """What is there is read, and nothing is added."""
    store_of(index).prepare(paths_of(index)[:5])
    store = store_of(index)
    settle()
    caches.set_budget(0)
    assert store.prepare(paths_of(index)) == {}
    assert store.held_bytes == (PHOTOS - 5) * 3 * 16 * 24 and len(decodes) == PHOTOS
    assert os.strerror(errno.ENOSPC) in store.notice
    assert_right(store, index)


def test_a_cache_that_somebody_deletes_and_makes_again(index: DatasetIndex, decodes: list[str]) -> None:
    """The photos of the old file stay readable, and none of the new one's are looked for in it."""
    store = store_of(index)
    store.prepare(paths_of(index)[:5])
    settle()
    old = {path: store.get(path).clone() for path in paths_of(index)[:5]}
    shutil.rmtree(resources.cache_dir())
    assert all(torch.equal(store.get(path), image) for path, image in old.items())
    assert store.prepare(paths_of(index)) == {} and store.notice
    assert_right(store, index)
    with child(index, 0.0) as process:
        assert process.wait(60) == 0
    assert store.prepare(paths_of(index)) == {} and "replaced" in store.notice
    assert_right(store, index)


def test_a_cache_that_cannot_be_written(index: DatasetIndex, own_home: Path) -> None:
    own_home.mkdir(exist_ok=True)
    (own_home / "cache").write_text("a file where a folder should be")
    store = store_of(index)
    assert store.notice.startswith("Decoded photos are not all kept on disk")
    assert store.prepare(paths_of(index)) == {}
    assert_right(store, index)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_fills_up(
    index: DatasetIndex, monkeypatch: pytest.MonkeyPatch, decodes: list[str], code: int
) -> None:
    room = [5 * 3 * 16 * 24 + 100]
    original, one_at_a_time = os.pwrite, threading.Lock()

    def until_full(handle: int, data: memoryview, offset: int) -> int:
        with one_at_a_time:
            if room[0] <= 0:
                raise OSError(code, os.strerror(code))
            written = original(handle, data[: room[0]], offset)  # the last one fits in part
            room[0] -= written
            return written

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", until_full)
        store = store_of(index)
        assert store.prepare(paths_of(index)) == {}
        assert os.strerror(code) in store.notice
        assert store.held_bytes == (PHOTOS - 5) * 3 * 16 * 24
        assert_right(store, index)
        del store
        settle()
    decodes.clear()
    store = store_of(index)
    store.prepare(paths_of(index))  # there is room again
    assert len(decodes) == PHOTOS - 5 and store.notice == ""
    assert_right(store, index)


def test_a_disk_that_does_not_keep_what_it_took(
    index: DatasetIndex, monkeypatch: pytest.MonkeyPatch, decodes: list[str]
) -> None:
    calls: list[int] = []

    def broken_once(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 1:
            raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(durable, "_sync", broken_once)
    store = store_of(index)
    store.prepare(paths_of(index))
    settle()
    assert store._decoded._journal.read() == (set(), {})
    assert not any(store._known(path) for path in paths_of(index))  # nor are they read in this process
    assert_right(store, index)


# --- killed, cut off, torn ---------------------------------------------------------------------------------


CHILD = """
import sys, time
from pathlib import Path
from tl_app.data import durable, preprocessing
from tl_app.data.index import scan
from tl_app.data.store import PhotoStore, Preprocessing
durable._BLOCK_BYTES = 3000
original = preprocessing.open_pixels
def slow(*args, **options):
    time.sleep(float(sys.argv[2]))
    return original(*args, **options)
preprocessing.open_pixels = slow
index = scan(sys.argv[1])
photos = [photo for photo in index.photos if not photo.issue]
PhotoStore(index.root, Preprocessing(resize=16, crop=12), photos=photos).prepare([photo.path for photo in photos])
"""


def child(index: DatasetIndex, seconds_a_photo: float) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", CHILD, str(index.root), str(seconds_a_photo)])


def journal_grows(process: subprocess.Popen[bytes], past_bytes: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        for path in (resources.cache_dir() / "decoded").glob("*/journal"):
            if path.stat().st_size > past_bytes:
                return
        time.sleep(0.002)
    raise AssertionError("the journal did not grow")


def test_killed_in_the_middle_of_writing(index: DatasetIndex, decodes: list[str]) -> None:
    """Killed twice; what the journal does not name is spoilt, as a power cut would, and none of it is believed."""
    for past_bytes in (0, 120):
        with child(index, 0.05) as process:
            journal_grows(process, past_bytes)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        done, _ = durable.Journal(entry() / "journal").read()
        assert 0 < len(done) < PHOTOS
        rows, _ = pixelfile.rows_of((entry() / "photos").read_text().splitlines(keepends=True))
        with open(entry() / "pixels", "r+b") as file:
            for row in rows.values():
                if row.number not in done:
                    file.seek(row.offset)
                    file.write(b"\xab" * row.size_bytes)
    store = store_of(index)
    store.prepare(paths_of(index))
    assert len(decodes) == PHOTOS - len(done)
    assert_right(store, index)
    del store
    settle()
    assert len(durable.Journal(entry() / "journal").read()[0]) == PHOTOS


def test_the_end_of_the_program_waits_for_the_disk(index: DatasetIndex, decodes: list[str]) -> None:
    with child(index, 0.0) as process:
        assert process.wait(60) == 0
    store_of(index).prepare(paths_of(index))
    assert decodes == []


def test_nothing_is_entered_before_the_disk_has_it(
    index: DatasetIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "_BLOCK_BYTES", 3000)
    written: set[int] = set()
    safe: set[int] = set()
    entered: set[int] = set()
    write, sync, append = os.pwrite, durable._sync, durable.Journal.append

    def writing(handle: int, data: memoryview, offset: int) -> int:
        count = write(handle, data, offset)
        written.add(offset)
        return count

    def syncing(handle: int) -> None:
        before = set(written)
        sync(handle)
        if os.fstat(handle).st_ino == (entry() / "pixels").stat().st_ino:
            safe.update(before)

    def appending(self: durable.Journal, done: list[int], failed: dict[int, str]) -> None:
        rows, _ = pixelfile.rows_of((entry() / "photos").read_text().splitlines(keepends=True))
        offsets = {row.offset for row in rows.values() if row.number in set(done)}
        assert offsets and offsets <= safe
        entered.update(done)
        append(self, done, failed)

    monkeypatch.setattr(os, "pwrite", writing)
    monkeypatch.setattr(durable, "_sync", syncing)
    monkeypatch.setattr(durable.Journal, "append", appending)
    store_of(index).prepare(paths_of(index))
    settle()
    assert len(entered) == PHOTOS


def test_a_journal_cut_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.touch()
    journal = durable.Journal(path)
    journal.append([0, 1, 2, 7], {})
    first_bytes = path.stat().st_size
    journal.append([9, 8], {3: "damaged"})
    whole = path.read_bytes()
    assert journal.read() == ({0, 1, 2, 7, 8, 9}, {3: "damaged"})
    for length in range(len(whole)):
        for rest in (b"", b"\0" * 20, b'00000000 {"done": [[0, 10]], "failed": {}}\n'):
            path.write_bytes(whole[:length] + rest)
            expected = {0, 1, 2, 7} if length >= first_bytes else set()
            assert journal.read() == (expected, {})
        journal.cut()
        journal.append([5], {})
        assert journal.read() == (expected | {5}, {})


@pytest.mark.parametrize("name", ["photos", "pixels", "journal"])
@pytest.mark.parametrize("how", ["gone", "cut"])
def test_a_spoilt_file_is_made_anew(index: DatasetIndex, decodes: list[str], name: str, how: str) -> None:
    store_of(index).prepare(paths_of(index))
    settle()
    path = entry() / name
    if how == "gone":
        path.unlink()
    else:
        os.truncate(path, path.stat().st_size // 2)
    store = store_of(index)
    store.prepare(paths_of(index))
    assert len(decodes) == 2 * PHOTOS
    assert_right(store, index)


def test_while_another_process_writes_photos_are_kept_in_memory(
    index: DatasetIndex, decodes: list[str]
) -> None:
    with child(index, 0.1) as process:
        journal_grows(process, 0)
        store = store_of(index)
        assert store.prepare(paths_of(index)) == {}
        assert 0 < store.held_bytes < PHOTOS * 3 * 16 * 24  # some were there already
        assert_right(store, index)
        process.kill()


# --- the file itself -------------------------------------------------------------------------------------


def noise(count: int, width: int, height: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8, generator=generator)
    return {f"{number:032x}": row.permute(2, 0, 1) for number, row in enumerate(rows)}


def filled(images: dict[str, Tensor]) -> DecodedPhotos:
    file = open_decoded({name: (image.shape[2], image.shape[1]) for name, image in images.items()}, "noise")
    with file.writing():
        assert all(file.add(name, image) for name, image in images.items())
    return file


def test_any_strides_and_sizes() -> None:
    images = noise(3, 7, 5) | {f"f{number}": image for number, image in enumerate(noise(3, 4, 9).values())}
    images["f0"] = images["f0"].contiguous()  # one colour after the other
    file = filled(images)
    for name, image in images.items():
        read = file.read(name)
        assert read is not None and torch.equal(read, image) and read.stride()[0] == 1
    assert file.read("unknown") is None and not file.known("unknown") and file.failure("unknown") == ""


def test_what_does_not_fit_its_place_is_not_taken() -> None:
    file = open_decoded({"a": (4, 4), "b": (4, 4)}, "x")
    assert not file.add(
        "a", torch.zeros(3, 4, 4, dtype=torch.uint8)
    )  # nobody said that it is going to be written
    with file.writing():
        assert not file.add("a", torch.zeros(3, 4, 5, dtype=torch.uint8))
        assert not file.add("c", torch.zeros(3, 4, 4, dtype=torch.uint8))
        assert file.add("b", torch.full((3, 4, 4), 9, dtype=torch.uint8))
    assert file.read("a") is None and not file.known("a")


def test_no_room_names_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "_disk", lambda: (10**12, 10**10))
    with pytest.raises(ResourceError, match=r"no room on the disk to keep 26\.2 GB of decoded photos"):
        open_decoded({f"{number:032x}": (3410, 2560) for number in range(1000)}, "x")


def resident_bytes(path: Path) -> int:
    """How much of a mapped file counts as this process's memory."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    for line in lines:
        if line.endswith(str(path)):
            return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Rss:"))
    raise AssertionError("not mapped")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_resident_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    images = noise(40, 341, 256)
    file = filled(images)
    settle()

    def most_resident() -> int:
        most = 0
        for number, (name, image) in enumerate(images.items()):
            read = file.read(name)
            assert read is not None and torch.equal(read, image)
            most = max(most, resident_bytes(entry() / "pixels") if number % 5 == 4 else 0)
        return most

    assert most_resident() > 9_900_000
    monkeypatch.setattr(decoded, "_RESIDENT_BYTES", 1_000_000)
    most_resident()
    assert most_resident() < 2_000_000


def test_a_photo_that_is_still_used_outlives_its_store(index: DatasetIndex) -> None:
    store = store_of(index)
    store.prepare(paths_of(index))
    photo = store.get("a/0.jpg")
    del store
    settle()
    assert caches.clear("decoded") > 0
    assert torch.equal(photo, SMALL.load(index.root / "a/0.jpg"))


def test_twenty_thousand_photos_are_looked_up_quickly() -> None:
    names = [f"{number:032x}" for number in range(20_000)]
    sizes = dict.fromkeys(names, (2, 2))
    file = open_decoded(sizes, "x")
    image = torch.zeros(3, 2, 2, dtype=torch.uint8)
    with file.writing():
        for name in names:
            file.add(name, image)
    settle()
    del file
    started = time.process_time()
    file = open_decoded(sizes, "x")
    assert all(file.known(name) for name in names)
    assert time.process_time() - started < 1.5  # 0.15 s on an idle machine
    assert (entry() / "journal").stat().st_size < 10_000
