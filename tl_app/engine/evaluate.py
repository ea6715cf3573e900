"""Evaluation: forward passes over labelled photos, and what they say.

The same function serves the epochs of a training, ``tl-app evaluate`` and the page. Knows nothing of runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tl_app.data.store import Preprocessing
from tl_app.engine.device import autocast, is_out_of_memory, release_memory
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
    network: nn.Module,
    batches: Iterator[tuple[Tensor, Tensor]],
    preprocessing: Preprocessing,
    *,
    device: torch.device,
    precision: torch.dtype,
    stop: Callable[[], bool],
) -> Evaluation | None:
    """Classifies every photo; the network is left in eval mode.

    Args:
        network: (B, 3, size, size) floats to (B, C) logits.
        batches: uint8 photos (B, 3, size, size) and labels (B,).
        preprocessing: Only its normalisation is used here.
        device: Where the network is.
        precision: Of the forward pass.
        stop: Asked before each batch.

    Returns:
        The results, or None when ``stop`` said so.
    """
    network.eval()
    logits, labels = [], []
    for images, batch_labels in batches:
        if stop():
            return None
        logits.append(classify(network, images, preprocessing, device=device, precision=precision))
        labels.append(batch_labels)
    all_logits, all_labels = torch.cat(logits).cpu(), torch.cat(labels)
    loss = nn.functional.cross_entropy(all_logits, all_labels).item()
    accuracy = (all_logits.argmax(1) == all_labels).double().mean().item()
    return Evaluation(loss, accuracy, all_logits.softmax(1), all_labels)


def classify(
    network: nn.Module,
    images: Tensor,
    preprocessing: Preprocessing,
    *,
    device: torch.device,
    precision: torch.dtype,
) -> Tensor:
    """One forward pass; in halves, and halves of those, when memory does not suffice for all at once.

    Args:
        network: In eval mode.
        images: uint8 (B, 3, size, size).
        preprocessing: Only its normalisation is used.
        device: Where the network is.
        precision: Of the forward pass.

    Returns:
        Logits, float32 (B, C), on the device.

    Raises:
        ResourceError: Not even one photo fits.
    """
    try:
        with torch.inference_mode(), autocast(device, precision):
            logits: Tensor = network(to_input(images, preprocessing, device)).float()
            return logits
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    release_memory(device)
    if len(images) == 1:
        raise ResourceError(
            f"The memory of {device} does not suffice for one photo.",
            remedy="Choose a smaller backbone or image size, or use the CPU.",
        )
    halves = images.tensor_split(2)
    return torch.cat(
        [classify(network, half, preprocessing, device=device, precision=precision) for half in halves]
    )


def to_input(images: Tensor, preprocessing: Preprocessing, device: torch.device) -> Tensor:
    """uint8 photos (B, 3, H, W) on the CPU to normalised floats, channels last, on the device."""
    batch = preprocessing.normalise(images.to(device, non_blocking=True))
    return batch.contiguous(memory_format=torch.channels_last)
