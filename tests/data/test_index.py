from __future__ import annotations

import os
import shutil
import sys
import threading
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from tl_app.data import index as index_module
from tl_app.data import opening
from tl_app.data.index import DatasetIndex, relocate, scan
from tl_app.data.layout import LAYOUTS, list_entries
from tl_app.errors import DataError, Interrupted, UserError

Picture = Callable[..., Image.Image]
Encoded = Callable[..., bytes]
Fill = Callable[..., Path]


def issues(index: DatasetIndex) -> dict[str, str]:
    return {photo.path: photo.issue for photo in index.left_out}


def tree(folder: Path) -> dict[str, tuple[int, float]]:
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime) for path in sorted(folder.rglob("*"))}


# --- layouts -------------------------------------------------------------------------------------------


def test_one_folder_per_class(tmp_path: Path, fill: Fill) -> None:
    folder = fill(tmp_path / "pets", {"cats": 10, "dogs": 5})
    before = tree(folder)
    index = scan(folder)
    assert index.classes == ("cats", "dogs") and index.made_split
    assert index.counts() == {"cats": {"train": 8, "val": 2}, "dogs": {"train": 4, "val": 1}}
    assert index.root == folder and index.source == str(folder) and not index.left_out
    assert [photo.path for photo in index.photos] == sorted(photo.path for photo in index.photos)
    photo = index.used("train")[0]
    assert (photo.width, photo.height) == (48, 32)
    assert photo.file_bytes == (folder / photo.path).stat().st_size and len(photo.content_hash) == 32
    assert tree(folder) == before


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val", "VALIDATION"])
def test_splits_that_are_there_are_kept(val: str, tmp_path: Path, fill: Fill) -> None:
    content = {"train/a": 3, "train/b": 4, f"{val}/a": 2, f"{val}/b": 1, "test/a": 1, "test/b": 2}
    index = scan(fill(tmp_path / "x", content))
    assert not index.made_split
    assert index.counts() == {"a": {"train": 3, "val": 2, "test": 1}, "b": {"train": 4, "val": 1, "test": 2}}


@pytest.mark.parametrize("rest", [{}, {"test/a": 2, "test/b": 2}, {"val": 0}, {"val/a": 0}, {"other": 0}])
def test_a_train_folder_without_val_is_divided(rest: dict[str, int], tmp_path: Path, fill: Fill) -> None:
    index = scan(fill(tmp_path / "x", {"train/a": 10, "train/b": 10} | rest))
    assert index.made_split
    counts = index.counts()
    assert counts["a"]["train"] == 8 and counts["a"]["val"] == 2
    assert len(index.used("test")) == (4 if "test/a" in rest else 0)


def test_folders_inside_a_class_belong_to_it(tmp_path: Path, fill: Fill) -> None:
    content = {"cats/tabby": 2, "cats/more/siamese": 2, "cats": 1, "dogs": 2, "dogs/train": 1}
    index = scan(fill(tmp_path / "x", content))
    assert {label: sum(counts.values()) for label, counts in index.counts().items()} == {"cats": 5, "dogs": 3}


def test_wrapping_folders_are_gone_into(tmp_path: Path, fill: Fill) -> None:
    folder = fill(
        tmp_path / "x", {"download/pets/cats": 2, "download/pets/dogs": 2, "download/LICENSE": b"MIT"}
    )
    index = scan(folder)
    assert index.classes == ("cats", "dogs") and index.root == folder / "download" / "pets"
    split = fill(tmp_path / "y", {"pets/train/a": 2, "pets/train/b": 2, "pets/val/a": 1, "pets/val/b": 1})
    assert not scan(split).made_split


def test_classes_that_are_called_like_splits(tmp_path: Path, fill: Fill) -> None:
    index = scan(fill(tmp_path / "x", {"train": 2, "car": 2, "bus": 2, "train/steam": 1}))
    assert index.classes == ("bus", "car", "train")


