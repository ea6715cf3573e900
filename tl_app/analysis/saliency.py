"""Which places of a photo spoke for a class: Grad-CAM over the last map of whatever network.

Needs no knowledge of families: a network is a row of steps, and the last one whose output still tells enough places
apart is used, be it a feature map or a transformer's tokens. Knows nothing of files, labels or pictures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from tl_app.backbones.staged import StagedNetwork
from tl_app.data.preprocessing import Preprocessing
from tl_app.engine.device import is_out_of_memory
from tl_app.engine.evaluate import to_input
from tl_app.errors import ResourceError, UsageError

# Places a side, as many as the last map of a photo of 224 pixels has. One of 96 pixels ends in 3 x 3, too few to be
# right: a MobileNetV2's answers on 40 rendered fruit lost 10 points without the hottest fifth of the photo and 16
# without a random one; from the last map of at least 7 x 7 it was 43 and 18.
_ENOUGH = 7


def saliency(
    network: StagedNetwork, preprocessing: Preprocessing, photo: Tensor, target: int | None = None
) -> Tensor:
    """How much each place of a photo spoke for a class, compared with the other classes.

    Activations times the gradient that they get from the class's logit, summed over channels, cut off at 0: Selvaraju
    et al. 2017, "Grad-CAM" (arXiv:1610.02391), with each place's own gradient in place of their mean, as in Draelos
    and Carin 2020, "HiResCAM" (arXiv:2011.08891). The two are equal where a network averages its last map; elsewhere
    (VGG, vision transformers) the mean belongs to no place. Logits mean something only in comparison, so the mean of
    all of them is subtracted from the class's, and of tokens it counts what sets them apart from the average patch.

    Safe while other threads use the network: nothing of it is changed, no parameter gets a gradient.

    Args:
        network: In eval mode, on any device.
        preprocessing: Its own.
        photo: uint8 (3, S, S), as it sees it.
        target: The class's number; None for the one it gives.

    Returns:
        float32 (S, S) on the CPU, 1 at the hottest place; all 0 where nothing spoke for the class.

    Raises:
        ResourceError: Memory does not suffice.
    """
    assert not network.training, "dropout would blur the map, and BatchNorm would learn from the photo"
    device = next(network.parameters()).device
    try:
        # Also for callers within these modes; under autocast gradients of small logits would round to 0.
        with torch.inference_mode(False), torch.autocast(device.type, enabled=False):
            heat = _heat(network, to_input(photo[None].clone(), preprocessing, device), target)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise ResourceError(
            f"The memory of {device} does not suffice for the gradients of one photo.",
            remedy="Use the CPU, or a smaller backbone or image size.",
        ) from error
    return _spread(heat.cpu(), photo.shape[-1])


def _heat(network: StagedNetwork, x: Tensor, target: int | None) -> Tensor:
    """(side, side), not below 0, of the last step whose places the class's logit depends on."""
    steps = [step for stage in network.stages for step in stage.module.children()]
    maps, logits = _forward(steps, network.head, x)
    if not maps:
        raise UsageError(
            "What spoke for a class cannot be drawn for this network: its features have no places left, as when two "
            "networks are fused.",
        )
    target = int(logits.argmax()) if target is None else target
    heat = torch.zeros(1, 1)
    finest = max(_side(activations) for _, activations in maps)
    for number, activations in reversed(maps):
        if _side(activations) < min(_ENOUGH, finest):
            continue
        gradient = _gradient(nn.Sequential(*steps[number + 1 :], network.head), activations, target)
        heat = _places(gradient * _beside_average(activations)).sum(0).clamp(min=0)
        # Behind its last attention a transformer reads the class token alone: one step back, patches still count.
        if _places(gradient).any():
            break
    return heat


@torch.no_grad()
def _forward(
    steps: Sequence[nn.Module], head: nn.Module, x: Tensor
) -> tuple[list[tuple[int, Tensor]], Tensor]:
    """Each step's number and output where it tells places apart, and the logits (1, classes)."""
    maps: list[tuple[int, Tensor]] = []
    smallest = x.shape[-1]
    for number, step in enumerate(steps):
        x = step(x)
        side = _side(x)
        # A map larger than one before it (VGG pools to 7 x 7, whatever comes) only repeats that.
        if side and side <= smallest:
            smallest = side
            if side > 1:
                maps.append((number, x.clone()))  # the next step may write into it
    return maps, head(x)


def _gradient(rest: nn.Module, activations: Tensor, target: int) -> Tensor:
    """Of the class's logit less the mean of all logits, by the activations; of their shape."""
    with torch.enable_grad():
        leaf = activations.detach().requires_grad_()
        logits = rest(leaf.clone())[0]  # a clone, since the first step may write into it
        gradient: Tensor
        (gradient,) = torch.autograd.grad(logits[target] - logits.mean(), leaf)
    return gradient


def _beside_average(activations: Tensor) -> Tensor:
    """What sets tokens apart from the average patch; maps as they are.

    LayerNorm comes next and takes a token's length and mean away, so that the product of a token itself and its
    gradient is 0 but for rounding.
    """
    if activations.ndim != 3:
        return activations
    side = _side(activations)
    return activations - activations[:, -side * side :].mean(1, keepdim=True)


def _side(x: Tensor) -> int:
    """Side of a square of places, in places; 0 where there are none."""
    if x.ndim == 4:
        return x.shape[2]  # of (B, C, H, W) as of (B, H, W, C), since H is W
    return math.isqrt(x.shape[1]) if x.ndim == 3 else 0


def _places(x: Tensor) -> Tensor:
    """What is known of each place, (C, side, side): of a map with channels first or last, or of patch tokens."""
    if x.ndim == 3:  # (1, tokens, C), others than those of patches first
        side = _side(x)
        return x[0, -side * side :].reshape(side, side, -1).permute(2, 0, 1)
    return x[0] if x.shape[2] == x.shape[3] else x[0].permute(2, 0, 1)


def _spread(heat: Tensor, size: int) -> Tensor:
    """(side, side) to (size, size), the hottest place 1."""
    large = functional.interpolate(heat[None, None], size=(size, size), mode="bilinear", align_corners=False)[
        0, 0
    ]
    hottest = large.max()
    return large / hottest if hottest > 0 else large
