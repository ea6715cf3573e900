"""A stretch of a network in its fastest form for inference, with the normalisation of photos in front.

BatchNorm is folded, activations lie channels last, and bf16 is used where it is faster and good enough. Each form is
compared with the network as it was before it is used. Knows nothing of files, labels or training.
"""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor, nn

from tl_app.data.preprocessing import Preprocessing
from tl_app.engine import openvino, speeds
from tl_app.engine.device import has_amx, has_bf16_units, precision_name, resolve_precision
from tl_app.engine.evaluate import forward_in_parts
from tl_app.engine.forms import (
    Source,
    Way,
    calls_of,
    can_be_whole,
    compiled,
    first_right,
    once,
    seconds,
    source_of,
    ways,
    whole,
)
from tl_app.engine.workers import Run, SharedOut, shared_out
from tl_app.errors import UsageError
from tl_app.memory import keep_memory

ENGINES = ("auto", "torch", "openvino")

_COMPILES = ("cuda",)  # devices that torch.compile is worth its time on
# A guess, until it was measured on a card: how long compiling and recording take, and what is left of a batch's time.
_COMPILE_SECONDS, _COMPILED_SHARE = 60.0, 0.75

# For fewer images OpenVINO's import and conversion (0.4 s more) take longer than what it saves in small networks.
ENOUGH_FOR_OPENVINO = 3000

# How far results may be from those of the network as it was, |difference| / |result| over a few photos. Folding and
# fusing change the order of float32 sums and what is multiplied first, which moves results by about 1e-6.
_LARGEST_ERROR = 1e-3
# Rounding to bf16 moves pooled features by 0.2 to 1.2 % in random networks of all families, and by 3 % in a
# pretrained MobileNetV2. Logistic regressions on those (six strengths and scalings) gave all 153 validation photos of
# ants and bees the class that float32 gave, and 497 to 500 of 500 cross-validated ones of 20 Caltech-101 classes, with
# -0.2 to +0.4 points of accuracy. Rounded plainly, 8 to 9 % off, it was 151 to 153 and 495 to 498, -0.7 to 0 points.
_LARGEST_ROUNDING_ERROR = 0.05
_WORTH_IT = 0.9  # rounded numbers must take less than this share of the others' time
# Of measuring both, while there is time and they are within a quarter of what decides.
_ROUNDS, _CLEARLY = 4, 1.25
# Photos that both see: of four, MobileNetV3-small's 1.4 is half lost in what a call costs anyway; ResNet-18, of which
# 32 would take half a second in each turn, shows its 2 with four.
_COMPARED, _ENOUGH_SECONDS = 32, 0.02
_BATCHES, _OF_CARDS = (8, 32, 64), (128, 256)  # in the order in which they are tried, while there is time
_OF_OPENVINO, _OF_WHOLE = 32, 8  # OpenVINO cuts them up by itself; to whole numbers it makes no difference
_PROBE_SECONDS, _BATCH_SECONDS = 1.2, 0.4