def test_what_lies_beside_the_splits(tmp_path: Path, fill: Fill, picture: Picture, encoded: Encoded) -> None:
    photo = encoded(picture(), "JPEG")
    content = {"train/a": 2, "train/b": 2, "val/a": 1, "val/b": 1}
    content |= {
        "extra/1.jpg": photo,
        "2.jpg": photo,
        "train/3.jpg": photo,
        "labels.csv": b"x",
        "extra/n.txt": b"",
    }
    assert issues(scan(fill(tmp_path / "x", content))) == {
        "2.jpg": "It is not inside a class folder.",
        "extra/1.jpg": "It is outside the train, val and test folders.",
        "train/3.jpg": "It is not inside a class folder.",
    }


def test_files_beside_class_folders_are_no_news_unless_photos(
    tmp_path: Path, fill: Fill, picture: Picture, encoded: Encoded
) -> None:
    content = {"a": 2, "b": 2, "README.md": b"# hi", "script.py": b"", "loose": encoded(picture(), "PNG")}
    assert issues(scan(fill(tmp_path / "x", content))) == {"loose": "It is not inside a class folder."}


def test_a_class_that_is_not_in_train(tmp_path: Path, fill: Fill) -> None:
    content = {"train/cats": 2, "train/dogs": 2, "val/cats": 1, "val/dogs": 1, "val/dog": 1, "test/emu": 1}
    index = scan(fill(tmp_path / "x", content))
    assert index.classes == ("cats", "dogs")
    assert issues(index) == {
        "val/dog/0.jpg": "Its class 'dog' has no photos in the train folder (there is 'dogs').",
        "test/emu/0.jpg": "Its class 'emu' has no photos in the train folder.",
    }


# --- what is left out ----------------------------------------------------------------------------------


