from __future__ import annotations

import csv
import dataclasses
import os
from pathlib import Path

import pytest

from tl_app.data.manifest import DatasetIndex, Photo
from tl_app.errors import DataError

ODD_NAMES = [
    "plain.jpg",
    "with space, comma and 'quotes' \"double\".jpg",
    "line\nbreak.jpg",
    "carriage\rreturn.jpg",
    "both\r\n.jpg",
    "tab\t#hash;semicolon.jpg",
    "back\\slash \\udc80 \\\\.jpg",
    "grüße 猫 🐈.jpg",
    "decomposed u\u0308.jpg",
    os.fsdecode(b"latin-1 \xfc \xff.jpg"),
    " leading and trailing .jpg ",
    "=formula().jpg",
    "-1",
]


def _index(names: list[str], **changes: object) -> DatasetIndex:
    photos = []
    for number, name in enumerate(sorted(names)):
        label, split = ("a", "b")[number % 2], ("train", "val")[number % 4 == 3]
        photos.append(Photo(f"{label}/{name}", label, split, 640, 480 + number, 10_000, f"{number:032x}"))
    photos.append(
        Photo("b/bad.jpg", "b", "", 0, 0, 7, "", 'The file is cut off: its "last" part, is missing.')
    )
    index = DatasetIndex(Path("/some/root"), "~/photos, mine", tuple(photos), ("a", "b"), True)
    return dataclasses.replace(index, **changes)


def test_round_trip_with_odd_names(tmp_path: Path) -> None:
    index = _index(
        ODD_NAMES, source=os.fsdecode(b"/odd \xe9 source,\n.zip"), root=Path(os.fsdecode(b"/r\xff,\n"))
    )
    index.write_manifest(tmp_path / "manifest.csv")
    again = DatasetIndex.read_manifest(tmp_path / "manifest.csv")
    assert again == index
    assert again.fingerprint() == index.fingerprint()


def test_it_is_a_plain_table_in_utf_8(tmp_path: Path) -> None:
    _index(ODD_NAMES).write_manifest(tmp_path / "manifest.csv")
    text = (tmp_path / "manifest.csv").read_bytes().decode("utf-8")
    rows = list(csv.DictReader(text.splitlines(keepends=True)))
    assert len(rows) == len(ODD_NAMES) + 1
    assert rows[0]["root"] == "/some/root" and rows[1]["root"] == ""
    assert {row["split"] for row in rows} == {"train", "val", ""}


def test_another_root_and_folders_on_the_way(tmp_path: Path) -> None:
    path = tmp_path / "run" / "deeper" / "manifest.csv"
    _index(["x.jpg", "y.jpg"], made_split=False).write_manifest(path)
    again = DatasetIndex.read_manifest(path, root=tmp_path)
    assert again.root == tmp_path and not again.made_split
    assert [file.name for file in path.parent.iterdir()] == ["manifest.csv"]  # nothing half-written stays


def test_no_photos_at_all(tmp_path: Path) -> None:
    index = DatasetIndex(Path("/root"), "source", (), (), False)
    index.write_manifest(tmp_path / "m.csv")
    assert DatasetIndex.read_manifest(tmp_path / "m.csv") == index


@pytest.mark.parametrize(
    "content",
    [b"", b"path,label\n", b"\xff\xfe\x00", b'"path","label","split"\n1,2,3\n', b"a\0b\n", None],
)
def test_what_is_no_manifest(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"The manifest '.*manifest.csv' cannot be read"):
        DatasetIndex.read_manifest(path)


def test_a_torn_row(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    _index(["x.jpg", "y.jpg"]).write_manifest(path)
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(DataError, match="cannot be read"):
        DatasetIndex.read_manifest(path)


def test_views_of_the_table() -> None:
    index = _index([f"{number}.jpg" for number in range(8)])
    assert len(index.used("train")) == 6 and len(index.used("val")) == 2 and index.used("test") == []
    assert [photo.path for photo in index.left_out] == ["b/bad.jpg"]
    assert index.counts() == {"a": {"train": 4, "val": 0}, "b": {"train": 2, "val": 2}}


def test_the_fingerprint_tells_what_matters() -> None:
    index = _index(["x.jpg", "y.jpg", "z.jpg"])
    first, *rest = index.photos

    def with_first(**changes: object) -> str:
        return dataclasses.replace(index, photos=(dataclasses.replace(first, **changes), *rest)).fingerprint()

    assert (
        dataclasses.replace(index, root=Path("/elsewhere"), source="x").fingerprint() == index.fingerprint()
    )
    assert (
        dataclasses.replace(index, photos=index.photos[:-1]).fingerprint() == index.fingerprint()
    )  # left out
    changes = ({"content_hash": "0" * 31 + "f"}, {"label": "b"}, {"split": "val"}, {"path": "a/other.jpg"})
    assert len({index.fingerprint(), *(with_first(**change) for change in changes)}) == 5
