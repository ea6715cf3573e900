"""What kind of photo a file is and whether all of it is there, told from its structure, no pixel decoded.

Knows the bytes of each format, and nothing of Pillow, folders or networks. Walks only sizes and markers: that
takes well under a millisecond for an ordinary photo, and no decoder ever sees a cut-off or huge one.
"""

from __future__ import annotations

import itertools
import os
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from tl_app.data.jpeg import check_scans, next_marker
from tl_app.errors import PhotoError

MAX_PIXELS = 50_000_000

_CHUNK, _TAIL = 1 << 16, 1 << 8
_EOI = b"\xff\xd9"  # JPEG's end-of-image marker
_MOST_COMMENT = 1 << 20  # Pillow joins a GIF's block by block, in a time that grows with the square
_FEW_STEPS = 4096  # segments, chunks or blocks that even a small file may have
_CUT_OFF = "The file is cut off: its last part is missing."
_AGAIN = "Copy or download it again."
_CONVERT = "Save it as JPEG or PNG."
_AVIF_BRANDS = (b"avif", b"avis")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")

# What people rename to .jpg, or keep beside their photos; the first match is told to the user.
_NOT_PHOTOS: tuple[tuple[bytes, str], ...] = (
    (rb"%PDF", "It is a PDF document, not a photo."),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "It is a PostScript document, not a photo."),
    (rb"PK\x03\x04|PK\x05\x06", "It is a zip archive, not a photo."),
    (rb"\xef?\xbb?\xbf?\s*<(?i:!doctype html|html|head|body)", "It is a web page, not a photo."),
    (rb"\xef?\xbb?\xbf?\s*<(?:\?xml|svg|!--)", "It is an SVG drawing or XML file, not a photo."),
    (rb"....ftyp(?:isom|iso\d|mp4|avc1|M4V|qt|3gp|MSNV|dash)", "It is a video, not a photo."),
    (rb"\x1aE\xdf\xa3|RIFF....AVI |\x00\x00\x01[\xba\xb3]", "It is a video, not a photo."),
    (rb"....ftypcrx|FUJIFILMCCD-RAW|IIRO|IIRS|MMOR|IIU\x00", "It is a camera RAW file."),
    (rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51", "It is a JPEG 2000 file, which is not read."),
    (rb"\xff\x0a|\x00\x00\x00\x0cJXL ", "It is a JPEG XL file, which is not read."),
    (rb"8BPS", "It is a Photoshop document, which is not read."),
    (rb"\x00\x00[\x01\x02]\x00", "It is an icon, not a photo."),
)
_CONVERTIBLE = ("RAW", "JPEG 2000", "JPEG XL", "Photoshop")


@dataclass(frozen=True)
class Container:
    """A photo file that is whole as far as its structure tells.

    Args:
        format: Pillow's name: JPEG, PNG, GIF, BMP, WEBP, TIFF, AVIF or HEIF.
        width: In pixels as stored, before orientation; 0 where only the decoder can tell.
        height: Likewise.
        exif: EXIF that a decoder finds only after the pixels (PNG); empty otherwise.
        pixels_at: Where the compressed pixels begin (JPEG); 0 otherwise.
    """

    format: str
    width: int
    height: int
    exif: bytes = b""
    pixels_at: int = 0


def identify(head: bytes) -> str:
    """The format that a file's first bytes tell, whatever its name says.

    Args:
        head: The first 64 bytes or more, fewer for a smaller file.

    Raises:
        PhotoError: It is not a photo of a format that is read; the message says what it seems to be.
    """
    if not head:
        raise PhotoError("The file is empty.", remedy=_AGAIN)
    for pattern, name in _MAGIC:
        if re.match(pattern, head, re.DOTALL):
            return name
    if head[4:8] == b"ftyp":
        brands = {head[8:12], *(head[at : at + 4] for at in range(16, min(len(head), _brands_end(head)), 4))}
        if brands & set(_AVIF_BRANDS):
            return "AVIF"
        if brands & {*_HEIF_BRANDS, b"mif1", b"msf1"}:
            return "HEIF"
    for pattern, sentence in _NOT_PHOTOS:
        if re.match(pattern, head, re.DOTALL):
            raise PhotoError(
                sentence, remedy=_CONVERT if any(word in sentence for word in _CONVERTIBLE) else ""
            )
    raise PhotoError("It is not a photo.", "Read are JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF and HEIC.")