def test_every_file_that_is_not_used_has_its_reason(
    tmp_path: Path, fill: Fill, picture: Picture, encoded: Encoded
) -> None:
    photo = encoded(picture(), "JPEG")
    folder = fill(
        tmp_path / "x",
        {
            "a": 3,
            "b": 3,
            "a/notes.txt": b"hello",
            "a/cut.jpg": photo[: len(photo) // 2],
            "a/page.jpg": b"<!DOCTYPE html><html>",
            "a/empty.png": b"",
            "b/clip.mp4": b"\0\0\0\x18ftypisom" + bytes(40),
            "b/inner.zip": b"PK\x03\x04" + bytes(40),
            "empty class": 0,
        },
    )
    (folder / "b" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (folder / "b" / "itself.jpg").symlink_to(folder / "b" / "itself.jpg")
    os.mkfifo(folder / "b" / "pipe.jpg")
    index = scan(folder)
    expected = {
        "a/notes.txt": "It is not a photo",
        "a/cut.jpg": "cut off",
        "a/page.jpg": "web page",
        "a/empty.png": "empty",
        "b/clip.mp4": "video",
        "b/inner.zip": "zip archive",
        "b/gone.jpg": "link to a file that is not there",
        "b/itself.jpg": "cannot be opened",
        "b/pipe.jpg": "not a regular file",
        "empty class": "This folder is empty",
    }
    found = issues(index)
    assert found.keys() == expected.keys()
    for path, words in expected.items():
        assert words in found[path]
    assert all(photo.split == "" for photo in index.left_out)
    assert len(index.used("train")) + len(index.used("val")) == 6


def test_system_files_are_not_worth_a_word(tmp_path: Path, fill: Fill) -> None:
    content: dict[str, Any] = {"a": 2, "b": 2}
    for name in (
        ".DS_Store",
        "._0.jpg",
        "Thumbs.db",
        "desktop.ini",
        ".hidden/0.jpg",
        "@eaDir/0.jpg",
        "Icon\r",
    ):
        content[f"a/{name}"] = b"system"
    content |= {"__MACOSX/a/0.jpg": b"x", ".git/HEAD": b"x", "__pycache__/x.pyc": b"x"}
    assert scan(fill(tmp_path / "x", content)).left_out == []


def test_a_wrong_ending_does_not_matter(
    tmp_path: Path, fill: Fill, picture: Picture, encoded: Encoded
) -> None:
    content: dict[str, Any] = {"a": 2, "b": 2}
    content |= {"a/really a png.jpg": encoded(picture(), "PNG"), "a/no ending": encoded(picture(), "WEBP")}
    content["a/capitals.JPEG"] = encoded(picture(), "JPEG")
    index = scan(fill(tmp_path / "x", content))
    assert not index.left_out and sum(index.counts()["a"].values()) == 5


@pytest.mark.parametrize(
    ("format", "ending"),
    [("JPEG", "jpg"), ("PNG", "png"), ("GIF", "gif"), ("BMP", "bmp"), ("WEBP", "webp"), ("TIFF", "tif")]
    + [("AVIF", "avif"), ("HEIF", "heic")],
)
def test_photos_cut_anywhere_never_stop_a_scan(
    format: str, ending: str, tmp_path: Path, fill: Fill, picture: Picture, encoded: Encoded
) -> None:
    whole = encoded(picture(), format)
    cuts = np.random.default_rng(3).integers(0, len(whole) - 16, 25)
    content: dict[str, Any] = {f"a/{cut:06d}.{ending}": whole[:cut] for cut in cuts}
    content |= {f"a/whole.{ending}": whole, f"a/other.{ending}": encoded(picture(seed=1), format), "b": 2}
    index = scan(fill(tmp_path / "x", content))
    assert len(index.left_out) == len(set(cuts.tolist())) and sum(index.counts()["a"].values()) == 2


def test_nothing_is_decoded(tmp_path: Path, fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    assert not scan(fill(tmp_path / "x", {"a": 2, "b": 2})).left_out


def test_links_are_followed_but_not_in_rings(tmp_path: Path, fill: Fill) -> None:
    store = fill(tmp_path / "store", {"cats": 3, "dogs": 3})
    folder = tmp_path / "x"
    (folder / "dogs").mkdir(parents=True)
    (folder / "cats").symlink_to(store / "cats")  # a class elsewhere
    for number in range(3):
        (folder / "dogs" / f"{number}.jpg").symlink_to(store / "dogs" / f"{number}.jpg")
    (folder / "dogs" / "up").symlink_to(folder)  # a ring
    (folder / "dogs" / "self").symlink_to(folder / "dogs")
    index = scan(folder)
    assert {label: sum(counts.values()) for label, counts in index.counts().items()} == {"cats": 3, "dogs": 3}
    assert set(issues(index).values()) == {"This folder is a link that leads back into itself."}
    assert len(issues(index)) == 2


def test_odd_names(tmp_path: Path, fill: Fill, picture: Picture, encoded: Encoded) -> None:
    names = [
        "a b.jpg",
        "new\nline.jpg",
        "quote'\".jpg",
        "comma,.jpg",
        "🐈.jpg",
        "back\\slash.jpg",
        "-rf.jpg",
        "%s{}.jpg",
    ]
    folder = fill(tmp_path / "x", {"b": 2})
    odd = os.fsencode(folder) + b"/gr\xfcn"  # latin-1
    os.mkdir(odd)
    for seed, name in enumerate([*map(os.fsencode, names), b"\xff\xfe.jpg"]):
        with open(odd + b"/" + name, "wb") as file:
            file.write(encoded(picture(seed=seed), "JPEG"))
    index = scan(folder)
    assert index.classes == ("b", "gr\\xfcn") and not index.left_out
    assert sum(index.counts()["gr\\xfcn"].values()) == len(names) + 1
    for photo in index.photos:
        assert (index.root / photo.path).is_file()
    path = tmp_path / "run" / "manifest.csv"
    index.write_manifest(path)
    assert DatasetIndex.read_manifest(path) == index


def test_accents_are_the_same_class_however_they_are_written(tmp_path: Path, fill: Fill) -> None:
    composed, split = unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")
    content = {f"train/{composed}": 2, "train/tea": 2, f"val/{split}": 1, "val/tea": 1}
    index = scan(fill(tmp_path / "x", content))
    assert index.classes == (composed, "tea") and not index.left_out


# --- the made split ------------------------------------------------------------------------------------


def _val_hashes(folder: Path, **options: Any) -> set[str]:
    return {photo.content_hash for photo in scan(folder, **options).used("val")}


def test_the_same_photos_give_the_same_split(tmp_path: Path, fill: Fill) -> None:
    folder = fill(tmp_path / "x", {"a": 20, "b": 20})
    expected = _val_hashes(folder)
    assert len(expected) == 8 and _val_hashes(folder) == expected
    moved = tmp_path / "elsewhere"
    shutil.copytree(folder, moved)
    for number, path in enumerate(sorted(moved.rglob("*.jpg"), reverse=True)):
        path.rename(path.with_name(f"renamed {number:03d}.jpg"))
    assert _val_hashes(moved) == expected
    assert _val_hashes(folder, seed=1) != expected
    assert len(_val_hashes(folder, val_fraction=0.5)) == 20


def test_the_order_of_listing_does_not_matter(
    tmp_path: Path, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fill(tmp_path / "x", {"a": 12, "b": 12})
    expected = scan(folder)
    real = os.scandir

    class Backwards:
        def __init__(self, path: Path) -> None:
            with real(path) as found:
                self.entries = list(found)[::-1]

        def __enter__(self) -> Any:
            return iter(self.entries)

        def __exit__(self, *args: object) -> None: ...

    monkeypatch.setattr(os, "scandir", Backwards)
    assert scan(folder) == expected


def test_copies_of_a_photo_do_not_end_up_on_both_sides(
    tmp_path: Path, fill: Fill, picture: Picture, encoded: Encoded
) -> None:
    content: dict[str, Any] = {"a": 8, "b": 8}
    content |= {f"a/copy {number}.jpg": encoded(picture(seed=99), "JPEG") for number in range(3)}
    folder = fill(tmp_path / "x", content)
    for seed in range(10):
        index = scan(folder, seed=seed)
        assert len({photo.split for photo in index.photos if "copy" in photo.path}) == 1


# --- folders that cannot be used -----------------------------------------------------------------------


def _refused(source: str | Path, match: str) -> str:
    with pytest.raises(DataError, match=match) as caught:
        scan(source)
    assert caught.value.exit_code == 3 and caught.value.problem.endswith(".")
    return str(caught.value)


def test_an_empty_folder(tmp_path: Path, fill: Fill) -> None:
    _refused(fill(tmp_path / "x", {}), r"x' is empty\. .*Put photos into it")
    _refused(fill(tmp_path / "y", {".DS_Store": b"x", "__MACOSX/a.jpg": b"x"}), "is empty")


def test_no_photos(tmp_path: Path, fill: Fill) -> None:
    content = {"a/1.txt": b"x", "a/2.txt": b"x", "b/3.csv": b"x", "b/noending": b"x", "README": b"x"}
    message = _refused(fill(tmp_path / "x", content), "holds no photos: 5 other files")
    assert "2 x .txt" in message and "2 x no ending" in message and "JPEG, PNG" in message
    _refused(fill(tmp_path / "y", {"a": 0, "b": 0}), r"holds no photos: 'a': This folder is empty; 'b'")


def test_photos_without_class_folders(tmp_path: Path, fill: Fill) -> None:
    message = _refused(fill(tmp_path / "x", {"": 7}), "has no class folders: 7 photos lie side by side")
    assert LAYOUTS in message and "folder of their own" in message
    _refused(fill(tmp_path / "y", {"": 3, "docs/readme.txt": b"x"}), "has no class folders: 3 photos")
    _refused(fill(tmp_path / "z", {"train": 3, "test": 3}), "The 'train' folder of .* has no class folders")


def test_no_train_folder(tmp_path: Path, fill: Fill) -> None:
    content = {"val/a": 2, "val/b": 2, "test/a": 1, "test/b": 1}
    _refused(fill(tmp_path / "x", content), "has 'test' and 'val', but no 'train' folder")


def test_one_class_only(tmp_path: Path, fill: Fill) -> None:
    message = _refused(fill(tmp_path / "x", {"cats": 4}), r"one class only, 'cats' \(4 photos\)")
    assert "at least two classes" in message
    _refused(fill(tmp_path / "y", {"cats": 4, "dogs/readme.txt": b"x"}), "one class only, 'cats'")
    _refused(fill(tmp_path / "z", {"train/cats": 4, "val/cats": 4, "val/dogs": 4}), "one class only, 'cats'")


def test_a_class_with_a_single_photo(tmp_path: Path, fill: Fill) -> None:
    message = _refused(fill(tmp_path / "x", {"cats": 4, "emus": 1}), "Class 'emus' has a single usable photo")
    assert "at least two" in message and "'val' folder" in message
    many = {f"class {number}": 1 for number in range(9)} | {"cats": 3}
    message = _refused(fill(tmp_path / "y", many), "9 classes have a single usable photo: 'class 0'")
    assert "'class 4' and others" in message and "class 5" not in message
    # With a val folder of its own, a single photo to train on is the user's choice.
    kept = {"train/cats": 4, "train/emus": 1, "val/cats": 1, "val/emus": 1}
    assert scan(fill(tmp_path / "z", kept)).counts()["emus"] == {"train": 1, "val": 1}


def test_a_class_with_no_usable_photo(tmp_path: Path, fill: Fill, picture: Picture, encoded: Encoded) -> None:
    cut = encoded(picture(), "JPEG")[:200]
    content = {"cats": 4, "emus/1.jpg": cut, "emus/2.jpg": cut, "emus/notes.txt": b"x"}
    message = _refused(
        fill(tmp_path / "x", content),
        r"None of the 2 photos of class 'emus' can be used\. 'emus/1\.jpg': The file is cut off",
    )
    assert "take the folder 'emus' away" in message
    _refused(
        fill(tmp_path / "y", {"cats": 4, "emus/1.jpg": b"<html>"}),
        "The only photo of class 'emus' cannot be used.*web page",
    )
    split = {"train/a": 2, "train/b/1.jpg": cut, "val/a": 1, "val/b": 2}
    _refused(fill(tmp_path / "z", split), "The only photo of class 'b' cannot be used")


def test_only_heic_photos_without_the_extra(
    tmp_path: Path, fill: Fill, picture: Picture, encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    heic = encoded(picture(), "HEIF")
    folder = fill(tmp_path / "x", {"a/1.heic": heic, "a/2.heic": heic, "b/1.heic": heic, "b/2.heic": heic})
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    _refused(folder, r"None of the 2 photos of class 'a' can be used.*pip install 'tl-app\[heif\]'")


def _locked(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Makes a folder unreadable even for root, who runs the tests in some places."""
    real = os.scandir

    def scandir(path: Any) -> Any:
        if Path(path) == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)


def test_folders_that_may_not_be_opened(tmp_path: Path, fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fill(tmp_path / "x", {"cats": 4, "dogs": 4, "emus": 4, "dogs/inner": 2})
    with monkeypatch.context() as patch:
        _locked(patch, folder)
        _refused(folder, "The folder '.*x' cannot be opened: Permission denied.*Change its permissions")
    with monkeypatch.context() as patch:
        _locked(patch, folder / "emus")
        _refused(folder, "class 'emus' cannot be used.*cannot be opened: Permission denied")
    with monkeypatch.context() as patch:
        _locked(patch, folder / "dogs" / "inner")
        index = scan(folder)
    assert issues(index) == {"dogs/inner": "This folder cannot be opened: Permission denied."}
    assert index.classes == ("cats", "dogs", "emus")


# --- how many threads read ------------------------------------------------------------------------------


def _read_by(folder: Path, roots: Any = None) -> int:
    return index_module._threads(*list_entries(folder, str(folder), lambda: None, roots), roots)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what lies in memory")
def test_small_files_in_memory_are_read_by_one_thread(
    tmp_path: Path, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fill(tmp_path / "pets", {"cats": 30, "dogs": 30})
    asked: list[int] = []

    def reads(file: int, buffers: list[bytearray], offset: int, flags: int) -> int:
        assert flags == os.RWF_NOWAIT and os.fstat(file).st_size == offset + 1
        asked.append(file)
        return 1

    monkeypatch.setattr(os, "preadv", reads)
    assert _read_by(folder) == 1
    assert 10 <= len(asked) <= 20, "a sample of them"


@pytest.mark.parametrize(
    "cause",
    [
        "disk",
        "system",
        "size",
        pytest.param("pipe", marks=pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")),
        "link",
    ],
)
def test_others_are_read_by_many(
    cause: str, tmp_path: Path, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has to be fetched, where nobody knows, and what takes long to hash; nothing is waited for or led out to."""
    folder, roots = fill(tmp_path / "pets", {"cats": 3, "dogs": 3}), None
    monkeypatch.setattr(os, "preadv", lambda *_: 1, raising=False)
    monkeypatch.setattr(os, "RWF_NOWAIT", 8, raising=False)
    if cause == "disk":

        def waits(*_: Any) -> int:
            raise BlockingIOError

        monkeypatch.setattr(os, "preadv", waits, raising=False)
    elif cause == "system":
        monkeypatch.delattr(os, "RWF_NOWAIT")
    elif cause == "size":
        (folder / "cats" / "a.jpg").write_bytes(bytes(1 << 20))
    elif cause == "pipe":
        os.mkfifo(folder / "cats" / "a.jpg")
    else:
        outside = tmp_path / "outside.jpg"
        outside.write_bytes(b"secret")
        (folder / "cats" / "a.jpg").symlink_to(outside)
        roots = (folder,)
        real = opening.open_regular
        monkeypatch.setattr(
            opening, "open_regular", lambda path: pytest.fail("opened") if path.is_symlink() else real(path)
        )
    assert _read_by(folder, roots) == min(16, 2 * (os.cpu_count() or 1)) > 1


# --- progress, stopping, threads -----------------------------------------------------------------------


def test_progress_comes_from_the_calling_thread(tmp_path: Path, fill: Fill) -> None:
    seen: list[tuple[int, int]] = []

    def on_progress(done: int, total: int) -> None:
        assert threading.current_thread() is threading.main_thread()
        seen.append((done, total))

    scan(fill(tmp_path / "x", {"a": 40, "b": 40}), on_progress=on_progress)
    assert seen[0] == (0, 80) and seen[-1] == (80, 80)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_scan_can_be_stopped(tmp_path: Path, fill: Fill) -> None:
    folder = fill(tmp_path / "x", {"a": 40, "b": 40})
    with pytest.raises(Interrupted, match="stopped"):
        scan(folder, should_stop=lambda: True)
    answers = iter([False] * 2)
    with pytest.raises(Interrupted, match="stopped"):
        scan(folder, should_stop=lambda: next(answers, True))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("scan")]


def test_errors_of_our_own_are_not_hidden(
    tmp_path: Path, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(file: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(index_module, "read_size", broken)
    with pytest.raises(ZeroDivisionError):
        scan(fill(tmp_path / "x", {"a": 2, "b": 2}))


def test_relocate(tmp_path: Path, fill: Fill, own_home: Path) -> None:
    folder = fill(tmp_path / "x", {"a": 2, "b": 2})
    zipped = shutil.make_archive(str(tmp_path / "photos"), "zip", folder)
    index = scan(zipped)
    assert relocate(index) is index
    shutil.rmtree(own_home)
    again = relocate(index)
    assert again == index and (again.root / index.photos[0].path).is_file()
    shutil.rmtree(own_home)
    os.remove(zipped)
    with pytest.raises(UserError, match="There is no"):
        relocate(index)


@pytest.mark.shared
def test_real_photos(hymenoptera: Path) -> None:
    before = tree(hymenoptera)
    index = scan(hymenoptera)
    assert index.classes == ("ants", "bees") and not index.made_split
    assert len(index.used("train")) + len(index.used("val")) + len(index.left_out) == len(index.photos)
    assert len(index.used("train")) >= 244 and len(index.used("val")) == 153
    assert tree(hymenoptera) == before


def test_photos_to_measure_on_need_no_second_class_and_no_split(tmp_path: Path) -> None:
    make = tmp_path / "one" / "red"
    make.mkdir(parents=True)
    Image.new("RGB", (20, 20), "red").save(make / "a.png")
    with pytest.raises(DataError, match="one class only"):
        scan(tmp_path / "one")
    index = scan(tmp_path / "one", for_training=False)
    assert index.classes == ("red",) and [photo.path for photo in index.used("test")] == ["red/a.png"]
    assert index.used("train") == index.used("val") == [] and not index.made_split
