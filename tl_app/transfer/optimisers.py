"""The optimiser over the trainable parameters, in groups for head and backbone, or head and stages.

Knows nothing of schedules beyond storing each group's base rate, which the engine scales.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

_BUILDERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda groups, **rest: torch.optim.SGD(groups, momentum=0.9, **rest),
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}


def build_optimizer(
    name: str,
    net: nn.Module,
    head: nn.Module,
    *,
    lr_head: float,
    lr_backbone: float,
    weight_decay: float,
    backbone_decays: bool = True,
    stages: Sequence[nn.Module] = (),
    layer_decay: float = 1.0,
) -> torch.optim.Optimizer:
    """An optimiser over the parameters of ``net`` that need a gradient.

    Biases and normalisation weights (one dimension or none) get no weight decay, as in most published recipes.

    Args:
        name: One of ``choices.OPTIMIZERS``.
        net: The whole network; frozen parameters already marked.
        head: The part of it that gets ``lr_head``.
        lr_head: Base rate of the head.
        lr_backbone: Base rate of everything else.
        weight_decay: Applied to matrices and filters only.
        backbone_decays: Whether it is applied to the backbone's too.
        stages: The backbone's, from input to head; only a ``layer_decay`` below 1 asks for them.
        layer_decay: The rate of each stage as a share of the next one's; the last one has ``lr_backbone``.

    Returns:
        An optimiser whose groups each hold ``base_lr``.
    """
    of_head = {id(p) for p in head.parameters()}
    shares = _shares(stages, layer_decay)
    groups: dict[tuple[bool, bool, float], dict[str, Any]] = {}
    devices: set[str] = set()
    for parameter in net.parameters():
        if not parameter.requires_grad:
            continue
        devices.add(parameter.device.type)
        is_head, decays = id(parameter) in of_head, parameter.ndim > 1
        rate = lr_head if is_head else lr_backbone * shares.get(id(parameter), 1.0)
        decay = weight_decay if decays and (is_head or backbone_decays) else 0.0
        group = groups.setdefault(
            (is_head, decays, rate), {"params": [], "lr": rate, "base_lr": rate, "weight_decay": decay}
        )
        group["params"].append(parameter)
    # One kernel for all tensors instead of one per operation: twice as fast per step for large networks on a CPU.
    fused = devices <= {"cpu", "cuda"}
    return _BUILDERS[name](list(groups.values()), lr=lr_head, fused=fused)


def _shares(stages: Sequence[nn.Module], layer_decay: float) -> dict[int, float]:
    """By parameter: layer-wise decay as in ULMFiT (Howard and Ruder 2018), a stage at a time."""
    last = len(stages) - 1
    return {id(p): layer_decay ** (last - n) for n, stage in enumerate(stages) for p in stage.parameters()}


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Sets each group's learning rate to ``factor`` times its base rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


def clip_gradients(optimizer: torch.optim.Optimizer, largest: float) -> None:
    """Shortens the gradient of all parameters together to a norm of ``largest``; 0 leaves it as it is."""
    if largest:
        torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], largest)
