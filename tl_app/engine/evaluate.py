"""Evaluation: forward passes over labelled photos, and what they say.

The same function serves the epochs of a training, ``tl-app evaluate`` and the page. Knows nothing of runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tl_app.data.store import Preprocessing
from tl_app.engine.batches import Batch
from tl_app.engine.device import is_out_of_memory, release_memory
from tl_app.errors import ResourceError


@dataclass(frozen=True)
class Evaluation:
    """Results over N photos and C classes.

    Attributes:
        loss: Mean cross entropy, in nats.
        accuracy: Share classified right, 0 to 1.
        probabilities: float32, (N, C), rows sum to 1; in the order of the photos.
        labels: int64, (N,).
    """

    loss: float
    accuracy: float
    probabilities: Tensor
    labels: Tensor


def evaluate(
    classify: Callable[[Tensor], Tensor],
    batches: Iterator[Batch],
    *,
    device: torch.device,
    stop: Callable[[], bool],
) -> Evaluation | None:
    """Classifies every photo.

    Args:
        classify: From a batch's rows to logits, float32 (B, C); whatever it calls is in eval mode.
        batches: Rows and labels.
        device: Where ``classify`` computes.
        stop: Asked before each batch.

    Returns:
        The results, or None when ``stop`` said so.
    """
    logits, labels = [], []
    for rows, batch_labels in batches:
        if stop():
            return None
        logits.append(forward_in_parts(classify, rows, device))
        labels.append(batch_labels)
    all_logits, all_labels = torch.cat(logits).cpu(), torch.cat(labels)
    loss = nn.functional.cross_entropy(all_logits, all_labels).item()
    accuracy = (all_logits.argmax(1) == all_labels).double().mean().item()
    return Evaluation(loss, accuracy, all_logits.softmax(1), all_labels)


def forward_in_parts(forward: Callable[[Tensor], Tensor], rows: Tensor, device: torch.device) -> Tensor:
    """One forward pass; in halves, and halves of those, when memory does not suffice for all at once.

    Args:
        forward: From rows (B, …) to results (B, …), under ``inference_mode``.
        rows: The batch.
        device: Where ``forward`` computes.

    Raises:
        ResourceError: Not even one photo fits.
    """
    try:
        with torch.inference_mode():
            return forward(rows)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    release_memory(device)
    if len(rows) == 1:
        raise ResourceError(
            f"The memory of {device} does not suffice for one photo.",
            remedy="Choose a smaller backbone or image size, or use the CPU.",
        )
    return torch.cat([forward_in_parts(forward, half, device) for half in rows.tensor_split(2)])


def to_input(images: Tensor, preprocessing: Preprocessing, device: torch.device) -> Tensor:
    """uint8 photos (B, 3, H, W) on the CPU to normalised floats, channels last, on the device."""
    batch = preprocessing.normalise(images.to(device, non_blocking=True))
    return batch.contiguous(memory_format=torch.channels_last)
