"""The one guarded way from a photo file to pixels, used by training, evaluation, prediction and the demo.

Whatever the file is, the result is an upright RGB picture, or a :class:`PhotoError` whose reason a person can
act on. Thread-safe: no Pillow setting is touched. Knows nothing of labels, folders or networks.
"""

from __future__ import annotations

import io
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from tl_app.data import containers
from tl_app.data.containers import MAX_PIXELS, Container
from tl_app.data.opencv import opencv
from tl_app.data.opening import open_regular
from tl_app.errors import PhotoError

__all__ = [
    "EXTENSIONS",
    "LONGEST_RATIO",
    "MAX_PIXELS",
    "open_photo",
    "open_pixels",
    "photo_size",
    "read_size",
    "thumbnail",
    "upright_rgb",
]

EXTENSIONS = frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .apng .webp .bmp .dib .gif .tif .tiff .avif .heic .heif .hif".split()
)
# A 1 x 10,000 strip would grow to 256 x 2,560,000; only its middle can reach a network anyway.
LONGEST_RATIO = 8

_ORIENTATION = 0x0112  # EXIF
_PHOTOMETRIC, _NEW_SUBFILE, _DNG_VERSION, _COLOUR_FILTER_ARRAY = 262, 254, 50706, 32803  # TIFF
_STRIPS, _TILES = (273, 279), (324, 325)  # TIFF: offsets and byte counts
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Decoding a JPEG at a half, quarter or eighth of its size is several times faster. It is done only when what
# is left is this many times what is asked for: the antialiased resize that follows then hides the difference.
_DRAFT_MARGIN = 4

# The first marker after a JPEG's pixels begin, restarts left out. In one that is whole and has a single scan it is the
# end; progressive ones have several scans.
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
_END_OF_IMAGE = b"\xff\xd9"

# Pillow's warnings about odd metadata are of no use to the person whose photo it is. Set once, at import.
warnings.filterwarnings("ignore", module=r"PIL\.")


def open_photo(source: Path | bytes | BinaryIO, *, shorter_side: int | None = None) -> Image.Image:
    """The photo's pixels: RGB, upright, first frame, transparency on white, 16 bits scaled to 8.

    Args:
        source: A file, its content, or an open binary stream (read from its start).
        shorter_side: What the shorter side will be resized to next, in pixels. It lets a JPEG at least eight
            times as large be decoded at a fraction of its size, never below four times ``shorter_side``.

    Raises:
        PhotoError: It cannot be used; the message says why. Cut-off and huge files are refused undecoded.
    """
    with _opened(source) as file:
        image, container = _lazy(file)
        with _reasons(container.format):
            if shorter_side is not None:
                image.draft(None, (shorter_side * _DRAFT_MARGIN, shorter_side * _DRAFT_MARGIN))
            orientation = _orientation(image, container)
            image.load()
            return _turned(_to_rgb(image), orientation)


def open_pixels(source: Path | bytes | BinaryIO, *, shorter_side: int | None = None) -> np.ndarray:
    """Like :func:`open_photo`, as an array: the same pixels, for most JPEGs in half the time.

    Args:
        source: A file, its content, or an open binary stream (read from its start).
        shorter_side: As for :func:`open_photo`.

    Returns:
        uint8, (h, w, 3), writable.

    Raises:
        PhotoError: As for :func:`open_photo`.
    """
    with _opened(source) as file:
        image, container = _lazy(file)
        if isinstance(image, JpegImageFile) and image.mode in ("L", "RGB"):
            pixels = _decode_jpeg(file, image, container, shorter_side)
            if pixels is not None:
                return _turned_pixels(pixels, _orientation(image, container))
        return np.array(open_photo(file, shorter_side=shorter_side))


