"""The forms that a network can be computed in, with the normalisation of photos in front, and how each is checked.

Knows nothing of which one is wanted: `inference` chooses.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from tl_app.backbones.staged import StagedNetwork, split
from tl_app.data.preprocessing import Preprocessing
from tl_app.data.typical import bold_photos
from tl_app.engine.device import has_int8_units, move
from tl_app.engine.eightbit import in_eight_bits, suits
from tl_app.engine.evaluate import forward_in_parts
from tl_app.engine.fusing import folded, use_onednn
from tl_app.engine.rounding import round_weights
from tl_app.engine.surgery import copied
from tl_app.engine.workers import Run, shared_out

Way = Callable[[torch.dtype], Run]

_CHECKED = 4  # photos that results and speeds are compared on
_LONG_SECONDS = 0.03  # a call whose warming up is a small part of it
_MANY_PARAMETERS = 30e6  # one photo takes about a tenth of a second on one core


@dataclass(frozen=True)
class Source:
    """A network as it was, and what its faster forms are measured by.

    Attributes:
        plain: A copy in eval mode, float32, channels last, on the device.
        folded: The same with BatchNorm folded; ``plain`` itself where it cannot be traced.
        preprocessing: From photo to input.
        device: Where to compute.
        photos: uint8 (B, 3, S, S).
        expected: float32 (B, …), what ``plain`` makes of them.
        key: Of the architecture and the image size.
    """

    plain: nn.Module
    folded: nn.Module
    preprocessing: Preprocessing
    device: torch.device
    photos: Tensor
    expected: Tensor
    key: str

    @property
    def normalise(self) -> Callable[[Tensor, torch.dtype], Tensor]:
        """From uint8 photos to the network's input; holds none of the networks."""
        preprocessing, device = self.preprocessing, self.device
        return lambda images, dtype: preprocessing.normalise(images.to(device, non_blocking=True), dtype)

    def as_it_was(self) -> Run:
        """The network, computed as it is."""
        plain, normalise = self.plain, self.normalise
        return _on_cores(lambda images: plain(normalise(images, torch.float32)), plain, self.device)

    def error(self, run: Run) -> float:
        """Distance of the results from the expected ones, relative to their size; infinite for no numbers."""
        difference = (forward_in_parts(run, self.photos, self.device).float() - self.expected).norm()
        error = (difference / self.expected.norm().clamp_min(1e-30)).item()
        return error if math.isfinite(error) else math.inf

    def rounded(self, base: nn.Module) -> nn.Module:
        """A copy of one of the two networks with weights that bf16 can hold."""
        own = copy.deepcopy(base)
        # Noise instead of photos: the weights, and what is cached of them, then depend on the network alone. One
        # photo, so that one thread sees it.
        noise = self.normalise(_noise(self.photos.shape[-1])[:1], torch.float32)
        round_weights(own, lambda: _on_cores(own, self.plain, self.device)(noise))
        return own


def source_of(
    module: nn.Module, preprocessing: Preprocessing, device: torch.device, sample: Tensor | None
) -> Source:
    """Copies a network and sees what it gives; arguments as for :func:`tl_app.engine.inference.compile_forward`.

    Raises:
        ResourceError: It does not fit into the device's memory.
    """
    # The stages of a StagedNetwork are no registered children, so only the row of them can be traced.
    row = split(module, 0)[1] if isinstance(module, StagedNetwork) else module
    plain = copy.deepcopy(row).eval().requires_grad_(False).float()
    move(plain, device)
    photos = _noise(preprocessing.crop) if sample is None else sample[:_CHECKED]
    key = f"{hashlib.sha256(repr(plain).encode()).hexdigest()[:16]} {tuple(photos.shape[1:])}"
    source = Source(plain, folded(plain), preprocessing, device, photos, torch.empty(0), key)
    return dataclasses.replace(source, expected=forward_in_parts(source.as_it_was(), photos, device))


def ways(source: Source) -> list[Way]:
    """How the network can be built in a precision, fastest first; the last one changes nothing but that."""
    onednn = source.device.type == "cpu" and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    bases: list[tuple[nn.Module, bool]] = [(source.folded, False), (source.plain, False)]
    if onednn and isinstance(source.folded, GraphModule):
        bases.insert(0, (source.folded, True))

    def build(base: nn.Module, fuse: bool, dtype: torch.dtype) -> Run:
        form = _converted(source, base, dtype)
        if fuse and isinstance(form, GraphModule):
            form = use_onednn(form, dtype)
        form.to(dtype)
        normalise = source.normalise  # not all of `source`, whose networks are soon needed no longer

        def run(images: Tensor) -> Tensor:
            result: Tensor = form(normalise(images, dtype))
            return result

        on_cores = _on_cores(run, source.plain, source.device)
        once(on_cores, source.photos[:1])  # the first call packs oneDNN's weights, and must not meet another
        return on_cores

    return [functools.partial(build, *base) for base in bases]


