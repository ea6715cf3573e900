"""Files of tensors, written so that a reader, or a process killed at any instant, never sees half of one."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from tl_app.files import replacing

_SYSTEMS_NUMBER = re.compile(r"\(os error (\d+)\)")  # how safetensors says which error of the system it was


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Replaces ``path`` by a safetensors file in one step; nothing is copied in memory first.

    Args:
        path: The file; its folder is there.
        tensors: On the CPU, contiguous, none sharing memory with another.
        metadata: Texts to keep beside them.

    Raises:
        OSError: The disk is full or the folder cannot be written; the old file is then untouched.
    """
    with replacing(path) as temporary:
        try:
            save_file(dict(tensors), temporary, dict(metadata or {}) or None)
        except SafetensorError as error:
            number = _SYSTEMS_NUMBER.search(str(error))
            if number is None:
                raise OSError(str(error)) from error
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
