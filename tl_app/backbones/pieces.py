"""Steps that torchvision writes as plain calls inside ``forward``, as tiny modules that a stage can hold.

Each one does the same operations in the same order as torchvision, so that results are equal to the last bit. One,
dropout, is here for its speed, and draws other numbers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class SpatialMean(nn.Module):
    """Global average over height and width, as MNASNet and ShuffleNetV2 write it."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C)."""
        return x.mean([2, 3])


class Dropout(nn.Dropout):
    """As its base, but on a CPU what to leave out is drawn four times sooner.

    Torch draws 64 random bits for each number, most of what a step of a small head on kept features takes. Here it is
    16, four numbers at a time, so the share that is left out is a whole 65,536th; what stays is scaled by that share.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B, …) -> (B, …), with ``p`` of its numbers 0 while training."""
        if not self.training:
            return input
        left_out = round(self.p * 65_536)
        if input.device.type != "cpu" or not 0 < left_out < 65_536:
            return super().forward(input)
        words = torch.empty((input.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        bits = words.view(torch.int16)[: input.numel()].view(input.shape)
        stays = bits >= left_out - 32_768
        return input * stays.to(input.dtype) * (65_536 / (65_536 - left_out))


class SymmetricInput(nn.Module):
    """From ImageNet's mean and spread to values around 0, which GoogLeNet and Inception v3 were trained on.

    Source: ``_transform_input`` of ``torchvision.models.googlenet`` and ``inception``.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 3, H, W)."""
        red = torch.unsqueeze(x[:, 0], 1) * (0.229 / 0.5) + (0.485 - 0.5) / 0.5
        green = torch.unsqueeze(x[:, 1], 1) * (0.224 / 0.5) + (0.456 - 0.5) / 0.5
        blue = torch.unsqueeze(x[:, 2], 1) * (0.225 / 0.5) + (0.406 - 0.5) / 0.5
        return torch.cat((red, green, blue), 1)


class PatchTokens(nn.Module):
    """A vision transformer's first step: patches to tokens, class token in front, positions added.

    Holds the transformer's own ``class_token`` and ``pos_embedding``: the same Parameter objects, not copies.

    Args:
        vit: A ``torchvision.models.VisionTransformer``.
    """

    def __init__(self, vit: Any) -> None:
        """Share the transformer's modules and parameters."""
        super().__init__()
        self.conv_proj = vit.conv_proj
        self.class_token = vit.class_token
        self.pos_embedding = vit.encoder.pos_embedding
        self.dropout = vit.encoder.dropout

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 1 + patches, D)."""
        patches = self.conv_proj(x)  # (B, D, S / patch, S / patch)
        patches = patches.flatten(2).permute(0, 2, 1)  # (B, patches, D)
        first = self.class_token.expand(x.shape[0], -1, -1)  # (B, 1, D)
        tokens: Tensor = self.dropout(torch.cat([first, patches], dim=1) + self.pos_embedding)
        return tokens


class FirstToken(nn.Module):
    """The class token, which a vision transformer classifies from."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, tokens, D) -> (B, D)."""
        return x[:, 0]
