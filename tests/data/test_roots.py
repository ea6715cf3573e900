"""What lies in the folders that may be used, and what only seems to."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.conftest import make_photos
from tl_app.data import sources
from tl_app.data.index import scan
from tl_app.data.roots import confined, lies_in
from tl_app.errors import DataError


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    return make_photos(tmp_path / "outside", per_class=3)


@pytest.fixture
def root(tmp_path: Path, outside: Path) -> Path:
    """Photos of two classes, and links that lead out: to a photo, to a class, to all."""
    folder = make_photos(tmp_path / "root" / "photos", per_class=4)
    (folder / "red" / "leak.png").symlink_to(outside / "red" / "00.png")
    (folder / "red" / "all").symlink_to(outside)
    (folder / "stolen").symlink_to(outside / "blue")
    (folder.parent / "way-out").symlink_to(outside)
    return folder.parent


def test_links_are_followed_before_anything_is_decided(root: Path, outside: Path) -> None:
    assert lies_in(root / "photos", [root]) and lies_in(root, [root]) and lies_in(root / "not-there", [root])
    for path in (outside, root / "way-out", root / "way-out" / "red", root / ".." / "outside", "/", "\0"):
        assert not lies_in(path, [root]), path
    assert not lies_in(f"{root}-beside", [root])
    assert lies_in(outside, None)
    (root.parent / "by-a-link").symlink_to(root)
    assert lies_in(root / "photos", [root.parent / "by-a-link"])


@pytest.mark.parametrize("there", ["outside", "outside/red", "root/way-out", "root/../outside", "nowhere"])
def test_outside_nothing_is_said_of_what_is_there(tmp_path: Path, root: Path, there: str) -> None:
    with pytest.raises(DataError, match="is not in a folder that may be used.*--data-root") as refused:
        scan(tmp_path / there, roots=[root])
    assert "Did you mean" not in str(refused.value)
    with pytest.raises(DataError, match="may be used"):
        confined(tmp_path / there, [root])


def test_links_that_lead_out_are_left_out_with_their_reason(root: Path) -> None:
    index = scan(root / "photos", roots=[root])
    assert index.classes == ("blue", "red")
    issues = {photo.path: photo.issue for photo in index.left_out}
    assert set(issues) == {"red/leak.png", "red/all"}
    assert all(issue.startswith("It is a link that leads out") for issue in issues.values())
    assert not any("all/" in photo.path or "stolen/" in photo.path for photo in index.photos)
    assert len(scan(root / "photos").photos) > len(index.photos)  # without roots links are followed


def test_a_zip_of_strangers_may_unpack_to_less(
    root: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = root / "photos.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for photo in sorted(outside.rglob("*.png")):
            archive.write(photo, photo.relative_to(outside))
    assert scan(path, roots=[root]).classes == ("blue", "red")  # what is unpacked lies elsewhere
    other = root / "other.zip"
    other.write_bytes(path.read_bytes())
    with zipfile.ZipFile(other, "a") as archive:
        archive.writestr("blue/more.txt", b"other content")
    monkeypatch.setattr(sources, "_STRANGERS_BYTES", 100)
    with pytest.raises(DataError, match="unpacks to more than"):
        scan(other, roots=[root])
    assert scan(other).classes == ("blue", "red")
