"""How the last stage ends: as torchvision has it, in one pooled vector, in the map that was not pooled yet, or fused.

A head that takes the place of a classifier's hidden layers sits right behind the convolutions, so the stages made of
those layers are left out. Knows nothing of heads themselves.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from tl_app.backbones.families import Layout, Parts
from tl_app.backbones.fusion import Fusion
from tl_app.backbones.pieces import SpatialMean

Ending = Literal["own", "pooled", "map"] | Fusion

_POOLING = (nn.AdaptiveAvgPool2d, nn.Flatten, SpatialMean)


def stages_ending(layout: Layout, net: nn.Module, ending: Ending) -> Parts:
    """The stages of a torchvision module, the last one ending as asked.

    What normalises behind the pooling (ConvNeXt) stays, and then sees each place of the map: it works on channels.

    Args:
        layout: Of its family.
        net: The module.
        ending: ``own``, or a fusion of their outputs, for all stages as they are. ``pooled`` and ``map`` leave the
            classifier's hidden layers out, and give (B, C) and (B, C, H, W).
    """
    parts = layout.stages(net)
    if keeps_hidden(ending):
        return parts
    *before, (name, modules) = parts[: len(parts) - layout.hidden]
    kept: list[nn.Module] = [module for module in modules if not isinstance(module, _POOLING)]
    if ending == "pooled":
        kept += [nn.AdaptiveAvgPool2d(1), nn.Flatten(1)]
    return [*before, (name, kept)]


def keeps_hidden(ending: Ending) -> bool:
    """Whether a classifier's hidden layers stay where they are."""
    return ending == "own" or isinstance(ending, Fusion)


def drop_hidden(layout: Layout, net: Any) -> None:
    """Takes a classifier's hidden layers, of which there are some, out of a module; other layers keep their names."""
    dropped = {id(module) for _, modules in layout.stages(net)[-layout.hidden :] for module in modules}
    parent = net.get_submodule(layout.classifier.rpartition(".")[0])
    for name, child in list(parent.named_children()):
        if id(child) in dropped:
            setattr(parent, name, nn.Identity())