def can_be_whole(source: Source) -> bool:
    """Whether the network may be computed in 8-bit whole numbers, and whether that could be faster."""
    return has_int8_units(source.device) and suits(source.folded)


def whole(source: Source) -> Run | None:
    """The network in 8-bit whole numbers; None where torch, or this network, cannot be."""
    assert isinstance(source.folded, GraphModule)
    try:
        photos = bold_photos(source.preprocessing)
        form = in_eight_bits(copied(source.folded), source.preprocessing, photos)
        on_cores = _on_cores(form, source.plain, source.device)
        once(on_cores, source.photos[:1])
        return on_cores
    except (RuntimeError, AttributeError, TypeError, OSError):
        return None


def compiled(source: Source, dtype: torch.dtype, batch: int) -> Run:
    """The network as ``torch.compile`` has it, recorded as CUDA graphs: they replay a batch of one size in one go.

    Args:
        source: The network.
        dtype: What to compute in.
        batch: That size; smaller ones are filled up, larger ones cut.

    Raises:
        Exception: Of any kind, here or in the first call: it takes a compiler, and support for every operation.
    """
    form = _converted(source, source.folded, dtype)
    graphs, normalise = _recorded(form.to(dtype)), source.normalise

    def run(images: Tensor) -> Tensor:
        parts = []
        for part in torch.split(normalise(images, dtype), batch):
            full = (
                part
                if len(part) == batch
                else torch.cat([part, part.new_zeros(batch - len(part), *part.shape[1:])])
            )
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
            # The next batch is written over the result of this one.
            parts.append(graphs(full.contiguous(memory_format=torch.channels_last))[: len(part)].clone())
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    return run


def _recorded(form: nn.Module) -> Callable[[Tensor], Tensor]:
    made: Callable[[Tensor], Tensor] = torch.compile(form, mode="reduce-overhead", dynamic=False)
    return made


def _converted(source: Source, base: nn.Module, dtype: torch.dtype) -> nn.Module:
    return source.rounded(base) if dtype == torch.bfloat16 else copy.deepcopy(base)


def first_right(
    source: Source, candidates: list[Way], dtype: torch.dtype, limit: float
) -> tuple[Run, list[Way]] | None:
    """What the first way builds that works and whose error is within the limit, and the ways from there on."""
    for number, way in enumerate(candidates):
        try:
            run = way(dtype)
            if source.error(run) <= limit:
                return run, candidates[number:]
        # The calls of oneDNN are torch's own and may change, and not all that works in float32 does in bf16.
        except (RuntimeError, AttributeError, TypeError):
            continue
    return None


def _on_cores(run: Run, network: nn.Module, device: torch.device) -> Run:
    """Shares batches out among threads, where ``network`` is computed on the CPU."""
    if device.type != "cpu":
        return run
    large = sum(parameter.numel() for parameter in network.parameters()) > _MANY_PARAMETERS
    return shared_out(run, lone_on_all_cores=large)


def seconds(run: Run, images: Tensor) -> float:
    """The quicker of two calls after one that warms up; of long calls, where that is a small part, of the first two."""
    first, second = once(run, images), once(run, images)
    return min(first, second) if calls_of(second) == 2 else min(second, once(run, images))


def calls_of(call_seconds: float) -> int:
    """How many calls :func:`seconds` makes of such a length."""
    return 2 if call_seconds > _LONG_SECONDS else 3


def once(run: Run, images: Tensor) -> float:
    """How long one call takes, in seconds."""
    start = time.perf_counter()
    with torch.inference_mode():
        device = run(images).device
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter() - start


def _noise(size: int) -> Tensor:
    """Blurred noise, the same every time: uint8 (B, 3, size, size)."""
    random = torch.rand(_CHECKED, 3, 14, 14, generator=torch.Generator().manual_seed(0))
    return nn.functional.interpolate(random, size, mode="bilinear").mul(255).to(torch.uint8)
