"""The markers of a JPEG: where the next one is, and how often the file goes over its photo.

A photo may be stored in layers, and a made-up one in thousands of them. Knows no sizes and decodes nothing.
"""

from __future__ import annotations

import re
from typing import BinaryIO

from tl_app.errors import PhotoError

# A scan that changes nothing takes a hundred bytes of the file and a whole pass of the decoder. Real photos have about
# 10 scans; 100 is also what libtiff allows for the JPEGs in TIFFs (JPEG_MAX_ALLOWED_SCAN_NUMBER in its tif_jpeg.c).
MOST_SCANS = 100
MOST_PIXELS = 2_000_000_000  # of all scans together

_CHUNK = 1 << 16
_MARKER = re.compile(rb"\xff[^\x00\xff]", re.DOTALL)
# Start of scan, its length and its number of components: no decoder takes one in which the two do not fit.
_START = re.compile(rb"\xff\xda\x00(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")
_START_BYTES = 5


def next_marker(file: BinaryIO) -> int | None:
    """The second byte of the next marker, behind which the file is left; None where there is none."""
    start, size = file.tell(), 2  # nearly always it is right here
    while len(block := file.read(size)) > 1:
        if found := _MARKER.search(block):
            file.seek(start + found.end())
            return found[0][1]
        start, size = start + len(block) - 1, _CHUNK
        file.seek(start)
    return None


def check_scans(file: BinaryIO, pixels: int) -> None:
    """Refuse a JPEG that would keep the decoder busy; reads all of it.

    Args:
        file: Open for reading, seekable; its position is left anywhere.
        pixels: Of the photo, which each scan may go over.

    Raises:
        PhotoError: It has more scans than :data:`MOST_SCANS`, or they go over more than :data:`MOST_PIXELS`.
    """
    most = min(MOST_SCANS, MOST_PIXELS // max(1, pixels))
    file.seek(0)
    scans, carried = 0, b""
    while block := file.read(_CHUNK):
        scans += len(_START.findall(carried + block))
        carried = (carried + block)[1 - _START_BYTES :]
        if scans > most:
            raise PhotoError(
                f"It is a JPEG of more than {most} layers, each of {pixels / 1e6:.1f} megapixels.",
                f"At most {most} layers are read of a photo of that size.",
                "Save it as a plain JPEG.",
            )
