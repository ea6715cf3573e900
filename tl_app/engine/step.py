"""One optimiser step: frozen prefix, trainable suffix, backward pass, in as many parts as memory asks for.

Knows nothing of epochs, photos or files.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tl_app.engine.device import autocast, is_out_of_memory, release_memory
from tl_app.errors import ResourceError, UsageError


def train_step(
    prefix: nn.Module,
    suffix: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    *,
    parts: int,
    precision: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """Moves the weights one step along the mean gradient of the batch.

    Args:
        prefix: The frozen stages, in eval mode.
        suffix: The trainable stages and the head, in training mode.
        optimizer: Over the suffix's parameters.
        images: Normalised floats (B, 3, H, W), on the device.
        labels: int64 (B,), on the device.
        parts: Into how many micro-batches the batch is cut; gradients add up to that of the whole batch.
        precision: Of the forward passes.

    Returns:
        The mean loss and the number of right answers, both on the device, so that nothing waits for it.

    Raises:
        UsageError: A lone photo went through BatchNorm.
    """
    optimizer.zero_grad(set_to_none=True)
    loss_sum = torch.zeros((), device=images.device)
    correct = torch.zeros((), dtype=torch.int64, device=images.device)
    for part, part_labels in zip(images.chunk(parts), labels.chunk(parts), strict=True):
        with autocast(images.device, precision):
            with torch.inference_mode():
                boundary = prefix(part)
            # An inference tensor cannot be saved for the backward pass; its copy can.
            logits = _checked(suffix, boundary.clone()).float()
        loss = nn.functional.cross_entropy(logits, part_labels, reduction="sum") / len(labels)
        loss.backward()  # type: ignore[no-untyped-call]
        loss_sum += loss.detach()
        correct += (logits.detach().argmax(1) == part_labels).sum()
    optimizer.step()
    return loss_sum, correct


def step_within_memory(
    run: Callable[[int], tuple[Tensor, Tensor]], parts: int, batch_size: int, device: torch.device
) -> tuple[tuple[Tensor, Tensor], int]:
    """Runs a step; on out of memory halves the micro-batch and doubles the accumulation until it fits.

    Args:
        run: ``run(parts)`` does the step in so many parts.
        parts: To begin with.
        batch_size: Photos in this batch; a micro-batch keeps at least two, which BatchNorm needs.
        device: Its cached memory is released before another try.

    Returns:
        What ``run`` returned, and the number of parts that fitted.

    Raises:
        ResourceError: Not even two photos at a time fit.
    """
    while True:
        try:
            return run(parts), parts
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside the except block, so that the failed step's tensors are gone by now.
        release_memory(device)
        parts *= 2
        if batch_size // parts < 2:
            raise ResourceError(
                f"Not even {max(2, 2 * batch_size // parts)} photos at a time fit into the memory of {device}.",
                remedy="Choose a smaller backbone or image size, freeze more stages, or use the CPU.",
            )


def _checked(suffix: nn.Module, boundary: Tensor) -> Tensor:
    try:
        logits: Tensor = suffix(boundary)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UsageError(
            "This backbone's BatchNorm cannot train on one photo at a time.",
            "The batch size must be at least 2.",
            "Raise the batch size, or freeze all stages.",
        ) from error
    return logits
