from __future__ import annotations

import builtins
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tl_app.data import sources
from tl_app.data.index import scan
from tl_app.errors import DataError

Fill = Callable[..., Path]


def _refused(source: str | Path, match: str) -> str:
    with pytest.raises(DataError, match=match) as caught:
        sources.open_source(source)
    return str(caught.value)


def test_a_folder_is_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "my photos"
    folder.mkdir()
    for source in (folder, str(folder), f"{folder}/", f" {folder}\n", f'"{folder}"', f"'{folder}'"):
        assert sources.open_source(source) == folder
    monkeypatch.chdir(tmp_path)
    assert sources.open_source("my photos") == folder and sources.open_source(".") == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert sources.open_source("~/my photos") == folder
    spaced = tmp_path / " spaced "
    spaced.mkdir()
    assert sources.open_source(str(spaced)) == spaced


def test_a_path_that_is_not_there_suggests_close_names(tmp_path: Path) -> None:
    for name in ("Hymenoptera", "hymenopteras", "caltech101", ".hidden"):
        (tmp_path / name).mkdir()
    message = _refused(tmp_path / "hymenoptra", "There is no '.*hymenoptra'.*Did you mean")
    assert f"'{tmp_path / 'Hymenoptera'}'" in message and "caltech" not in message
    assert "There is no 'zzz' in" in _refused(tmp_path / "zzz", "There is no")
    # The first part of the way that is wrong is what counts.
    message = _refused(tmp_path / "caltech11" / "accordion", "Did you mean")
    assert f"'{tmp_path / 'caltech101'}'" in message


@pytest.mark.parametrize("source", ["", "   ", "\n"])
def test_nothing_named(source: str) -> None:
    assert "folder, or a zip" in _refused(source, "No folder was named")


def test_names_that_cannot_be(tmp_path: Path) -> None:
    assert "\0" not in _refused("a\0b", r"'a\\0b'")
    _refused("x" * 5000, r"xxx…' cannot be opened: File name too long")
    message = _refused(os.fsdecode(b"/nowhere/\xff"), "There is no")
    message.encode()  # can be printed
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    _refused(tmp_path / "link", "is a link to something that is not there")
    os.mkfifo(tmp_path / "pipe")
    _refused(tmp_path / "pipe", "neither a folder nor a file")


def test_files_that_are_no_zip(tmp_path: Path) -> None:
    photo = tmp_path / "photos" / "1.jpg"
    photo.parent.mkdir()
    Image.new("RGB", (8, 8)).save(photo)
    assert f"Did you mean its folder, '{photo.parent}'?" in _refused(
        photo, "is a file, not a folder or a zip"
    )
    torn = tmp_path / "torn.zip"
    torn.write_bytes(b"PK\x03\x04" + bytes(100))
    assert "Download or make it again" in _refused(torn, "not a whole zip")
    with tarfile.open(tmp_path / "photos.tar.gz", "w:gz") as archive:
        archive.add(photo, "a/1.jpg")
    assert "Unpack it" in _refused(tmp_path / "photos.tar.gz", "an archive that is not a zip")
    (tmp_path / "x.rar").write_bytes(b"Rar!\x1a\x07\x01\0")
    _refused(tmp_path / "x.rar", "an archive that is not a zip")


def test_permission_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "photos.zip"
    path.write_bytes(b"PK")

    def refuse(*args: object, **kwargs: object) -> io.BytesIO:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(builtins, "open", refuse)
    assert "Change its permissions" in _refused(path, "cannot be opened: permission denied")


def test_the_sample_data_is_there() -> None:
    assert sources.sample_data().is_dir()
    assert scan(sources.sample_data()).classes
