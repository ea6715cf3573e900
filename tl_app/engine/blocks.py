"""A network as a row of blocks, the parts that distillation compares, and windows of their activations.

Finer than stages: a stage of several residual blocks is several blocks. Knows nothing of losses or teachers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tl_app.backbones.staged import StagedNetwork

_SIDE = 20  # of a window of a block's output, in places
_EDGE = 2  # places at a window's edge that are not compared: they saw the padding
_SAME = 1e-3  # largest difference, in deviations, of a window that is computed alone


def blocks_of(network: StagedNetwork) -> list[nn.Module]:
    """The blocks in order; run one after the other they give the features."""
    return [block for stage in network.stages for block in _cut(stage.module)]


def _cut(module: nn.Module) -> list[nn.Module]:
    """A plain sequence of composite modules in its parts; single layers stay together."""
    children = list(module.children())
    learnt = [child for child in children if any(True for _ in child.parameters())]
    if type(module) is not nn.Sequential or not learnt or not all(any(c.children()) for c in learnt):
        return [module]
    return [part for child in children for part in (_cut(child) if child in learnt else [child])]


def compared(blocks: Sequence[nn.Module]) -> list[int]:
    """The numbers of the blocks whose activations are compared: those that learn, and the last."""
    last = len(blocks) - 1
    return [n for n, block in enumerate(blocks) if n == last or any(True for _ in block.parameters())]


def activations(blocks: Sequence[nn.Module], inputs: Tensor) -> list[Tensor]:
    """What each block gives, in order."""
    found = []
    for block in blocks:
        inputs = block(inputs)
        found.append(inputs)
    return found


class Window(NamedTuple):
    """A square of a block's output, and the square of its input that it is computed from; in places."""

    top: int
    left: int
    stride: int

    def of_input(self, given: Tensor) -> Tensor:
        """The part of (B, C, H, W) that the block is run on."""
        top, left, side = (self.stride * each for each in (self.top, self.left, _SIDE))
        return given[:, :, top : top + side, left : left + side]

    def of_output(self, found: Tensor) -> Tensor:
        """The part of the block's whole output that is compared."""
        rows, columns = (slice(each + _EDGE, each + _SIDE - _EDGE) for each in (self.top, self.left))
        return found[:, :, rows, columns]

    def inside(self, found: Tensor) -> Tensor:
        """The same part of what the block gives for :meth:`of_input`."""
        return found[:, :, _EDGE:-_EDGE, _EDGE:-_EDGE]


def stride_of(block: nn.Module, given: Tensor, found: Tensor) -> int | None:
    """How many places of its input a place of a block's output stands for; None: it cannot be computed in windows.

    That is so where activations are no larger than a window, or depend on the whole map (squeeze-and-excitation,
    attention). It is found out by trying: a block in evaluation mode computes a window alone.
    """
    if given.ndim != 4 or found.ndim != 4 or min(found.shape[2:]) < _SIDE + 2:
        return None
    stride = given.shape[2] // found.shape[2]
    if [stride * side for side in found.shape[2:]] != list(given.shape[2:]):
        return None
    window = Window(1, 1, stride)
    difference = (window.inside(block(window.of_input(given))) - window.of_output(found)).abs().max()
    return stride if difference < _SAME * found.std() else None


def random_window(found: Tensor, stride: int) -> Window:
    """A window anywhere in a block's output (B, C, H, W), from torch's generator."""
    top, left = (int(torch.randint(side - _SIDE + 1, ())) for side in found.shape[2:])
    return Window(top, left, stride)
