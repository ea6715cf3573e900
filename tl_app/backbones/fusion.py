"""Feature fusion: what several stages, or two networks, make of a photo, side by side in one vector.

The last stages become one, which pools the output of each and puts them one behind the other; a second network sits
beside the first as ``net.beside`` and sees the same photo. What comes before and after knows nothing of it. Knows
nothing of heads or weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tl_app.backbones.families import Layout, Parts
from tl_app.backbones.pieces import FirstToken

Colours = tuple[tuple[float, float, float], tuple[float, float, float]]  # mean and deviation per channel


@dataclass(frozen=True)
class Fusion:
    """What is put side by side.

    Attributes:
        stages: How many of the last stages, 1 or more.
        beside: A second backbone by name, whose last features join them; empty for none.
    """

    stages: int = 1
    beside: str = ""

    def __str__(self) -> str:
        """In the names of kept activations."""
        return f"fused {self.stages} {self.beside}".rstrip()


class Recolour(nn.Module):
    """From photos normalised for one network to photos normalised for another; at first it changes nothing.

    Attributes:
        scale: float32 (3, 1, 1), saved with the weights.
        shift: Likewise.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(3, 1, 1))
        self.register_buffer("shift", torch.zeros(3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 3, H, W)."""
        return x * self.scale + self.shift

    def between(self, own: Colours, other: Colours) -> None:
        """Sets it for photos normalised as ``own`` says, for a network that wants them as ``other`` says."""
        (mean, std), (other_mean, other_std) = torch.tensor(own), torch.tensor(other)
        self.scale.copy_((std / other_std).view(3, 1, 1))
        self.shift.copy_(((mean - other_mean) / other_std).view(3, 1, 1))


class Beside(nn.Module):
    """Where a second network is kept: torchvision's module without its last layer, and its colours."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.recolour = Recolour()
        self.net = net


class MapMean(nn.Module):
    """Global average over the axes of height and width, which are not the last two in every family."""

    def __init__(self, axes: tuple[int, int]) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W), or (B, H, W, C) with axes 1 and 2 -> (B, C)."""
        return x.mean(self.axes)

    def extra_repr(self) -> str:
        """The axes, which tell two of them apart."""
        return str(self.axes)


class PlaceMean(nn.Module):
    """Global average of maps that were flattened, as AlexNet and VGG have them in front of their hidden layers."""

    def __init__(self, places: int) -> None:
        super().__init__()
        self.places = places

    def forward(self, x: Tensor) -> Tensor:
        """(B, C · places) -> (B, C)."""
        return torch.unflatten(x, 1, (-1, self.places)).mean(2)

    def extra_repr(self) -> str:
        """The number of places, which tells two of them apart."""
        return str(self.places)


class Fused(nn.Module):
    """Stages one after the other, the pooled outputs of some of them, and of a second network, side by side.

    Args:
        before: Stages whose outputs go to the next one alone.
        stages: Those that are pooled.
        pools: For each of these, from its output to a vector (B, D).
        beside: From the photo to a vector; the input of the first stage is then a photo.
    """

    def __init__(
        self,
        before: Sequence[nn.Module],
        stages: Sequence[nn.Module],
        pools: Sequence[nn.Module],
        beside: nn.Module | None,
    ) -> None:
        super().__init__()
        self.before = nn.Sequential(*before)
        self.stages, self.pools = nn.ModuleList(stages), nn.ModuleList(pools)
        self.beside = beside

    def forward(self, x: Tensor) -> Tensor:
        """(B, …) -> (B, D), the stages' vectors in order and the second network's last."""
        vectors = [] if self.beside is None else [self.beside(x)]
        x = self.before(x)
        pooled = []
        for stage, pool in zip(self.stages, self.pools, strict=True):
            x = stage(x)
            pooled.append(pool(x))
        return torch.cat([*pooled, *vectors], 1)


def fused_stages(layout: Layout, parts: Parts, fusion: Fusion, beside: nn.Module | None) -> Parts:
    """The stages of a network with the last of them made one.

    Args:
        layout: Of its family.
        parts: Its own stages, all of them.
        fusion: What is put side by side.
        beside: The second network, from :func:`beside_vector`: all stages become one then, since it needs the photo.
    """
    first = len(parts) - fusion.stages  # that is pooled
    start = 0 if beside is not None else first
    modules = [nn.Sequential(*each) for _, each in parts]
    pools = [_pool(layout, parts, number) for number in range(first, len(parts))]
    names = list(dict.fromkeys((parts[start][0], parts[-1][0])))
    name = " to ".join(names) + (f" + {fusion.beside}" if beside is not None else "")
    return [*parts[:start], (name, [Fused(modules[start:first], modules[first:], pools, beside)])]


def beside_vector(layout: Layout, beside: Beside) -> nn.Module:
    """View of a second network: from the first one's photos (B, 3, H, W) to its last features (B, D)."""
    parts = layout.stages(beside.net)
    modules = [module for _, each in parts for module in each]
    return nn.Sequential(beside.recolour, *modules, _pool(layout, parts, len(parts) - 1))


def _pool(layout: Layout, parts: Parts, number: int) -> nn.Module:
    """From what a stage gives to a vector: the mean of a map, the class token, or what is a vector already."""
    last = len(parts) - 1 - layout.hidden  # that may give a map
    if layout.features == "token":
        return FirstToken() if number < last else nn.Identity()
    if number < last or (number == last and layout.features == "map"):
        return MapMean(layout.axes)
    pooling = [module for module in parts[number][1] if isinstance(module, nn.AdaptiveAvgPool2d)]
    places = math.prod(_pair(pooling[-1].output_size)) if pooling else 1
    return PlaceMean(places) if places > 1 else nn.Identity()


def _pair(size: object) -> tuple[int, int]:
    height, width = size if isinstance(size, tuple) else (size, size)
    assert isinstance(height, int) and isinstance(width, int)
    return height, width
