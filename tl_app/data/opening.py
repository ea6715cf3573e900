"""Photo files, opened: nothing is waited for that may never come, and the disk is asked once.

Knows nothing of what is in them.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tl_app.errors import PhotoError

_SMALL_BYTES = 1 << 18  # hashed in the time that a few turns at the interpreter's lock take
_AT_ONCE_BYTES = 8 << 20  # of nearly every photo there is; 16 threads may hold one each


@contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """The file, open for reading; a pipe or device is refused, as opening one could wait for ever.

    Raises:
        PhotoError: It is not there, not a regular file, or may not be read.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise PhotoError("It is not a regular file.")
        file = open(path, "rb")
    except FileNotFoundError as error:
        broken = os.path.islink(path)
        what = "It is a link to a file that is not there." if broken else "The file is not there."
        raise PhotoError(what) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PhotoError(f"The file cannot be opened: {reason}.") from error
    with file:
        try:
            yield file
        except OSError as error:  # the disk, not the photo: Pillow's own have become PhotoErrors
            raise PhotoError(f"The file cannot be read: {error.strerror or error}.") from error


def at_hand(file: BinaryIO) -> BinaryIO:
    """The content of an open file in memory, unless it is large: the file itself then.

    Each read of a file lets go of the interpreter's lock, for which a thread then waits longer than for the bytes.
    """
    if os.fstat(file.fileno()).st_size > _AT_ONCE_BYTES:
        return file
    file.seek(0)
    return io.BytesIO(file.read())


def small_and_cached(path: Path) -> bool:
    """Whether a file is read soon: nothing is waited for but the interpreter's lock.

    False where that cannot be told: it is Linux that does, of files on its own disks.
    """
    with contextlib.suppress(PhotoError, AttributeError), open_regular(path) as file:
        size, last = os.fstat(file.fileno()).st_size, [bytearray(1)]
        # Of a file that lies in memory in part, it is the end that is missing.
        return 0 < size <= _SMALL_BYTES and os.preadv(file.fileno(), last, size - 1, os.RWF_NOWAIT) == 1
    return False
