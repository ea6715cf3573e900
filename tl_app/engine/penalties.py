"""What is added to an objective so that the network stays close to its source, or keeps few weak features.

Whatever the objective computes, the stages' activations are taken from it on the way: nothing is computed twice.
Knows nothing of settings, epochs or files.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tl_app.backbones.staged import StagedNetwork
from tl_app.engine.blocks import activations
from tl_app.engine.device import autocast
from tl_app.engine.step import Objective, forward_only
from tl_app.transfer import regularisers


@dataclass(frozen=True)
class Strengths:
    """The λ of each penalty; 0 for none.

    Attributes:
        l2_sp: Of the weights' distance to the source's.
        feature_distance: Of the activations' distance to the source's.
        bss: Of the smallest singular values of a batch's features.
    """

    l2_sp: float = 0.0
    feature_distance: float = 0.0
    bss: float = 0.0


class Penalised:
    """An objective with penalties on top; itself an objective.

    Args:
        objective: Computes all stages from the boundary on.
        network: That is trained.
        depth: Its freezing depth; at least one stage is trained.
        strengths: Of the penalties.
        precision: Of the source network's forward pass.
        source: The same network with its source weights, frozen and in eval mode; None where no penalty asks for it.
    """

    def __init__(
        self,
        objective: Objective,
        network: StagedNetwork,
        depth: int,
        strengths: Strengths,
        *,
        precision: torch.dtype,
        source: StagedNetwork | None = None,
    ) -> None:
        self._objective, self._network, self._strengths = objective, network, strengths
        self._precision = precision
        self._stages = _stages(network, depth)
        self._source = _stages(source, depth) if source is not None else []
        self._parameters, self._known = _parameters(self._stages), _parameters(self._source)
        self._seen: list[Tensor] | None = None  # features of each part, while a batch is looked at
        self._weak: Tensor | None = None  # (B, D), of a batch that was looked at; None: it comes as a whole
        self._done = 0  # photos of that batch computed by now

    def __call__(self, rows: Tensor, boundary: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """See :data:`tl_app.engine.step.Objective`; penalties of the batch count once for each of its photos."""
        with _recorded(self._stages) as found:
            total, logits = self._objective(rows, boundary, labels)
        if self._seen is not None:
            self._seen.append(_vectors(found[-1]))
            return total, logits
        wanted = self._strengths
        if wanted.l2_sp:
            total = total + wanted.l2_sp * len(boundary) * regularisers.l2_sp(self._parameters, self._known)
        if wanted.feature_distance:
            with torch.no_grad(), autocast(boundary.device, self._precision):
                known = activations(self._source, boundary)
            total = total + wanted.feature_distance * regularisers.feature_distance(found, known).sum()
        if wanted.bss:
            total = total + wanted.bss * self._shrinkage(_vectors(found[-1]))
        return total, logits

    def look(
        self, to_boundary: Callable[[Tensor], Tensor], rows: Tensor, labels: Tensor, *, parts: int
    ) -> None:
        """Before a batch is computed in parts: finds what depends on all of its photos at once.

        The objective draws from the generator as it will for the batch itself, so the caller seeds it before both.
        """
        self._weak, self._done = None, 0
        if not self._strengths.bss or parts == 1:
            return
        kept = [buffer.clone() for buffer in self._network.buffers()]
        self._seen = []
        try:
            forward_only(to_boundary, self, rows, labels, parts=parts)
            self._weak = regularisers.weakest(torch.cat(self._seen))
        finally:
            self._seen = None
            for buffer, value in zip(self._network.buffers(), kept, strict=True):
                buffer.copy_(value)  # BatchNorm is to see the batch once

    def _shrinkage(self, features: Tensor) -> Tensor:
        """Of these photos, counted once for each photo of the batch: the sum over parts is divided by those."""
        weak = self._weak if self._weak is not None else regularisers.weakest(features)
        first, self._done = self._done, (self._done + len(features)) % len(weak)
        return len(weak) * regularisers.shrinkage(features, weak[first : first + len(features)])


def _stages(network: StagedNetwork, depth: int) -> list[nn.Module]:
    return [stage.module for stage in network.stages[depth:]]


def _parameters(stages: Sequence[nn.Module]) -> list[Tensor]:
    return [parameter for stage in stages for parameter in stage.parameters()]


def _vectors(features: Tensor) -> Tensor:
    """What the head sees of each photo, float32 (B, D); of a map its mean."""
    return (features.mean((2, 3)) if features.ndim == 4 else features.flatten(1)).float()


@contextmanager
def _recorded(stages: Sequence[nn.Module]) -> Generator[list[Tensor], None, None]:
    """Collects what each stage gives while the block lasts, in order, whoever runs the stages."""
    found: list[Tensor] = []
    handles = [
        _last(stage).register_forward_hook(lambda module, inputs, output: found.append(output))
        for stage in stages
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _last(module: nn.Module) -> nn.Module:
    """The layer that gives a stage's activations, which is called as well by those who run the stage in blocks."""
    parts = list(module.children()) if type(module).forward is nn.Sequential.forward else []
    return _last(parts[-1]) if parts else module
