from __future__ import annotations

import builtins
import io
import os
import struct
import sys
import threading
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile

from tl_app.data import containers
from tl_app.data.decode import (
    EXTENSIONS,
    MAX_PIXELS,
    open_photo,
    open_pixels,
    photo_size,
    thumbnail,
    upright_rgb,
)
from tl_app.errors import DataError, PhotoError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, about odd metadata

Picture = Callable[..., Image.Image]
Encoded = Callable[..., bytes]

CORNERS = ((230, 30, 30), (30, 200, 40), (40, 50, 220), (240, 230, 60))  # as in conftest
FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    "jpg": ("JPEG", {"quality": 95}),
    "progressive.jpg": ("JPEG", {"quality": 95, "progressive": True}),
    "png": ("PNG", {}),
    "webp": ("WEBP", {"quality": 95}),
    "lossless.webp": ("WEBP", {"lossless": True}),
    "bmp": ("BMP", {}),
    "gif": ("GIF", {}),
    "tiff": ("TIFF", {}),
    "lzw.tif": ("TIFF", {"compression": "tiff_lzw"}),
    "deflate.tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "big.tif": ("TIFF", {"big_tiff": True}),
    "avif": ("AVIF", {"quality": 95}),
    "heic": ("HEIF", {"quality": 95}),
}


