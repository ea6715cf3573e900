"""Which device and precision a run uses, what batch fits by default, and how much memory is in use.

Knows nothing of networks or photos.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psutil
import torch
from torch.nn import Module

from tl_app.cores import take_one_core
from tl_app.errors import ResourceError, UsageError

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

    ``auto`` takes bf16 where the device has units for it; :func:`training_precision` also looks at the network.

    Raises:
        ResourceError: bf16 was asked for on a device that cannot do it.
    """
    if name == "fp32":
        return torch.float32
    capable = device.type != "cuda" or torch.cuda.get_device_capability(device) >= (8, 0)
    if name == "auto":
        return torch.bfloat16 if has_bf16_units(device) else torch.float32
    if device.type == "mps" or not capable:
        raise ResourceError(
            f"Precision 'bf16' does not work on {device}.", remedy="Choose precision auto or fp32."
        )
    return torch.bfloat16


def has_bf16_units(device: torch.device) -> bool:
    """Whether bf16 is fast there: CUDA cards from Ampere on, x86 CPUs with AVX-512 BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and (_has("avx512_bf16") or has_amx())


def has_int8_units(device: torch.device) -> bool:
    """Whether 8-bit whole numbers are fast there: x86 CPUs with VNNI."""
    return device.type == "cpu" and _has("vnni")


def has_amx() -> bool:
    """Whether the CPU multiplies whole tiles of bf16 or 8-bit numbers at once."""
    return _has("amx_tile")


def _has(units: str) -> bool:
    check = getattr(torch.cpu, f"_is_{units}_supported", None)
    return check is not None and bool(check())


def training_precision(name: str, device: torch.device, module: Module) -> torch.dtype:
    """The number format of the forward passes of a training step.

    On a CPU, ``auto`` keeps networks of depthwise convolutions with BatchNorm in float32. Steps per second in bf16
    against float32, on two cores with AVX-512 BF16: resnet18 1.8, regnet_y_400mf 2.4, convnext_tiny 2.2,
    densenet121 1.7, vit_b_16 1.3; mobilenet_v2 0.95, efficientnet_b0 0.7, mobilenet_v3_small 0.6.

    Raises:
        ResourceError: bf16 was asked for on a device that cannot do it.
    """
    precision = resolve_precision(name, device)
    if name == "auto" and device.type == "cpu" and _is_depthwise(module):
        return torch.float32
    return precision


def _is_depthwise(module: Module) -> bool:
    parts = list(module.modules())
    depthwise = any(isinstance(p, torch.nn.Conv2d) and 1 < p.groups == p.in_channels for p in parts)
    return depthwise and any(isinstance(p, torch.nn.BatchNorm2d) for p in parts)


@contextlib.contextmanager
def one_thread(wanted: bool) -> Iterator[None]:
    """Computes on one thread for as long as the block lasts: for steps too small to be shared out.

    Only in the calling thread: a predictor that another one compiles meanwhile is used long afterwards.
    """
    if not wanted:
        yield
        return
    before = take_one_core()
    try:
        yield
    finally:
        if before > 1:  # else the threads that start later would get one core too
            torch.set_num_threads(before)


def autocast(device: torch.device, precision: torch.dtype) -> contextlib.AbstractContextManager[object]:
    """The context in which forward passes run; does nothing for float32."""
    if precision == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=precision)


def precision_name(precision: torch.dtype) -> str:
    """``fp32``, ``bf16`` or ``int8``."""
    return {torch.bfloat16: "bf16", torch.int8: "int8"}.get(precision, "fp32")


def auto_batch_size(train_photos: int, device: torch.device) -> int:
    """A batch that gives small folders enough steps per epoch and large ones enough work per step."""
    largest = 64 if device.type == "cuda" else 32
    return max(4, min(largest, 1 << max(2, (max(1, train_photos) // 12).bit_length() - 1)))


def seed_generator(seed: int, device: torch.device) -> None:
    """Sets what chance on the device, dropout for one, goes on from.

    ``torch.manual_seed`` does so for every kind of device that torch knows, and keeps a traceback of each call for
    those that are not in use: two tenths of a millisecond and some memory for every step.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


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
