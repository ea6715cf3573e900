"""Files that are small and whole, and were made to keep whoever opens them busy."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from tl_app.data import containers, jpeg
from tl_app.data.decode import open_photo, open_pixels, read_size, thumbnail
from tl_app.errors import PhotoError

Encoded = Callable[..., bytes]
READERS: list[Callable[[bytes], Any]] = [
    open_photo,
    open_pixels,
    lambda content: thumbnail(content, 64),
    lambda content: read_size(io.BytesIO(content)),
]


def layered(content: bytes, more: int) -> bytes:
    """A progressive JPEG whose last scan, which only refines, is there ``more`` times more."""
    last = content.rindex(b"\xff\xda")
    return content[:-2] + content[last:-2] * more + content[-2:]


@pytest.fixture
def progressive(encoded: Encoded) -> bytes:
    return encoded(Image.new("L", (640, 480), 128), "JPEG", progressive=True)


@pytest.mark.parametrize("read", READERS)
def test_a_jpeg_of_thousands_of_scans_is_refused(read: Callable[[bytes], Any], progressive: bytes) -> None:
    assert progressive.count(b"\xff\xda") == 6
    read(layered(progressive, 90))
    with pytest.raises(PhotoError, match="more than 100 layers, each of 0.3 megapixels.*plain JPEG"):
        read(layered(progressive, 95))


def test_a_plain_jpeg_with_a_scan_for_each_colour_counts_too(encoded: Encoded, picture: Any) -> None:
    content = encoded(picture(), "JPEG")
    start = content.rindex(b"\xff\xda")
    one = b"\xff\xda\0\x08\1\1\0\0\x3f\0" + content[start + 14 : -2]
    with pytest.raises(PhotoError, match="layers"):
        open_pixels(content[:start] + one * 200 + content[-2:])


def test_large_photos_may_have_fewer_scans(monkeypatch: pytest.MonkeyPatch, progressive: bytes) -> None:
    monkeypatch.setattr(jpeg, "MOST_PIXELS", 640 * 480 * 8)
    open_pixels(layered(progressive, 2))
    with pytest.raises(PhotoError, match="At most 8 layers"):
        open_pixels(layered(progressive, 3))


def test_a_scan_is_counted_once_wherever_it_lies(progressive: bytes) -> None:
    for gap in range(12):
        content = b"\0" * ((1 << 16) - gap) + b"\xff\xda\0\x08\1" * 100
        jpeg.check_scans(io.BytesIO(content), 1)
        with pytest.raises(PhotoError, match="layers"):
            jpeg.check_scans(io.BytesIO(content + b"\xff\xda\0\x0a\2"), 1)


def test_fill_and_stray_bytes_before_a_marker_do_no_harm(progressive: bytes) -> None:
    expected = open_photo(progressive)
    for stray in (b"\xff" * 9, bytes(70_000), b"\xff\0" * 40_000, b"\xff\1\xff\1"):
        found = containers.examine(io.BytesIO(progressive[:20] + stray + progressive[20:]))
        assert (found.width, found.height) == (640, 480), stray[:4]
    assert open_photo(progressive[:20] + b"\xff" * 9 + progressive[20:]).tobytes() == expected.tobytes()


def test_headers_in_too_many_pieces_are_damage(encoded: Encoded) -> None:
    png = encoded(Image.new("RGB", (8, 8)), "PNG")
    comment = b"!\xfe" + (b"\xff" + b"a" * 255) * 5000 + b"\0"
    gif = encoded(Image.new("RGB", (8, 8)), "GIF")
    first = re.search(rb",\0{4}\x08\0\x08\0", gif)
    assert first is not None
    for content, why in (
        (b"\xff\xd8" * 20_000, "pieces"),
        (b"\xff\xd8" + b"\xff\xfe\0\2" * 20_000, "pieces"),
        (png[:33] + b"\0\0\0\0teXtabcd" * 20_000 + png[33:], "pieces"),
        (b"GIF89a\1\0\1\0\0\0\0" + bytes(90_000), "pieces"),
        (b"GIF89a\1\0\1\0\0\0\0!\xfe" + b"\1a" * 90_000, "pieces"),
        (b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + struct.pack(">I4s", 8, b"free") * 20_000, "pieces"),
        (gif[: first.start()] + comment + gif[first.start() :], "comments"),
    ):
        with pytest.raises(PhotoError, match=f"damaged.*{why}"):
            read_size(io.BytesIO(content))
