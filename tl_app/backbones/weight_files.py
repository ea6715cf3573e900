"""Weights from a file of one's own: safetensors as they are, a pickle once it was said to be trusted.

Knows nothing of which network they fit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tl_app import resources
from tl_app.errors import ResourceError, UsageError
from tl_app.tensors import write_tensors

ENDING = ".safetensors"
_WRAPPERS = ("state_dict", "model_state_dict", "model")  # that training programs put a network's values into


def read(path: Path) -> dict[str, Tensor]:
    """The values in a safetensors file, by name.

    Raises:
        UsageError: It is not there, or something else, such as a pickle, which is not opened.
    """
    check(path)
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise UsageError(
            f"The weights {path} cannot be read: {error}.", remedy="Name another file."
        ) from error


def check(path: Path) -> None:
    """Whether a file may be read at all, by its name.

    Raises:
        UsageError: It is not there, or is no safetensors file.
    """
    _check(path)
    if path.suffix.lower() != ENDING:
        raise UsageError(
            f"The weights {path} are not loaded: a file that is not safetensors is a pickle, and a pickle can run any "
            "program when it is opened.",
            "Loaded are .safetensors files, which hold numbers only.",
            "If you trust whoever made it: `tl-app train … --weights file:PATH --trust`, on the command line.",
        )


def trusted(path: Path) -> Path:
    """A safetensors file with what a pickle holds, kept by its content; a safetensors file is returned as it is.

    Even a trusted pickle is opened with ``weights_only=True``, which builds tensors and plain containers alone.

    Raises:
        UsageError: It is not there, or holds something else than a network's values.
        ResourceError: There is no place to write.
    """
    _check(path)
    if path.suffix.lower() == ENDING:
        return path
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    target = resources.home_dir() / "weights" / f"{path.stem}-{digest[:12]}{ENDING}"
    if target.is_file():
        return target
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (
        Exception
    ) as error:  # the unpickler raises almost anything on a file that is none, or that wants to run code
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UsageError(
            f"The weights {path} cannot be read: {reason}",
            "Read are tensors by name (a state dict), also of a file that is trusted.",
            "Save `model.state_dict()` to a file, best with safetensors.torch.save_file.",
        ) from error
    values = _values(loaded, path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(target, {name: value.contiguous().clone() for name, value in values.items()})
    except OSError as error:
        raise ResourceError(f"{target} cannot be written: {error.strerror or error}.") from error
    return target


def _check(path: Path) -> None:
    if not path.is_file():
        raise UsageError(f"There is no weights file '{path}'.", remedy="Check the path behind file:.")


def _values(loaded: Any, path: Path) -> Mapping[str, Tensor]:
    """What is a network's among what was loaded."""
    for name in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(name), Mapping):
            loaded = loaded[name]
    if not (
        isinstance(loaded, Mapping) and loaded and all(isinstance(value, Tensor) for value in loaded.values())
    ):
        raise UsageError(
            f"The weights {path} hold something else than a network's values by name.",
            remedy="Save `model.state_dict()` to a file, best with safetensors.torch.save_file.",
        )
    return loaded
