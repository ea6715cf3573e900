"""Freezing: the first ``k`` stages of a network get no gradient and stay in eval mode.

Knows nothing of recipes, optimisers or data.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tl_app.backbones.staged import StagedNetwork, check_depth

# Of each batch's statistics in the running ones, at least: torch's own default. Some networks have a tenth of it or
# less, which suits ImageNet's hundreds of thousands of steps; in the hundreds of a small folder the values that they
# begin with are never forgotten: MobileNetV3-small from scratch gave one answer for all photos of ants and bees, 54 %
# right after 20 epochs of what came to 71 % this way.
_LEAST_MOMENTUM = 0.1


def set_depth(network: StagedNetwork, k: int) -> None:
    """Freeze the first ``k`` stages and unfreeze everything behind them.

    Frozen stages get no gradient, and eval mode: their BatchNorm statistics stay and their dropout is off.
    The mode of the others is left as it is; :func:`train_mode` sets it.

    Args:
        network: The network.
        k: Freezing depth, 0 (all is trained) to the number of stages (only the head is).

    Raises:
        UsageError: ``k`` is outside that range.
    """
    check_depth(network, k)
    network.requires_grad_(True)
    for stage in network.stages[:k]:
        stage.module.requires_grad_(False)
        stage.module.eval()


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for as long as the block lasts; then each layer has the mode again that it had."""
    trained = [layer for layer in module.modules() if layer.training]
    module.eval()
    try:
        yield
    finally:
        for layer in trained:
            layer.training = True


def train_mode(network: StagedNetwork, k: int, *, keep_statistics: bool = False) -> None:
    """Training mode for what is trained, eval mode for the first ``k`` stages.

    ``network.train()`` alone would let the BatchNorm statistics of frozen stages drift.

    Args:
        network: The network.
        k: Freezing depth.
        keep_statistics: Whether BatchNorm layers of unfrozen stages normalise with their stored statistics too, so
            that only their scale and shift are trained. Averages over a dozen photos are a poor replacement for those
            over ImageNet: full fine-tuning of mobilenet_v2 on ants and bees reached 92.2 % without, 94.1 % with.
            Otherwise each batch changes the stored ones by at least a tenth.

    Raises:
        UsageError: ``k`` is outside 0 to the number of stages.
    """
    check_depth(network, k)
    network.train()
    for stage in network.stages[:k]:
        stage.module.eval()
    for module in network.modules():
        if isinstance(module, _BatchNorm) and module.training:
            if keep_statistics:
                module.eval()
            elif module.momentum is not None:  # else they are a plain average over all batches
                module.momentum = max(module.momentum, _LEAST_MOMENTUM)