def examine(file: BinaryIO) -> Container:
    """Format and stored size of a photo whose structure is whole; the file position is left anywhere.

    Args:
        file: Open for reading, seekable.

    Raises:
        PhotoError: Not a photo, empty, cut off, damaged, or more than ``MAX_PIXELS``.
    """
    total = file.seek(0, os.SEEK_END)
    file.seek(0)
    name = identify(file.read(128))
    file.seek(0)
    try:
        container = _WALKERS[name](file, total)
    except struct.error as error:  # a header that ends in its middle
        raise cut_off() from error
    check_pixels(container.width, container.height)
    return container


def check_pixels(width: int, height: int) -> None:
    """Refuse a photo that would need too much memory.

    Raises:
        PhotoError: It has more than ``MAX_PIXELS``.
    """
    if width * height > MAX_PIXELS:
        raise PhotoError(
            f"It is too large: {width} x {height} pixels, {width * height / 1e6:.1f} megapixels.",
            f"At most {MAX_PIXELS // 1_000_000} megapixels are read.",
            "Save it smaller.",
        )


def cut_off() -> PhotoError:
    """The error for a file whose end is missing."""
    return PhotoError(_CUT_OFF, remedy=_AGAIN)


def damaged(name: str, detail: str = "") -> PhotoError:
    """The error for a file that starts like the format ``name`` and then makes no sense."""
    return PhotoError(
        f"The file is damaged: it starts like {name} but cannot be read{detail}.", remedy=_AGAIN
    )


_MAGIC: tuple[tuple[bytes, str], ...] = (
    (rb"\xff\xd8\xff", "JPEG"),
    (rb"\x89PNG\r\n\x1a\n", "PNG"),
    (rb"GIF8[79]a", "GIF"),
    (rb"RIFF....WEBP", "WEBP"),
    (rb"II[*+]\x00|MM\x00[*+]", "TIFF"),
    # "BM" alone starts many a text: the header's own size must be one of those that exist.
    (rb"BM.{12}(?:\x0c|\x10|\x28|\x34|\x38|\x40|\x6c|\x7c)\x00\x00\x00", "BMP"),
    (rb"BM.{0,15}$", "BMP"),  # cut off within its header
)


def _brands_end(head: bytes) -> int:
    return int(struct.unpack(">I", head[:4])[0])


def _walk_jpeg(file: BinaryIO, total: int) -> Container:
    file.seek(2)
    width = height = components = 0
    progressive = False
    steps = _steps("JPEG", total, 1 << 10)
    while True:
        next(steps)
        marker = next_marker(file)
        if marker is None:
            raise cut_off()
        if marker == 0xD9:  # an end before any pixels
            raise damaged("JPEG")
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # stand alone, no length
            continue
        (length,) = struct.unpack(">H", file.read(2))
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
            height, width, components = struct.unpack(">xHHB", file.read(6))
            check_pixels(width, height)
            progressive = marker & 3 == 2
            length -= 6
        start = file.tell()
        position = file.seek(max(0, length - 2), os.SEEK_CUR)
        if position > total:
            raise cut_off()
        if marker == 0xDA:  # start of scan: pixels follow, in which no marker but an end or a restart occurs
            break
    if not _find(file, _EOI, position, total):
        raise cut_off()
    file.seek(start)
    if progressive or file.read(1)[0] < components:  # libjpeg's own rule for whether it looks for more scans
        check_scans(file, width * height)
    return Container("JPEG", width, height, pixels_at=position)