def corners(image: Image.Image) -> np.ndarray:
    """Mean colours of the picture's quarters, their edges left out: (4, 3)."""
    pixels = np.asarray(image).astype(float)
    height, width = pixels.shape[:2]
    rows = (slice(height // 8, height * 3 // 8), slice(height * 5 // 8, height * 7 // 8))
    columns = (slice(width // 8, width * 3 // 8), slice(width * 5 // 8, width * 7 // 8))
    return np.array([pixels[row, column].mean((0, 1)) for row in rows for column in columns])


def assert_upright(image: Image.Image, tolerance: float = 14) -> None:
    assert image.mode == "RGB"
    assert np.abs(corners(image) - CORNERS).max() < tolerance


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_read(name: str, tmp_path: Path, picture: Picture, encoded: Encoded) -> None:
    format, options = FORMATS[name]
    content = encoded(picture(), format, **options)
    path = tmp_path / f"photo.{name}"
    path.write_bytes(content)
    for source in (path, content, io.BytesIO(content)):
        image = open_photo(source)
        assert image.size == (48, 32)
        assert_upright(image, 40 if name == "gif" else 14)
    assert photo_size(path) == (48, 32)
    assert max(thumbnail(path, 24).size) == 24


def test_extensions_cover_the_formats() -> None:
    assert {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic"} <= EXTENSIONS
    assert all(extension == extension.lower() and extension[0] == "." for extension in EXTENSIONS)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP"])
def test_the_content_counts_not_the_name(
    format: str, tmp_path: Path, picture: Picture, encoded: Encoded
) -> None:
    for name in ("photo.jpg", "photo.png", "photo.txt", "photo"):
        (tmp_path / name).write_bytes(encoded(picture(), format))
        assert open_photo(tmp_path / name).size == (48, 32)


def test_a_stream_that_cannot_seek(picture: Picture, encoded: Encoded) -> None:
    read, write = os.pipe()
    with open(write, "wb") as target:
        target.write(encoded(picture(), "PNG"))
    with open(read, "rb") as stream:
        assert_upright(open_photo(stream))


# --- orientation ---------------------------------------------------------------------------------------

_TO_STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def _turned(image: Image.Image, orientation: int) -> tuple[Image.Image, Image.Exif]:
    """The picture as a camera held that way stores it, and the EXIF that says so."""
    method = _TO_STORED[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    return (image if method is None else image.transpose(method)), exif


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_exif_orientation(
    format: str, orientation: int, tmp_path: Path, picture: Picture, encoded: Encoded
) -> None:
    stored, exif = _turned(picture(), orientation)
    path = tmp_path / "photo"
    if format == "HEIF":  # a turn of the container's own, which its writer makes of the picture's EXIF
        stored.info["exif"] = exif.tobytes()
        path.write_bytes(encoded(stored, format))
    else:
        path.write_bytes(encoded(stored, format, exif=exif))
    assert photo_size(path) == (48, 32)
    image = open_photo(path)
    assert image.size == (48, 32)
    assert_upright(image, 45 if format == "WEBP" else 20)
    assert_upright(thumbnail(path, 48), 45 if format == "WEBP" else 20)


def test_orientation_after_a_pngs_pixels(tmp_path: Path, picture: Picture, encoded: Encoded) -> None:
    stored, exif = _turned(picture(), 6)
    content = encoded(stored, "PNG")
    data = exif.tobytes()[6:]
    chunk = struct.pack(">I", len(data)) + b"eXIf" + data + struct.pack(">I", zlib.crc32(b"eXIf" + data))
    path = tmp_path / "late.png"
    path.write_bytes(content[:-12] + chunk + content[-12:])
    assert photo_size(path) == (48, 32)
    assert_upright(open_photo(path))


def test_a_decoded_photo_is_not_turned_twice(picture: Picture, encoded: Encoded) -> None:
    stored, exif = _turned(picture(), 6)
    once = open_photo(encoded(stored, "JPEG", exif=exif))
    assert_upright(upright_rgb(once), 20)


def test_a_picture_opened_elsewhere_is_turned(picture: Picture, encoded: Encoded) -> None:
    stored, exif = _turned(picture(), 8)
    with Image.open(io.BytesIO(encoded(stored, "JPEG", exif=exif))) as image:
        assert_upright(upright_rgb(image), 20)
        assert image.size == (32, 48)  # the caller's own stays as it was
    assert_upright(upright_rgb(picture().convert("RGBA")))


@pytest.mark.parametrize("value", [0, 9, 77])
def test_a_senseless_orientation_counts_as_upright(value: int, picture: Picture, encoded: Encoded) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    assert_upright(open_photo(encoded(picture(), "JPEG", exif=exif)), 20)


def test_damaged_exif_does_not_spoil_a_good_photo(picture: Picture, encoded: Encoded) -> None:
    for exif in (b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"):
        assert_upright(open_photo(encoded(picture(), "JPEG", exif=exif)), 20)


# --- colour modes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk(format: str, picture: Picture, encoded: Encoded) -> None:
    # Pillow writes CMYK JPEGs inverted with Adobe's marker, as Photoshop does.
    content = encoded(picture().convert("CMYK"), format)
    assert (b"Adobe" in content) == (format == "JPEG")
    assert_upright(open_photo(content), 20)


def test_adobe_ycck(picture: Picture, encoded: Encoded) -> None:
    """Photoshop's usual CMYK: C, M and Y are stored as luma and chroma, black inverted."""
    cyan_magenta_yellow = Image.merge("RGB", picture().convert("CMYK").split()[:3])
    no_black = Image.new("L", cyan_magenta_yellow.size, 255)
    # Pillow inverts when it writes, so it gets the inverse of what is to be in the file.
    stored = (*cyan_magenta_yellow.convert("YCbCr").split(), no_black)
    planes = [Image.fromarray(255 - np.asarray(plane)) for plane in stored]
    content = bytearray(encoded(Image.merge("CMYK", planes), "JPEG", quality=97, subsampling=0))
    content[content.index(b"Adobe") + 11] = 2
    assert_upright(open_photo(bytes(content)), 20)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(format: str, encoded: Encoded) -> None:
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16)[None].repeat(8, 0)
    image = open_photo(encoded(Image.fromarray(ramp), format))
    expected = np.arange(256)
    assert np.abs(np.asarray(image)[0, :, 0].astype(int) - expected).max() <= 1
    assert np.asarray(image)[0, 0, 0] == 0 and np.asarray(image)[0, -1, 0] == 255


def _grey_tiff(order: str, photometric: int, values: list[int]) -> bytes:
    """One row of 16-bit values; photometric 1 has 0 as black, 0 has it as white."""
    pixels = struct.pack(f"{order}{len(values)}H", *values)
    tags = {256: len(values), 257: 1, 258: 16, 259: 1, 262: photometric, 273: 8, 277: 1, 278: 1}
    tags[279] = len(pixels)
    table = struct.pack(f"{order}H", len(tags))
    for tag, value in sorted(tags.items()):
        table += struct.pack(f"{order}HHII", tag, 4, 1, value)
    head = b"MM\0*" if order == ">" else b"II*\0"
    return head + struct.pack(f"{order}I", 8 + len(pixels)) + pixels + table + bytes(4)


@pytest.mark.parametrize(
    ("order", "photometric", "expected"), [(">", 1, [0, 128, 255]), ("<", 0, [255, 127, 0])]
)
def test_big_endian_and_inverted_16_bit_tiff(order: str, photometric: int, expected: list[int]) -> None:
    image = np.asarray(open_photo(_grey_tiff(order, photometric, [0, 32768, 65535])))
    assert np.abs(image[0, :, 0].astype(int) - expected).max() <= 1


def test_a_kind_of_tiff_that_is_not_read_says_so() -> None:
    with pytest.raises(PhotoError, match="kind of TIFF is not read.*Save it as JPEG or PNG"):
        open_photo(_grey_tiff(">", 0, [0, 65535]))


def test_16_bit_colour_png() -> None:
    pixels = np.zeros((4, 4, 3), ">u2")
    pixels[:, :2] = (60000, 1000, 30000)
    raw = b"".join(b"\0" + row.tobytes() for row in pixels)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    image = np.asarray(open_photo(head + body))
    assert np.abs(image[0, 0].astype(int) - (233, 4, 117)).max() <= 1
    # With a transparent colour given in 16 bits, that colour is white.
    transparent = chunk(b"tRNS", struct.pack(">HHH", 60000, 1000, 30000))
    image = np.asarray(open_photo(head + transparent + body))
    assert tuple(image[0, 0]) == (255, 255, 255) and tuple(image[0, 3]) == (0, 0, 0)


def test_16_bit_grey_with_a_transparent_value(encoded: Encoded) -> None:
    values = np.array([[1000, 40000, 65535]], np.uint16)
    image = np.asarray(open_photo(encoded(Image.fromarray(values), "PNG", transparency=1000)))
    assert image[0, :, 0].tolist() == [255, 156, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[0.0, 100.0, 255.0]], np.float32), [0, 100, 255]),
        (np.array([[0.0, 25700.0, 65535.0]], np.float32), [0, 100, 255]),
        (np.array([[-1.0, 0.0, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[float("nan"), 0.25, 1.0]], np.float32), [0, 64, 255]),
        (np.array([[0, 100, 255]], np.int32), [0, 100, 255]),
        (np.array([[0, 50_000, 100_000]], np.int32), [0, 128, 255]),
    ],
)
def test_32_bit_tiff(values: np.ndarray, expected: list[int], encoded: Encoded) -> None:
    image = np.asarray(open_photo(encoded(Image.fromarray(values), "TIFF")))
    assert image[0, :, 0].tolist() == expected


def test_alpha_goes_on_white(picture: Picture, encoded: Encoded) -> None:
    image = picture().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    for format, options in (
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("AVIF", {"quality": 100}),
    ):
        decoded = np.asarray(open_photo(encoded(image, format, **options))).astype(int)
        assert decoded[0].min() > 245  # transparent: white, not black
        assert np.abs(decoded[-1, 1] - (40, 50, 220)).max() < 25  # opaque: itself


def test_half_transparent_is_half_white(encoded: Encoded) -> None:
    image = Image.new("RGBA", (8, 8), (100, 0, 200, 128))
    assert np.abs(np.asarray(open_photo(encoded(image, "PNG")))[0, 0] - np.array([177, 127, 227])).max() <= 1
    grey = Image.new("LA", (8, 8), (100, 128))
    assert abs(int(np.asarray(open_photo(encoded(grey, "PNG")))[0, 0, 0]) - 177) <= 1


def test_palettes_with_and_without_transparency(picture: Picture, encoded: Encoded) -> None:
    palette = picture().quantize(64)
    assert_upright(open_photo(encoded(palette, "PNG")), 30)
    index = palette.getpixel((2, 2))
    decoded = np.asarray(open_photo(encoded(palette, "GIF", transparency=index)))
    assert tuple(decoded[2, 2]) == (255, 255, 255)
    alphas = bytes(0 if entry == index else 255 for entry in range(64))
    decoded = np.asarray(open_photo(encoded(palette, "PNG", transparency=alphas)))
    assert tuple(decoded[2, 2]) == (255, 255, 255)
    grey = Image.new("L", (8, 8), 7)
    assert np.asarray(open_photo(encoded(grey, "PNG", transparency=7))).min() == 255


@pytest.mark.parametrize("mode", ["1", "L", "YCbCr"])
def test_other_modes(mode: str, picture: Picture, encoded: Encoded) -> None:
    image = picture().convert(mode)
    decoded = open_photo(encoded(image, "TIFF" if mode != "YCbCr" else "JPEG"))
    assert decoded.mode == "RGB"
    assert np.abs(np.asarray(decoded).astype(int) - np.asarray(image.convert("RGB"))).mean() < 8


def test_lab_tiff(picture: Picture, encoded: Encoded) -> None:
    lab = ImageCms.profileToProfile(
        picture(), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    assert_upright(open_photo(encoded(lab, "TIFF")))


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_the_first_frame_counts(format: str, picture: Picture, encoded: Encoded) -> None:
    others = [Image.new("RGB", (48, 32), colour) for colour in ("black", "white")]
    content = encoded(picture(), format, save_all=True, append_images=others)
    image = open_photo(content)
    assert image.size == (48, 32)
    assert_upright(image, 45)


def test_a_multi_picture_jpeg(picture: Picture, encoded: Encoded) -> None:
    content = encoded(picture(), "MPO", save_all=True, append_images=[Image.new("RGB", (48, 32))])
    assert_upright(open_photo(content), 20)


# --- refusals ------------------------------------------------------------------------------------------


def _png_of(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def _patched(content: bytes, at: int, value: bytes) -> bytes:
    return content[:at] + value + content[at + len(value) :]


def _huge(format: str, picture: Picture, encoded: Encoded) -> bytes:
    """A small file whose header claims some 20,000 x 10,000 pixels."""
    content = encoded(picture(), format, **({"lossless": True} if format == "WEBP" else {}))
    if format == "PNG":
        return _png_of(20_000, 10_000)
    if format == "JPEG":
        return _patched(content, content.index(b"\xff\xc0") + 5, struct.pack(">HH", 10_000, 20_000))
    if format == "GIF":
        return _patched(content, 6, struct.pack("<HH", 20_000, 10_000))
    if format == "BMP":
        return _patched(content, 18, struct.pack("<ii", 20_000, -10_000))
    if format == "WEBP":
        return _patched(content, 21, struct.pack("<I", (16_383 << 14) | 16_383))
    if format == "TIFF":
        tags = {256: 20_000, 257: 10_000}
        start = struct.unpack("<I", content[4:8])[0]
        for entry in range(
            start + 2, start + 2 + 12 * struct.unpack("<H", content[start : start + 2])[0], 12
        ):
            tag, kind = struct.unpack("<HH", content[entry : entry + 4])
            if tag in tags:
                value = struct.pack(
                    "<I" if kind == 4 else "<HH", *([tags[tag]] if kind == 4 else [tags[tag], 0])
                )
                content = _patched(content, entry + 8, value)
        return content
    return _patched(content, content.index(b"ispe") + 8, struct.pack(">II", 20_000, 10_000))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_huge_photos_are_refused_by_their_header(
    format: str, tmp_path: Path, picture: Picture, encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "huge"
    path.write_bytes(_huge(format, picture, encoded))

    def never(self: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", never)
    size = "16384 x 16384" if format == "WEBP" else "20000 x 10000"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for function in (open_photo, photo_size, lambda path: thumbnail(path, 64)):
            with pytest.raises(
                PhotoError, match=rf"too large: {size} pixels.*At most 50 megapixels.*smaller"
            ):
                function(path)


def test_the_limit_itself() -> None:
    assert MAX_PIXELS == 50_000_000
    with pytest.raises(PhotoError, match=r"50\.0 megapixels"):
        photo_size_of(_png_of(50_000, 1001))
    assert photo_size_of(_png_of(50_000, 1000)) == (50_000, 1000)


def photo_size_of(content: bytes) -> tuple[int, int]:
    from tl_app.data.decode import read_size

    return read_size(io.BytesIO(content))


CUTTABLE = [name for name in FORMATS if name != "big.tif"]


@pytest.mark.parametrize("name", CUTTABLE)
def test_truncated_photos_are_refused_undecoded(
    name: str, tmp_path: Path, picture: Picture, encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    format, options = FORMATS[name]
    content = encoded(picture(200, 150), format, **options)
    path = tmp_path / "cut"
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    for share in (0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
        path.write_bytes(content[: int(len(content) * share)])
        for function in (open_photo, photo_size):
            with pytest.raises(PhotoError, match=r"cut off|damaged") as caught:
                function(path)
            assert "again" in str(caught.value)


@pytest.mark.parametrize("name", FORMATS)
def test_any_cut_and_any_damage_is_a_photo_error_or_a_photo(
    name: str, picture: Picture, encoded: Encoded
) -> None:
    format, options = FORMATS[name]
    content = encoded(picture(), format, **options)
    rng = np.random.default_rng(len(name))
    for _ in range(120):
        spoilt = bytearray(content)
        for position in rng.integers(0, len(spoilt), rng.integers(1, 6)):
            spoilt[position] = rng.integers(256)
        if rng.random() < 0.5:
            spoilt = spoilt[: rng.integers(0, len(spoilt) + 1)]
        try:
            image = open_photo(bytes(spoilt))
            assert image.mode == "RGB"
        except PhotoError as error:
            assert error.problem.endswith(".")
    for end in rng.integers(0, len(content), 60):
        try:
            open_photo(content[:end])
        except PhotoError:
            continue
        # What is missing may be nothing: TIFF may end in an empty table, say.
        assert len(content) - end <= 16, f"{name} cut to {end} of {len(content)} bytes"


def test_an_embedded_preview_does_not_pass_for_the_end(picture: Picture, encoded: Encoded) -> None:
    preview = encoded(picture(), "JPEG")  # has an end marker of its own
    exif = b"Exif\0\0" + preview
    content = encoded(picture(200, 150), "JPEG", exif=exif)
    assert open_photo(content).size == (200, 150)
    with pytest.raises(PhotoError, match="cut off"):
        open_photo(content[: len(content) - len(content) // 4])


def test_bytes_after_the_end_do_no_harm(picture: Picture, encoded: Encoded) -> None:
    for format in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"):
        assert open_photo(encoded(picture(), format) + b"\0" * 100_000 + b"camera's own").size == (48, 32)
    assert open_photo(encoded(picture(), "AVIF") + b"\0\0\0\x05\0\1\2\3trailer").size == (48, 32)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "The file is empty"),
        (b"hello, this is a text", "It is not a photo.*Read are JPEG, PNG"),
        (b"BM is how this text starts, with more than a header's length of words", "It is not a photo"),
        (b"%PDF-1.7 and so on", "PDF document"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript"),
        (b"\n <!DOCTYPE html><html><body>404 not found", "web page"),
        (b"<?xml version='1.0'?><svg/>", "SVG drawing"),
        (b"PK\x03\x04" + bytes(50), "zip archive"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(50), "video"),
        (b"\xff\x4f\xff\x51" + bytes(50), "JPEG 2000.*Save it as JPEG or PNG"),
        (b"8BPS\0\1" + bytes(50), "Photoshop.*Save it as"),
        (b"\0\0\1\0\1\0" + bytes(50), "icon"),
        (b"\xff\xd8\xff", "cut off"),
        (b"\xff\xd8\xff\xd9", "damaged"),
        (b"\x89PNG\r\n\x1a\n", "cut off"),
        (b"GIF89a", "cut off"),
        (b"BM\0\0", "cut off"),
        (b"II*\0", "cut off"),
        (b"RIFF\x04\0\0\0WEBP", "cut off"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(50), "camera RAW.*Save it as"),
    ],
)
def test_what_is_no_photo_says_what_it_is(content: bytes, reason: str) -> None:
    with pytest.raises(PhotoError, match=reason):
        open_photo(content)


def test_dng_is_told_from_tiff(picture: Picture, encoded: Encoded) -> None:
    with pytest.raises(PhotoError, match="camera RAW"):
        open_photo(encoded(picture(), "TIFF", tiffinfo={50706: bytes([1, 4, 0, 0])}))


def test_files_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PhotoError, match="The file is not there"):
        open_photo(tmp_path / "missing.jpg")
    with pytest.raises(PhotoError, match="not a regular file"):
        open_photo(tmp_path)
    (tmp_path / "link.jpg").symlink_to(tmp_path / "gone.jpg")
    with pytest.raises(PhotoError, match="link to a file that is not there"):
        open_photo(tmp_path / "link.jpg")
    with pytest.raises(PhotoError, match="cannot be opened"):
        open_photo(Path("nul\0l.jpg"))
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(PhotoError, match="not a regular file"):  # and it does not wait for a writer
        open_photo(tmp_path / "pipe.jpg")
    (tmp_path / "locked.jpg").write_bytes(b"x")

    def refuse(path: object, *args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(builtins, "open", refuse)
    with pytest.raises(PhotoError, match="cannot be opened: Permission denied"):
        open_photo(tmp_path / "locked.jpg")


def test_a_photo_error_is_a_data_error() -> None:
    assert issubclass(PhotoError, DataError) and PhotoError.exit_code == 3


def test_heic_without_the_extra(
    picture: Picture, encoded: Encoded, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "photo.heic"
    path.write_bytes(encoded(picture(), "HEIF"))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for function in (open_photo, photo_size):
        with pytest.raises(PhotoError, match=r"need an extra.*pip install 'tl-app\[heif\]'"):
            function(path)


def test_a_foreign_format_is_not_reached_through_pillow(picture: Picture, encoded: Encoded) -> None:
    for format in ("ICO", "PPM", "TGA", "PCX", "SGI", "EPS", "PDF", "JPEG2000"):
        with pytest.raises(PhotoError):
            open_photo(encoded(picture(), format))


def test_memory_running_out_is_a_reason(
    picture: Picture, encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object) -> None:
        raise MemoryError

    content = encoded(picture(), "JPEG")
    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(PhotoError, match="not enough memory"):
        open_photo(content)


# --- pixels without Pillow -----------------------------------------------------------------------------

JPEGS: dict[str, dict[str, Any]] = {
    "4:2:0": {"subsampling": 2},
    "4:2:2": {"subsampling": 1},
    "4:4:4": {"subsampling": 0, "quality": 97},
    "poor": {"quality": 20},
    "restarts": {"restart_marker_blocks": 2},
    "not YCbCr": {"keep_rgb": True},
    "camera": {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0", "comment": b"\xff\xd9 is no end here"},
}


def _same_pixels(content: bytes, **options: Any) -> None:
    pixels = open_pixels(content, **options)
    assert pixels.dtype == np.uint8 and pixels.flags.writeable and pixels.flags.c_contiguous
    assert np.array_equal(pixels, np.asarray(open_photo(content, **options)))


@pytest.mark.parametrize("name", FORMATS)
def test_pixels_are_the_photo_in_every_format(
    name: str, tmp_path: Path, picture: Picture, encoded: Encoded
) -> None:
    format, options = FORMATS[name]
    _same_pixels(encoded(picture(), format, **options))
    path = tmp_path / "photo"
    path.write_bytes(encoded(picture(), format, **options))
    with open(path, "rb") as file:
        assert np.array_equal(open_pixels(path), open_pixels(file))


@pytest.mark.parametrize("grey", [False, True], ids=["colour", "grey"])
@pytest.mark.parametrize("name", JPEGS)
def test_plain_jpegs_do_without_pillow(
    name: str, grey: bool, picture: Picture, encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = picture(333, 217, seed=3)
    image = image.convert("L") if grey else image
    content = encoded(image, "JPEG", **JPEGS[name])
    _same_pixels(content)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("Pillow decoded it"))
    assert open_pixels(content).shape == (217, 333, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_upright(orientation: int, picture: Picture, encoded: Encoded) -> None:
    stored, exif = _turned(picture(), orientation)
    content = encoded(stored, "JPEG", exif=exif)
    _same_pixels(content)
    assert_upright(Image.fromarray(open_pixels(content)), 20)


@pytest.mark.parametrize("size", [(1200, 800), (1207, 801), (811, 2600)])
def test_pixels_of_large_photos(size: tuple[int, int], picture: Picture, encoded: Encoded) -> None:
    content = encoded(picture(*size), "JPEG")
    for shorter_side in (25, 26, 50, 51, 64, 100, 101, 200):
        _same_pixels(content, shorter_side=shorter_side)
    assert open_pixels(content, shorter_side=50).shape[:2] == (-(-size[1] // 4), -(-size[0] // 4))
    exif = Image.Exif()
    exif[0x0112] = 6
    _same_pixels(encoded(picture(*size), "JPEG", exif=exif), shorter_side=50)


def test_unusual_jpegs_go_through_pillow(picture: Picture, encoded: Encoded) -> None:
    _same_pixels(encoded(picture().convert("CMYK"), "JPEG"))
    _same_pixels(encoded(picture(), "JPEG", progressive=True))
    _same_pixels(encoded(picture(), "MPO", save_all=True, append_images=[Image.new("RGB", (48, 32))]))
    _same_pixels(encoded(picture(), "JPEG") + b"\xff\x58 after the end")


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 4}], ids=str)
def test_damage_is_judged_as_pillow_does(options: dict[str, Any], picture: Picture, encoded: Encoded) -> None:
    content = encoded(picture(200, 150), "JPEG", **options)
    rng = np.random.default_rng(len(options))
    refused = 0
    for number in range(150):
        spoilt = bytearray(content)
        for position in rng.integers(len(content) // 5, len(content), 3):
            spoilt[position : position + 2] = bytes([rng.choice([255, rng.integers(256)]), rng.integers(256)])
        if number % 5 == 0:
            start = int(rng.integers(len(content) // 5, len(content)))
            del spoilt[start : start + 200]
        try:
            expected = open_photo(bytes(spoilt))
        except PhotoError as error:
            refused += 1
            with pytest.raises(PhotoError) as caught:
                open_pixels(bytes(spoilt))
            assert str(caught.value) == str(error)
        else:
            assert np.array_equal(open_pixels(bytes(spoilt)), np.asarray(expected))
    assert refused > 10


def test_a_marker_that_makes_no_sense_is_damage(picture: Picture, encoded: Encoded) -> None:
    """Also where a preview before it is whole: OpenCV alone would hand out half a photo."""
    preview = encoded(picture(), "JPEG")
    for options in ({}, {"exif": b"Exif\0\0" + preview}):
        content = encoded(picture(200, 150), "JPEG", **options)
        middle = len(content) - 800
        spoilt = content[:middle] + b"\xff\x58" + content[middle + 2 :]
        with pytest.raises(PhotoError, match="damaged"):
            open_pixels(spoilt)


# --- speed and threads -----------------------------------------------------------------------------------


def test_draft_changes_next_to_nothing(encoded: Encoded) -> None:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8))
    large = noise.resize((1200, 800), Image.Resampling.BICUBIC)
    content = encoded(large, "JPEG", quality=92)
    assert open_photo(content, shorter_side=101).size == (1200, 800)  # less than eight times: as it is
    drafted = open_photo(content, shorter_side=64)
    assert drafted.size == (600, 400)
    small = [image.resize((96, 64), Image.Resampling.BILINEAR) for image in (drafted, open_photo(content))]
    difference = np.abs(np.subtract(*(np.asarray(image).astype(int) for image in small)))
    assert difference.mean() < 0.5 and difference.max() <= 4


def test_a_header_is_read_without_looking_through_the_pixels(encoded: Encoded) -> None:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (1500, 2000, 3), dtype=np.uint8))

    class Counted(io.BytesIO):
        taken = 0

        def read(self, size: int | None = -1, /) -> bytes:
            found = super().read(size)
            self.taken += len(found)
            return found

    file = Counted(encoded(noise, "JPEG", quality=95))
    containers.examine(file)
    assert file.taken < 2000 < len(file.getvalue())


def test_threads_do_not_disturb_each_other(picture: Picture, encoded: Encoded) -> None:
    contents = [encoded(picture(64, 40, seed), "JPEG") for seed in range(8)]
    expected = [open_photo(content).tobytes() for content in contents]
    limit, truncated = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    start = threading.Barrier(8)

    def work(number: int) -> bool:
        start.wait()
        return all(open_photo(contents[number]).tobytes() == expected[number] for _ in range(20))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    assert (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES) == (limit, truncated)
