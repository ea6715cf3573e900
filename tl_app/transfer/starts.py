"""How a target model starts from a source model: a copy, a weighted average with random weights, or from scratch.

Knows nothing of where source weights come from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from tl_app.backbones.staged import StagedNetwork

T = TypeVar("T")


def averaged(network: StagedNetwork, share: float, load: Callable[[StagedNetwork], T]) -> T:
    """Loads source weights and averages every layer with the weights that the network has: α·source + (1 − α)·own.

    BatchNorm's statistics are averaged too; counters are the source's.

    Args:
        network: With its random start.
        share: α, 0 to 1; at 1 the start is a copy of the source.
        load: Puts the source weights into the network.

    Returns:
        What ``load`` returned.
    """
    before = {name: value.clone() for name, value in network.net.state_dict().items()} if share < 1 else {}
    result = load(network)
    with torch.no_grad():
        for name, value in network.net.state_dict().items():
            if share < 1 and value.is_floating_point():
                value.lerp_(before[name], 1 - share)
    return result
