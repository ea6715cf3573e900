"""The frozen stages of a phase in their fastest form, and what their activations depend on.

Knows nothing of epochs, or of whether activations are kept.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
import torchvision
from torch import Tensor, nn

from tl_app.backbones.staged import StagedNetwork, split
from tl_app.engine import openvino, speeds
from tl_app.engine.boundary import key_of, weights_hash
from tl_app.engine.device import precision_name
from tl_app.engine.inference import Forward, compile_forward
from tl_app.engine.inputs import Photos, Sampling
from tl_app.engine.views import Item, load_view, loaded_views

_FORMAT = 1  # moves when views or activations are made in another way
_FORMS = 2  # moves when there are other forms to choose from
_SAMPLE = 8  # photos to measure on

# Photos from which on OpenVINO is used where it is installed. Counted without views and epochs, so that the instant
# probe, a run and a longer run use one engine and each other's rows. Its import and conversion (0.4 s) are about what
# it saves in 3,000 views of a small network, and small folders are looked at in some twenty views of each photo.
_ENOUGH_FOR_OPENVINO = 200

_GONE = (
    "OpenVINO, which this run began with, is not installed any more: PyTorch computes its frozen stages from here on, "
    "the same but for rounding."
)
_NO_INT8 = (
    "The 8-bit whole numbers that this run began with cannot be computed here: its frozen stages are computed in "
    "another precision from here on, the same but for rounding."
)


@dataclass(frozen=True)
class Form:
    """The fastest form of some frozen stages on this machine, and what it was seen to cost.

    Attributes:
        precision: ``fp32``, ``bf16`` or ``int8``.
        engine: ``torch`` or ``openvino``.
        batch: Photos per forward pass.
        photo_seconds: Of the forward pass alone.
        row_bytes: Of one photo's activations, as stored.
        note: What a person should know of it; mostly empty.
    """

    precision: str
    engine: str
    batch: int
    photo_seconds: float
    row_bytes: int
    note: str


@dataclass(frozen=True)
class Frozen:
    """The frozen stages of a phase, with what they are run on; compiled only when something is to be computed.

    Attributes:
        network: The whole network.
        depth: How many of its stages are frozen.
        photos: What they are run on.
        sampling: How photos are varied.
        device: Where they run.
        precision: As asked for.
        stop: Asked often.
        chosen: The form that a resumed run has used before.
    """

    network: StagedNetwork
    depth: int
    photos: Photos
    sampling: Sampling
    device: torch.device
    precision: str
    stop: Callable[[], bool]
    chosen: Form | None = None

    @functools.cached_property
    def weights(self) -> str:
        """Hash of the frozen stages' weights."""
        return weights_hash(split(self.network, self.depth)[0])

    @property
    def cut(self) -> int | str:
        """Where the network is cut: the depth, and how the last stage ends where that is not torchvision's way."""
        whole = self.depth == len(self.network.stages) and self.network.ending != "own"
        return f"{self.depth} {self.network.ending}" if whole else self.depth

    @functools.cached_property
    def form(self) -> Form:
        """Measured the first time that these stages are used on this machine, and remembered."""
        if self.chosen is not None:
            gone = self.chosen.engine == "openvino" and not openvino.is_installed()
            return dataclasses.replace(self.chosen, engine="torch", note=_GONE) if gone else self.chosen
        preprocessing = self.photos.store.preprocessing.to_dict()
        what = (
            f"form {_FORMS} {self.weights} {self.network.name} {self.cut} {self.precision} "
            f"{_versioned(self._wished_engine)} {preprocessing}"
        )
        return Form(**speeds.remembered(what, self.device, lambda: dataclasses.asdict(self._measured())))

    @property
    def _wished_engine(self) -> str:
        enough = len(self.photos.train) + len(self.photos.val) >= _ENOUGH_FOR_OPENVINO
        return "openvino" if enough and self.device.type == "cpu" and openvino.is_installed() else "torch"

    @functools.cached_property
    def forward(self) -> Forward:
        """The compiled stages; where a stored form cannot be had any more, :attr:`form` becomes what there is."""
        forward = self._compiled(self.form.precision, self.form.engine)
        engine, precision = forward.engine, precision_name(forward.precision)
        if (engine, precision) != (self.form.engine, self.form.precision):
            note = forward.note or _NO_INT8
            self.__dict__["form"] = dataclasses.replace(
                self.form, engine=engine, precision=precision, note=note
            )
        return forward

    def _measured(self) -> Form:
        forward = self._compiled(self.precision, self._wished_engine)
        self.__dict__["forward"] = forward  # not compiled a second time
        sample = self._sample()
        batch, seconds = forward.pick_batch(sample)
        row_bytes = self.rows(sample[:1]).nbytes
        precision = precision_name(forward.precision)
        return Form(precision, forward.engine, batch, seconds, row_bytes, forward.note)

    def _compiled(self, precision: str, engine: str) -> Forward:
        prefix, _ = split(self.network, self.depth)
        return compile_forward(
            prefix,
            self.photos.store.preprocessing,
            device=self.device,
            precision=precision,
            engine=engine,
            sample=self._sample(),
            images=len(self.photos.train) * len(self.sampling.views) + len(self.photos.val),
        )

    def _sample(self) -> Tensor:
        loaded = [self.load(item, 0) for item in self.photos.train[:_SAMPLE]]
        return torch.stack(loaded)

    def load(self, item: Item, view: int) -> Tensor:
        """One view of a photo: uint8 (3, S, S)."""
        sampling = self.sampling
        return load_view(
            self.photos.store, item, view=view, augmentation=sampling.augmentation, seed=sampling.seed
        )

    def views(
        self, order: Iterable[list[tuple[int, Item]]]
    ) -> Iterator[tuple[list[tuple[int, Item]], Tensor]]:
        """Batches of views, by number and photo; as :func:`tl_app.engine.views.loaded_views` gives them."""
        sampling = self.sampling
        return loaded_views(
            order,
            lambda each: (each[1], each[0]),
            store=self.photos.store,
            augmentation=sampling.augmentation,
            seed=sampling.seed,
            device=self.device,
        )

    def key(self, view: int) -> str:
        """Names the activations of one view, whichever photos they are of, by everything else that they depend on."""
        sampling = self.sampling
        plain = view == 0 or sampling.augmentation.level == "none"
        return key_of(
            {
                "format": _FORMAT,
                "backbone": self.network.name,
                "stages": self.cut,
                "weights": self.weights,
                "preprocessing": self.photos.store.preprocessing.to_dict(),
                "view": None if plain else [sampling.augmentation.text, sampling.seed, view],
                "precision": self.form.precision,
                "engine": _versioned(self.form.engine),
                "device": self.device.type,
                "versions": [torch.__version__, torchvision.__version__],
            }
        )

    def rows(self, images: Tensor, *, alone: bool = False) -> Tensor:
        """A batch of activations as kept, on the CPU: vectors, which are small, as they are; maps in 16 bits.

        Args:
            images: uint8 (B, 3, S, S).
            alone: Whether to compute on the calling thread's core alone.
        """
        found = (self.forward.alone(images) if alone else self.forward(images)).cpu()
        if found.ndim > 2 and found.dtype == torch.float32:  # half precision keeps three more bits than bf16
            largest = torch.finfo(torch.float16).max
            found = found.clamp(-largest, largest).half()
        return found.clone(memory_format=torch.contiguous_format)

    @property
    def flops(self) -> float:
        """Operations for one photo, counted on shapes alone."""
        size = self.photos.store.preprocessing.crop

        def count() -> float:
            from torch.utils.flop_counter import FlopCounterMode  # imports triton, and is asked once

            prefix = _weightless(split(self.network, self.depth)[0]).eval()
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                prefix(torch.zeros(1, 3, size, size, device="meta"))
            return float(counter.get_total_flops())

        what = f"operations {self.network.name} {self.cut} {size}"
        return float(speeds.remembered(what, torch.device("cpu"), count))


def _weightless(module: nn.Module) -> nn.Module:
    """A copy with shapes instead of weights."""
    shapes: dict[int, Tensor] = {
        id(each): nn.Parameter(torch.empty_like(each, device="meta"), requires_grad=False)
        for each in module.parameters()
    }
    shapes |= {id(each): torch.empty_like(each, device="meta") for each in module.buffers()}
    return copy.deepcopy(module, shapes)


def _versioned(engine: str) -> str:
    """An engine with its version where PyTorch's does not tell it."""
    return f"openvino {openvino.version()}" if engine == "openvino" else engine
