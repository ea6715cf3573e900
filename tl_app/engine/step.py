"""One optimiser step: boundary, trainable suffix, backward pass, in as many parts as memory asks for.

Knows nothing of epochs, photos or files.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tl_app.engine.device import autocast, is_out_of_memory, release_memory
from tl_app.errors import ResourceError, UsageError
from tl_app.transfer.losses import CROSS_ENTROPY, LabelLoss, right_answers

# From rows (B, …), their activations at the boundary and labels, (B,) or of mixed rows (B, C), to the sum of losses and
# logits (B, C).
Objective = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def classify(suffix: nn.Module, precision: torch.dtype, loss: LabelLoss = CROSS_ENTROPY) -> Objective:
    """The loss of the labels.

    Args:
        suffix: The trainable stages and the head.
        precision: Of the forward pass.
        loss: From logits and labels to the sum of losses.
    """

    def objective(rows: Tensor, boundary: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        with autocast(boundary.device, precision):
            logits: Tensor = suffix(boundary)
        logits = logits.float()
        return loss(logits, labels), logits

    return objective


def accumulate(
    to_boundary: Callable[[Tensor], Tensor],
    objective: Objective,
    rows: Tensor,
    labels: Tensor,
    *,
    parts: int,
) -> tuple[Tensor, Tensor]:
    """Leaves the mean gradient of the batch in the trainable parameters.

    Args:
        to_boundary: The frozen part: from rows to floats on the device.
        objective: What is made small; its network is in training mode and without gradients as yet.
        rows: Photos or kept activations, (B, …).
        labels: int64 (B,), or float32 (B, C) of mixed rows, on the device.
        parts: Into how many micro-batches the batch is cut; gradients add up to that of the whole batch.

    Returns:
        The mean loss and the number of right answers, both on the device, so that nothing waits for it.

    Raises:
        UsageError: A lone photo went through BatchNorm.
    """
    loss_sum = torch.zeros((), device=labels.device)
    correct = torch.zeros((), dtype=torch.int64, device=labels.device)
    for part, part_labels in zip(rows.tensor_split(parts), labels.tensor_split(parts), strict=True):
        total, logits = _checked(objective, part, _at_boundary(to_boundary, part), part_labels)
        loss = total / len(labels)
        loss.backward()  # type: ignore[no-untyped-call]
        loss_sum += loss.detach()
        correct += right_answers(logits.detach(), part_labels)
    return loss_sum, correct


def forward_only(
    to_boundary: Callable[[Tensor], Tensor],
    objective: Objective,
    rows: Tensor,
    labels: Tensor,
    *,
    parts: int,
) -> None:
    """Computes the objective of a batch as :func:`accumulate` will, without gradients, for who listens to it."""
    for part, part_labels in zip(rows.tensor_split(parts), labels.tensor_split(parts), strict=True):
        with torch.no_grad():
            _checked(objective, part, _at_boundary(to_boundary, part), part_labels)


def within_memory(
    run: Callable[[int], tuple[Tensor, Tensor]],
    optimizer: torch.optim.Optimizer,
    *,
    parts: int,
    batch_size: int,
    device: torch.device,
) -> tuple[tuple[Tensor, Tensor], int]:
    """Runs forward and backward passes and moves the weights; on out of memory with more, smaller micro-batches.

    Args:
        run: ``run(parts)`` leaves the gradient, computed in so many parts.
        optimizer: Over the same parameters.
        parts: To begin with.
        batch_size: Photos in this batch.
        device: Its cached memory is released before another try.

    Returns:
        What ``run`` returned, and the number of parts that fitted.

    Raises:
        ResourceError: Not even one photo at a time fits, or the optimiser's own state does not.
    """
    parts = min(parts, batch_size)
    while True:
        # Optimizer.zero_grad tells a profiler too, which takes a twentieth of a small head's step.
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
        try:
            result = run(parts)
            break
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside the except block, so that the failed passes' tensors are gone by now.
        release_memory(device)
        if parts >= batch_size:
            raise _too_small(device, "not even one photo at a time fits")
        parts = min(2 * parts, batch_size)
    _move(optimizer, device)
    return result, parts


def _move(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    fresh = not optimizer.state
    try:
        optimizer.step()
        return
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        if not fresh:  # some weights may have moved and others not
            raise _too_small(device, "there is no room to move the weights") from error
    # The first step sets the state up before it moves anything; what is half set up must go.
    optimizer.state.clear()
    release_memory(device)
    try:
        optimizer.step()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise _too_small(device, "there is no room for the optimiser's state") from error


def _too_small(device: torch.device, what: str) -> ResourceError:
    return ResourceError(
        f"The memory of {device} is too small: {what}.",
        remedy="Choose a smaller backbone or image size, freeze more stages, or use the CPU.",
    )


def _at_boundary(to_boundary: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    with torch.inference_mode():
        boundary = to_boundary(rows)
    # An inference tensor cannot be saved for the backward pass; its copy can.
    return boundary.clone() if boundary.is_inference() else boundary


def _checked(objective: Objective, rows: Tensor, boundary: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    try:
        return objective(rows, boundary, labels)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UsageError(
            "This backbone's BatchNorm cannot train on one photo at a time.",
            "The batch size must be at least 2.",
            "Raise the batch size, or freeze all stages.",
        ) from error