def _decode_jpeg(
    file: BinaryIO, image: JpegImageFile, container: Container, shorter_side: int | None
) -> np.ndarray | None:
    """The pixels as stored, uint8, (h, w, 3); None for what is not plainly whole and simple: it is left to Pillow.

    Where a marker makes no sense, OpenCV hands out what it has so far, and Pillow says that the file is damaged.
    """
    cv2 = opencv()
    file.seek(0)
    content = file.read()
    end = _AFTER_SCAN.search(content, container.pixels_at)
    if end is None or end[0] != _END_OF_IMAGE:
        return None
    fraction, flags = 1, cv2.IMREAD_COLOR_RGB
    if shorter_side is not None:
        asked = min(image.size) // (shorter_side * _DRAFT_MARGIN)
        fraction = next((each for each in (8, 4, 2) if asked >= each), 1)
        flags = getattr(cv2, f"IMREAD_REDUCED_COLOR_{fraction}", flags)
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None or pixels.shape != (-(-image.height // fraction), -(-image.width // fraction), 3):
        return None
    rgb: np.ndarray = pixels if fraction == 1 else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)
    return rgb


def _turned_pixels(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Upright, in one piece: (h, w, 3)."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def photo_size(path: Path) -> tuple[int, int]:
    """Width and height of the upright photo, in pixels, from its header alone.

    Raises:
        PhotoError: Not a photo, cut off, damaged or too large; told without decoding.
    """
    with _opened(path) as file:
        return read_size(file)


def read_size(file: BinaryIO) -> tuple[int, int]:
    """Like :func:`photo_size`, for a file that is open and seekable; its position is left anywhere.

    Raises:
        PhotoError: As for :func:`photo_size`.
    """
    image, container = _lazy(file)
    with _reasons(container.format):
        on_its_side = _orientation(image, container) >= 5
    return (image.height, image.width) if on_its_side else image.size


def thumbnail(path: Path | bytes, side: int) -> Image.Image:
    """A small upright picture for a page, RGB, its longer side at most ``side`` pixels.

    Raises:
        PhotoError: As for :func:`open_photo`.
    """
    with _opened(path) as file:
        image, container = _lazy(file)
        with _reasons(container.format):
            image.draft(None, (2 * side, 2 * side))
            orientation = _orientation(image, container)
            image.load()
            picture = _to_rgb(image)
            picture.thumbnail((side, side), Image.Resampling.BICUBIC)
            return _turned(picture, orientation)


@contextmanager
def _opened(source: Path | bytes | BinaryIO) -> Iterator[BinaryIO]:
    if isinstance(source, bytes | bytearray | memoryview):
        yield io.BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        with open_regular(Path(source)) as file:
            yield file
    else:
        yield source if source.seekable() else io.BytesIO(source.read())


@contextmanager
def _reasons(name: str) -> Iterator[None]:
    """Whatever a decoder throws at a bad file becomes one plain reason."""
    try:
        yield
    except PhotoError:
        raise
    except MemoryError as error:
        raise PhotoError("There is not enough memory to open it.", remedy="Save it smaller.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PhotoError(
            "It is too large.",
            f"At most {MAX_PIXELS // 1_000_000} megapixels are read.",
            "Save it smaller.",
        ) from error
    # Decoders fail in every way there is: OSError, SyntaxError, struct.error, KeyError, ValueError, …
    except Exception as error:
        text = str(error)
        if "truncated" in text.lower():
            raise containers.cut_off() from error
        if "unknown pixel mode" in text or "not supported" in text:
            raise PhotoError(
                f"This kind of {name} is not read ({text}).", remedy="Save it as JPEG or PNG."
            ) from error
        raise containers.damaged(name, f" ({text[:100]})" if text else "") from error


def _lazy(file: BinaryIO) -> tuple[ImageFile, Container]:
    """The photo with its header read and checked, and no pixel decoded."""
    container = containers.examine(file)
    file.seek(0)
    with _reasons(container.format):
        image = _OPENERS[container.format](file)
        if image.width < 1 or image.height < 1:
            raise containers.damaged(container.format, " (it has no pixels)")
        containers.check_pixels(image.width, image.height)
        if isinstance(image, TiffImageFile):
            _check_tiff(image, file)
    return image, container


def _check_tiff(image: TiffImageFile, file: BinaryIO) -> None:
    tags = image.tag_v2
    if _DNG_VERSION in tags or tags.get(_PHOTOMETRIC) == _COLOUR_FILTER_ARRAY:
        raise PhotoError("It is a camera RAW file.", remedy="Save it as JPEG or PNG.")
    total = file.seek(0, os.SEEK_END)
    for offsets_tag, counts_tag in (_STRIPS, _TILES):
        if offsets_tag not in tags:
            continue
        offsets, counts = (_numbers(tags.get(tag, ())) for tag in (offsets_tag, counts_tag))
        if any(offset + count > total for offset, count in zip(offsets, counts, strict=False)):
            raise containers.cut_off()
        if not counts and any(offset >= total for offset in offsets):
            raise containers.cut_off()


def _numbers(value: object) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,) if isinstance(value, int) else ()


def _open_heif(file: BinaryIO) -> ImageFile:
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise PhotoError(
            "HEIC photos need an extra that is not installed.",
            remedy="Run: pip install 'tl-app[heif]', or save it as JPEG.",
        ) from error
    image: ImageFile = HeifImageFile(file)
    return image


# The classes themselves rather than Image.open: no other format can be reached, whatever else is registered.
_OPENERS: dict[str, Callable[[BinaryIO], ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
    "WEBP": WebPImageFile,
    "TIFF": TiffImageFile,
    "AVIF": AvifImageFile,
    "HEIF": _open_heif,
}


def upright_rgb(image: Image.Image) -> Image.Image:
    """What :func:`open_photo` makes of a file, made of a picture that someone else has opened.

    Raises:
        PhotoError: It is too large, or its pixels cannot be read.
    """
    containers.check_pixels(image.width, image.height)
    name = image.format or image.mode
    with _reasons(name):
        orientation = _orientation(image, Container(name, image.width, image.height))
        image.load()
        return _turned(_to_rgb(image), orientation)


def _turned(picture: Image.Image, orientation: int) -> Image.Image:
    picture = picture.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else picture
    picture.info = {}  # nobody must turn it a second time
    return picture


def _orientation(image: Image.Image, container: Container) -> int:
    """EXIF orientation, 1 to 8; unreadable EXIF does not spoil a good photo, it counts as upright."""
    if isinstance(image, TiffImageFile):  # Pillow turns these itself
        return 1
    if container.exif:
        image.info.setdefault("exif", container.exif)
    try:
        # The base class's method: PNG's own decodes the whole picture first.
        value = Image.Image.getexif(image).get(_ORIENTATION, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return _from_16_bit(image)
    if image.mode in ("I", "F"):
        return _from_wide(np.asarray(image, dtype=np.float64))
    transparent = image.info.get("transparency")
    if (
        isinstance(transparent, tuple) and max(transparent) > 255
    ):  # 16-bit colour, of which Pillow kept the high bytes
        image.info["transparency"] = tuple(value >> 8 for value in transparent)
    if image.has_transparency_data:
        return _on_white(image.convert("RGBA"))
    return image.convert("RGB") if image.mode != "RGB" else image.copy()


def _on_white(image: Image.Image) -> Image.Image:
    picture = Image.new("RGB", image.size, "white")
    picture.paste(image, mask=image.getchannel("A"))
    return picture


def _from_16_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.uint32)  # (h, w)
    transparent = image.info.get("transparency")
    grey = ((values * 255 + 32767) // 65535).astype(np.uint8)
    if isinstance(image, TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == 0:  # 0 is white
        grey = 255 - grey
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey).convert("RGB")


def _from_wide(values: np.ndarray) -> Image.Image:
    """32-bit numbers name no range: 0-1, 0-255 and 0-65535 are kept, anything else is stretched."""
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)  # (h, w)
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 1:
        values = values * 255
    elif low >= 0 and 255 < high <= 65535:
        values = values / 257
    elif low < 0 or high > 65535:
        values = (values - low) * (255 / max(high - low, 1e-12))
    return Image.fromarray(np.rint(values).astype(np.uint8)).convert("RGB")