def _steps(name: str, total: int, each: int) -> Iterator[None]:
    """As many turns as a file of ``total`` bytes could need, of ``each`` bytes on average.

    Raises:
        PhotoError: There are more: somebody made it to keep others busy.
    """
    yield from itertools.repeat(None, _FEW_STEPS + total // each)
    raise damaged(name, " (it is in too many pieces)")


def _find(file: BinaryIO, wanted: bytes, start: int, total: int) -> bool:
    """Whether ``wanted`` occurs from ``start`` on; looks near the end first, where it nearly always is."""
    for chunk in (_TAIL, _CHUNK):
        file.seek(max(start, total - chunk))
        if file.read(chunk).rfind(wanted) >= 0:
            return True
    file.seek(start)
    carried = b""
    while block := file.read(_CHUNK):
        if wanted in carried + block:
            return True
        carried = block[-1:]
    return False


def _walk_png(file: BinaryIO, total: int) -> Container:
    file.seek(8)
    width = height = 0
    exif, pixels_seen = b"", False
    steps = _steps("PNG", total, 1 << 10)
    while True:
        next(steps)
        length, kind = struct.unpack(">I4s", file.read(8))
        if not kind.isalpha():
            raise damaged("PNG")
        data_start = file.tell()
        if data_start + length + 4 > total:
            raise cut_off()
        if kind == b"IHDR":
            width, height = struct.unpack(">II", file.read(8))
            check_pixels(width, height)
        elif kind == b"IDAT":
            pixels_seen = True
        elif kind == b"eXIf" and pixels_seen:
            exif = file.read(min(length, _CHUNK))
        elif kind == b"IEND":
            if not pixels_seen:
                raise damaged("PNG")
            return Container("PNG", width, height, exif)
        file.seek(data_start + length + 4)


def _walk_gif(file: BinaryIO, total: int) -> Container:
    file.seek(6)
    width, height, flags = struct.unpack("<HHBxx", file.read(7))
    check_pixels(width, height)
    _skip_colours(file, flags)
    frames, steps = 0, _steps("GIF", total, 1 << 6)
    while kind := file.read(1):
        next(steps)
        if kind == b";":  # trailer
            if not frames:
                raise damaged("GIF")
            return Container("GIF", width, height)
        if kind == b"!":  # extension
            file.seek(1, os.SEEK_CUR)
        elif kind == b",":  # frame
            left, top, frame_width, frame_height, flags = struct.unpack("<HHHHB", file.read(9))
            if not frames:  # Pillow grows the canvas when the first frame is larger
                width, height = max(width, left + frame_width), max(height, top + frame_height)
            _skip_colours(file, flags)
            file.seek(1, os.SEEK_CUR)  # code size
            frames += 1
        elif kind != b"\x00":
            raise damaged("GIF")
        if kind != b"\x00":
            _skip_blocks(file, steps)
            if not frames and file.tell() > _MOST_COMMENT:
                raise damaged("GIF", " (its comments are too long)")
    raise cut_off()


def _skip_colours(file: BinaryIO, flags: int) -> None:
    if flags & 0x80:
        file.seek(3 << ((flags & 7) + 1), os.SEEK_CUR)


def _skip_blocks(file: BinaryIO, steps: Iterator[None]) -> None:
    while size := file.read(1):
        next(steps)
        if size == b"\x00":
            return
        file.seek(size[0], os.SEEK_CUR)
    raise cut_off()


def _walk_bmp(file: BinaryIO, total: int) -> Container:
    offset, header = struct.unpack("<10xII", file.read(18))
    if header in (12, 16):  # OS/2: 16-bit sides in the short form
        width, height, bits = struct.unpack(
            "<HHxxH" if header == 12 else "<IIxxH", file.read(8 if header == 12 else 12)
        )
        compression = data_bytes = 0
    else:
        width, height, bits, compression, data_bytes = struct.unpack("<iixxHII", file.read(20))
    width, height = abs(width), abs(height)
    check_pixels(width, height)
    if compression in (0, 3, 6):  # plain rows, each filled up to 4 bytes
        data_bytes = (width * bits + 31) // 32 * 4 * height
    if offset + data_bytes > total:
        raise cut_off()
    return Container("BMP", width, height)


def _walk_webp(file: BinaryIO, total: int) -> Container:
    (riff_bytes,) = struct.unpack("<4xI", file.read(8))
    if riff_bytes + 8 > total:
        raise cut_off()
    file.seek(12)
    kind, length = struct.unpack("<4sI", file.read(8))
    if 20 + length > total:
        raise cut_off()
    head = file.read(10)
    if kind == b"VP8X":
        width = int.from_bytes(head[4:7], "little") + 1
        height = int.from_bytes(head[7:10], "little") + 1
    elif kind == b"VP8L":
        (packed,) = struct.unpack("<xI", head[:5])
        width, height = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack("<6xHH", head))
    else:
        raise damaged("WEBP")
    return Container("WEBP", width, height)