class Forward:
    """A stretch of a network in its fastest form for inference; its weights are a copy.

    May be called from several threads at once. The same photos in the same batch give the same bits.

    Attributes:
        device: Where it computes, and where its results are.
        precision: What it computes in.
        engine: ``torch``, whose results come in ``precision``, or ``openvino``, whose results are float32, as are those
            of whole numbers.
        note: Why it is not what was asked or hoped for; empty when it is.
    """

    def __init__(
        self,
        run: Run,
        device: torch.device,
        precision: torch.dtype,
        engine: str = "torch",
        *,
        note: str = "",
        key: str = "",
    ) -> None:
        self._run, self._key = run, key
        self.device, self.precision, self.engine, self.note = device, precision, engine, note

    def __call__(self, images: Tensor) -> Tensor:
        """Normalisation and forward pass; in halves, and halves of those, when memory does not suffice.

        Args:
            images: uint8 (B, 3, S, S), any strides, on the CPU; not written into.

        Returns:
            Activations (B, …) on ``device``; an inference tensor.

        Raises:
            ResourceError: Not even one photo fits into memory.
        """
        return forward_in_parts(self._run, images, self.device)

    def alone(self, images: Tensor) -> Tensor:
        """The same in the calling thread, for callers with a thread of one core for each batch."""
        run = self._run.alone if isinstance(self._run, SharedOut) else self._run
        return forward_in_parts(run, images, self.device)

    def pick_batch(self, sample: Tensor) -> tuple[int, float]:
        """The fastest batch; tried out for a second at most, and remembered for this machine and architecture.

        Args:
            sample: uint8 (B, 3, S, S); repeated where a batch needs more.

        Returns:
            Images per call, 8 to 64 (256 on a graphics card), and seconds per image.
        """
        what = f"batch {self._key} {self.engine} {precision_name(self.precision)} {tuple(sample.shape[1:])}"
        size, each = speeds.remembered(what, self.device, lambda: self._fastest_batch(sample))
        return int(size), float(each)

    def _fastest_batch(self, sample: Tensor) -> tuple[int, float]:
        only = _OF_OPENVINO if self.engine == "openvino" else _OF_WHOLE if self.precision == torch.int8 else 0
        if only:
            many = sample.repeat(-(-only // len(sample)), 1, 1, 1)[:only]
            # Whole numbers were timed before, to be chosen: they are warm.
            timed = once if self.precision == torch.int8 else seconds
            return only, timed(self, many) / only
        start, size, best = time.perf_counter(), 0, seconds(self, sample[:1])
        for tried in _BATCHES if self.device.type == "cpu" else _BATCHES + _OF_CARDS:
            if time.perf_counter() - start + calls_of(tried * best) * tried * best > _BATCH_SECONDS:
                continue
            each = seconds(self, sample.repeat(-(-tried // len(sample)), 1, 1, 1)[:tried]) / tried
            if not size or each < 0.98 * best:
                size, best = tried, each
        return size or min(_BATCHES), best


def compile_forward(
    module: nn.Module,
    preprocessing: Preprocessing,
    *,
    device: torch.device,
    precision: str = "auto",
    engine: str = "auto",
    sample: Tensor | None = None,
    images: int | None = None,
) -> Forward:
    """The fastest form of a network, or of its first stages, that gives the same results.

    Args:
        module: For instance the prefix from :func:`tl_app.backbones.staged.split`; it is copied, not changed.
        preprocessing: Its normalisation becomes part of the result.
        device: Where to compute.
        precision: ``fp32``, ``bf16``, ``int8`` where that is possible, or ``auto``: what is fastest on this device, and
            whose results on ``sample`` stay within 5 %.
        engine: ``torch``, ``openvino``, or ``auto``: OpenVINO where it is installed and has enough to do; 8-bit whole
            numbers, for which its own are not needed, are torch's.
        sample: A few typical photos, uint8 (B, 3, S, S), that forms are compared on; noise when left out.
        images: How many will be computed, as far as is known.

    Raises:
        UsageError: There is no such engine.
        ResourceError: bf16 was asked for on a device that cannot do it, or memory does not suffice.
    """
    if engine not in ENGINES:
        raise UsageError(f"engine is '{engine}'.", f"Allowed: {', '.join(ENGINES)}.")
    if precision not in ("auto", "int8"):
        resolve_precision(precision, device)
    keep_memory()
    source = source_of(module, preprocessing, device, sample)
    if precision in ("auto", "int8"):
        forward = _in_whole_numbers(source, asked=precision == "int8")
        if forward is not None:
            return forward
        precision = "auto"
    note = ""
    if engine == "openvino" or (engine == "auto" and _openvino_pays(device, images)):
        try:
            return _with_openvino(source, preprocessing, precision, many=_are_many(images))
        except Exception as error:  # conversion may fail in any way; torch takes every network
            note = f"OpenVINO is not used: {_reason(error)}."
    forward = _with_torch(source, precision)
    if device.type in _COMPILES and images:
        forward = _recorded(source, forward, images)
    forward.note = " ".join(filter(None, (note, forward.note)))
    return forward


def _in_whole_numbers(source: Source, *, asked: bool) -> Forward | None:
    """The network in 8 bits; None where it cannot be, or was not asked for and is not faster or not good enough."""
    if not can_be_whole(source):
        return None
    made: list[Run | None] = []

    def is_faster() -> bool:
        made.append(whole(source))
        return made[0] is not None and _beats_bf16(made[0], source)

    if not asked and not speeds.remembered(f"int8 is faster: {source.key}", source.device, is_faster):
        return None
    run = made[0] if made else whole(source)
    error = math.inf if run is None else source.error(run)
    if run is None or (error > _LARGEST_ROUNDING_ERROR and not asked):
        return None
    note = (
        "The frozen stages run in 8-bit whole numbers, the fastest on this processor; that moves their output by "
        f"{error:.1%}. Precision bf16 or fp32 is closer."
    )
    return Forward(run, source.device, torch.int8, note=note, key=source.key)


def _beats_bf16(run: Run, source: Source) -> bool:
    """Whether whole numbers are faster than bf16, which without AMX takes half of float32's time at least."""
    if not has_amx():
        return _is_faster(run, source.as_it_was(), source.photos, _WORTH_IT / 2)
    found = first_right(source, ways(source), torch.bfloat16, math.inf)
    return found is None or _is_faster(run, found[0], source.photos)


def _openvino_pays(device: torch.device, images: int | None) -> bool:
    enough = images is None or _are_many(images)
    return enough and device.type == "cpu" and openvino.is_installed()


def _are_many(images: int | None) -> bool:
    return images is not None and images >= ENOUGH_FOR_OPENVINO


def _with_openvino(source: Source, preprocessing: Preprocessing, precision: str, *, many: bool) -> Forward:
    if source.device.type != "cpu":
        raise ValueError(f"it is for CPUs, not for {source.device}")
    if not openvino.is_installed():
        raise ImportError("the tl-app[openvino] extra is not installed")
    if precision == "auto":
        dtype = torch.bfloat16 if has_bf16_units(source.device) else torch.float32
    else:
        dtype = resolve_precision(precision, source.device)
    form = source.rounded(source.folded) if dtype == torch.bfloat16 else source.folded
    size = source.photos.shape[-1]
    alone = openvino.OpenVinoNetwork(form, preprocessing, size, dtype, many=many)
    network = shared_out(alone, lone_on_all_cores=False)
    error = source.error(network)
    if error > (_LARGEST_ERROR if dtype == torch.float32 else _LARGEST_ROUNDING_ERROR):
        raise ValueError(f"its results are off by {error:.1%}")
    return Forward(network, source.device, dtype, "openvino", key=source.key)


def _with_torch(source: Source, precision: str) -> Forward:
    candidates = ways(source)
    found = first_right(source, candidates, torch.float32, _LARGEST_ERROR)
    exact, candidates = found or (candidates[-1](torch.float32), candidates[-1:])
    if precision == "auto":
        return _faster(source, candidates[0], exact)
    if resolve_precision(precision, source.device) == torch.float32:
        return Forward(exact, source.device, torch.float32, key=source.key)
    found = first_right(source, candidates, torch.bfloat16, math.inf)
    short = found[0] if found else candidates[-1](torch.bfloat16)
    return Forward(short, source.device, torch.bfloat16, key=source.key)


def _recorded(source: Source, forward: Forward, images: int) -> Forward:
    """What ``torch.compile`` makes of it, where there is so much to compute that the compiling pays."""
    batch, each = forward.pick_batch(source.photos)
    if images * each * (1 - _COMPILED_SHARE) < _COMPILE_SECONDS:
        return forward
    try:
        run = compiled(source, forward.precision, batch)
        limit = _LARGEST_ERROR if forward.precision == torch.float32 else _LARGEST_ROUNDING_ERROR
        many = source.photos.repeat(-(-batch // len(source.photos)), 1, 1, 1)[:batch]
        if source.error(run) <= limit and _is_faster(run, forward, many):
            return Forward(run, source.device, forward.precision, note=forward.note, key=source.key)
    except Exception as error:  # compiling may fail in any way, and what there is works
        forward.note = f"The network is not compiled: {_reason(error)}."
    return forward


def _faster(source: Source, way: Way, exact: Run) -> Forward:
    """bf16 where it is good enough, and on a CPU also faster; float32 otherwise."""
    in_float32 = Forward(exact, source.device, torch.float32, key=source.key)
    if not has_bf16_units(source.device):
        return in_float32
    found = first_right(source, [way], torch.bfloat16, _LARGEST_ROUNDING_ERROR)
    if found is None:
        in_float32.note = (
            f"Computed in float32: bf16 is not within {_LARGEST_ROUNDING_ERROR:.0%} for this network."
        )
        return in_float32
    short, question = found[0], f"bf16 is faster: {source.key}"
    # Cards with bf16 units are faster with it, always.
    if source.device.type == "cpu" and not speeds.remembered(
        question, source.device, lambda: _is_faster(short, exact, _enough_of(short, source.photos))
    ):
        return in_float32
    return Forward(short, source.device, torch.bfloat16, key=source.key)


def _enough_of(short: Run, photos: Tensor) -> Tensor:
    """As many photos as a call is compared on."""
    once(short, photos)
    quick = once(short, photos) < _ENOUGH_SECONDS
    return photos.repeat(-(-_COMPARED // len(photos)), 1, 1, 1) if quick else photos


def _is_faster(short: Run, exact: Run, photos: Tensor, worth_it: float = _WORTH_IT) -> bool:
    """Takes turns, so that other work on this machine slows both down; the first one warms ``short`` up.

    Args:
        short: What is faster if it takes less than ``worth_it`` of the time.
        exact: What it is compared with; it was called before.
        photos: That both are given.
        worth_it: As a share.
    """
    start, both = time.perf_counter(), list[tuple[float, float]]()
    for turn in range(_ROUNDS):
        if turn > 1 and time.perf_counter() - start > _PROBE_SECONDS:
            break
        both.append((once(short, photos), once(exact, photos)))
        share = min(each for each, _ in both) / min(each for _, each in both)
        if share < worth_it / _CLEARLY or (turn and share > worth_it * _CLEARLY):
            break
    return share < worth_it


def _reason(error: Exception) -> str:
    """The line that says it; OpenVINO puts places in its source code in front."""
    lines = [line for line in str(error).splitlines() if line.strip() and "Exception from" not in line]
    return lines[0].strip().rstrip(".") if lines else type(error).__name__
