from __future__ import annotations

import importlib
import io
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from tl_app.data.decode import open_photo
from tl_app.data.index import scan
from tl_app.data.sources import sample_data


@pytest.fixture
def render(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script that made the photos; it leaves no compiled files among them."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(str(sample_data()))
    for name in ("shapes", "render"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.setitem(sys.modules, name, importlib.import_module(name))  # taken out again afterwards
    return sys.modules["render"]


def test_it_can_be_used_as_it_is(render: ModuleType) -> None:
    index = scan(sample_data())
    assert index.classes == ("apple", "banana", "orange", "pear", "strawberry") == render.CLASSES
    assert index.root == sample_data() / "fruit" and index.made_split
    assert {label: sum(counts.values()) for label, counts in index.counts().items()} == {
        "apple": 40,
        "banana": 40,
        "orange": 40,
        "pear": 41,
        "strawberry": 40,
    }
    assert sum(photo.file_bytes for photo in index.photos) < 5_000_000
    assert all(max(photo.width, photo.height) == 256 for photo in index.photos if not photo.issue)
    for photo in index.used("train") + index.used("val"):
        assert np.asarray(open_photo(index.root / photo.path)).std() > 10


def test_the_flaws_are_the_ones_that_the_readme_names(render: ModuleType) -> None:
    index = scan(sample_data())
    assert [(photo.path, photo.issue.split(".")[0]) for photo in index.left_out] == [
        (render.TRUNCATED[0], "The file is cut off: its last part is missing")
    ]
    copies = [
        key for key, count in Counter(photo.content_hash for photo in index.photos).items() if count > 1
    ]
    assert [photo.path for photo in index.photos if photo.content_hash in copies] == sorted(render.DUPLICATE)
    readme = (sample_data() / "README.md").read_text(encoding="utf-8")
    for name in (render.TRUNCATED[0], *render.DUPLICATE, render.MISLABELLED[0]):
        assert f"fruit/{name}" in readme
    # Orange all over its middle, as no apple is.
    middle = np.asarray(open_photo(index.root / render.MISLABELLED[0]).convert("HSV"))[96:160, 96:160]
    assert 15 < np.median(middle[..., 0]) < 32 and np.median(middle[..., 1]) > 180


@pytest.mark.parametrize("name", ["apple/014.jpg", "banana/036.jpg", "pear/019.jpg"])
def test_the_script_makes_the_photos_that_are_there(name: str, render: ModuleType) -> None:
    kind, number = Path(name).parts[0], int(Path(name).stem)
    again = np.asarray(Image.open(io.BytesIO(render.encoded(kind, number)))).astype(int)
    shipped = np.asarray(open_photo(sample_data() / "fruit" / name)).astype(int)
    # Another processor's floating point may differ in the last digit, which a few pixels show.
    assert again.shape == shipped.shape and np.abs(again - shipped).mean() < 1.0
