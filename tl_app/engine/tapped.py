"""A network that gives its pooled features beside its logits, in one pass. Knows nothing of what either is for."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tl_app.backbones.staged import StagedNetwork, ends_in_map, split


class Tapped(nn.Module):
    """Features in front of the head, then logits, in one row.

    A map of features is averaged over its places.

    Args:
        network: A view of it is kept, nothing is copied.
        depth: How many of its first stages were run already.
    """

    def __init__(self, network: StagedNetwork, depth: int = 0) -> None:
        super().__init__()
        stages, rest = split(network, len(network.stages))
        self.stages, self.head = stages[depth:], rest[0]
        self._of_map = ends_in_map(network)
        self.train(network.training)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised photos (B, 3, S, S), or what the first stages gave, to (B, D + classes)."""
        boundary = self.stages(x)
        features = boundary.mean((2, 3)) if self._of_map else boundary
        return torch.cat([features, self.head(boundary)], 1)
