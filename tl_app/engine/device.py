"""Which device and precision a run uses, what batch fits by default, and how much memory is in use.

Knows nothing of networks or photos.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys

import psutil
import torch
from torch.nn import Module

from tl_app.errors import ResourceError, UsageError

# malloc.h of glibc.
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
_KEPT_BYTES = 1 << 30

_OUT_OF_MEMORY_TEXTS = ("out of memory", "can't allocate memory", "not enough memory")


def resolve_device(name: str) -> torch.device:
    """The device that ``name`` stands for; ``auto`` takes CUDA, then MPS, then the CPU.

    Raises:
        UsageError: The name is not a device.
        ResourceError: The machine has no such device.
    """
    kind, _, number = name.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps") or (
        number and (kind != "cuda" or not (number.isascii() and number.isdigit()))
    ):
        raise UsageError(f"device is '{name}'.", "Allowed: auto, cpu, cuda, cuda:N, mps.")
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        index = int(number or 0)
        if index >= count:
            found = f"{count} CUDA device(s) were found" if count else "no CUDA device was found"
            raise ResourceError(
                f"Device '{name}' is not there: {found}.", remedy="Choose device auto or cpu."
            )
        return torch.device("cuda", index)
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ResourceError(
            "Device 'mps' is not there: this is no Apple GPU.", remedy="Choose device auto or cpu."
        )
    return torch.device(kind)


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """The number format of forward passes; weights stay float32 either way.

    ``auto`` takes bf16 on CUDA cards with bf16 units (Ampere and newer) and float32 elsewhere: on the CPUs
    measured so far bf16 slows depthwise networks down.

    Raises:
        ResourceError: bf16 was asked for on a device that cannot do it.
    """
    if name == "fp32":
        return torch.float32
    capable = device.type != "cuda" or torch.cuda.get_device_capability(device) >= (8, 0)
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" and capable else torch.float32
    if device.type == "mps" or not capable:
        raise ResourceError(
            f"Precision 'bf16' does not work on {device}.", remedy="Choose precision auto or fp32."
        )
    return torch.bfloat16


def autocast(device: torch.device, precision: torch.dtype) -> contextlib.AbstractContextManager[object]:
    """The context in which forward passes run; does nothing for float32."""
    if precision == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=precision)


def precision_name(precision: torch.dtype) -> str:
    """``fp32`` or ``bf16``."""
    return "bf16" if precision == torch.bfloat16 else "fp32"


def auto_batch_size(train_photos: int, device: torch.device) -> int:
    """A batch that gives small folders enough steps per epoch and large ones enough work per step."""
    largest = 64 if device.type == "cuda" else 32
    return max(4, min(largest, 1 << max(2, (max(1, train_photos) // 12).bit_length() - 1)))


def move(network: Module, device: torch.device) -> None:
    """Puts a network on a device, channels last.

    Raises:
        ResourceError: It does not fit.
    """
    try:
        network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise ResourceError(
            f"The network does not fit into the memory of {device}.",
            remedy="Choose a smaller one, or the CPU.",
        ) from error


def memory_bytes(device: torch.device) -> int:
    """Peak memory on an accelerator, resident memory of this process on the CPU; in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if device.type == "mps":
        return int(torch.mps.current_allocated_memory())
    return int(psutil.Process().memory_info().rss)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that the device (or the machine) ran out of memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(known in text for known in _OUT_OF_MEMORY_TEXTS)


def release_memory(device: torch.device) -> None:
    """Gives cached blocks back to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


@functools.cache
def keep_memory() -> None:
    """Keeps freed memory for the next batch instead of giving it back to the system after every layer.

    With glibc's defaults each activation larger than 32 MiB at most is mapped anew and its pages are faulted in one
    by one: forward passes on a CPU took twice as long here. Once per process; does nothing where libc is not glibc.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
