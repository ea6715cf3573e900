"""A network that gives its pooled features beside its logits, in one pass. Knows nothing of what either is for."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tl_app.backbones.staged import StagedNetwork, split
from tl_app.transfer.heads import feature_shape


class Tapped(nn.Module):
    """Features in front of the head, then logits, in one row.

    Args:
        network: A view of it is kept, nothing is copied.

    Attributes:
        features: Length D of a feature vector; a map is averaged over its places.
    """

    def __init__(self, network: StagedNetwork) -> None:
        super().__init__()
        shape = feature_shape(network.name, network.ending, network.image_size)
        self.stages, rest = split(network, len(network.stages))
        self.head = rest[0]
        self.features, self._places = shape[0], tuple(range(2, 1 + len(shape)))
        self.train(network.training)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised photos (B, 3, S, S) to (B, D + classes)."""
        boundary = self.stages(x)
        features = boundary.mean(self._places) if self._places else boundary
        return torch.cat([features, self.head(boundary)], 1)