def _walk_tiff(file: BinaryIO, total: int) -> Container:
    """Only the first table's place: sizes and extents are tags, for which Pillow has a parser."""
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    big = head[2:4] in (b"+\x00", b"\x00+")
    (table,) = struct.unpack(f"{order}8xQ" if big else f"{order}4xI", head[: 16 if big else 8])
    if head[8:10] == b"CR":  # Canon's RAW, a TIFF whose first picture is a preview
        raise PhotoError("It is a camera RAW file.", remedy=_CONVERT)
    if table >= total:
        raise cut_off()
    return Container("TIFF", 0, 0)


def _walk_boxes(name: str) -> Callable[[BinaryIO, int], Container]:
    """AVIF and HEIC are the same container, a row of boxes (ISO 14496-12)."""

    def walk(file: BinaryIO, total: int) -> Container:
        kinds, meta = _boxes(file, total, name)
        if not _has_pixels(kinds, meta):
            raise cut_off()
        # Every picture in the file says its size; the largest is the photo, others are tiles and previews.
        sizes = [struct.unpack(">II", found) for found in re.findall(rb"ispe\0{4}(.{8})", meta, re.DOTALL)]
        width, height = max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))
        return Container(name, width, height)

    return walk


def _boxes(file: BinaryIO, total: int, name: str) -> tuple[set[bytes], bytes]:
    """The kinds of the outermost boxes, and what the one with the metadata holds."""
    position, kinds, meta = 0, set[bytes](), b""
    steps = _steps(name, total, 1 << 10)
    while position < total:
        next(steps)
        file.seek(position)
        head = file.read(8)
        # Some cameras append data of their own after the last box.
        if _has_pixels(kinds, meta) and (len(head) < 8 or not head[4:].isalnum()):
            break
        size, kind = struct.unpack(">I4s", head)
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
        elif size == 0:  # up to the end of the file
            size = total - position
        if size < 8:
            raise damaged(name)
        if position + size > total:
            raise cut_off()
        if kind == b"meta":
            meta = file.read(min(size, 1 << 20))
        kinds.add(kind)
        position += size
    return kinds, meta


def _has_pixels(kinds: set[bytes], meta: bytes) -> bool:
    return bool(kinds & {b"meta", b"moov"}) and (b"mdat" in kinds or b"idat" in meta)


_WALKERS: dict[str, Callable[[BinaryIO, int], Container]] = {
    "JPEG": _walk_jpeg,
    "PNG": _walk_png,
    "GIF": _walk_gif,
    "BMP": _walk_bmp,
    "WEBP": _walk_webp,
    "TIFF": _walk_tiff,
    "AVIF": _walk_boxes("AVIF"),
    "HEIF": _walk_boxes("HEIF"),
}
