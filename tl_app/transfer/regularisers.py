"""Distances between a network and the source it came from, and the shrinkage of weak features: pure functions.

Each is D of ``min L(target) + λ·D``; the strengths here are the λ that a setting of 1 stands for. Knows nothing of
networks, batches in parts, or how activations are come by.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Li et al. 2018 choose α for each task; a public implementation of DELTA takes 0.01, with SGD. Adam divides gradients
# by their size: 0.01 made the way of mobilenet_v2's weights (ants and bees, 5 epochs, AdamW) 2 % shorter, 0.1 made it
# 11 % shorter.
L2_SP = 0.1
FEATURE_DISTANCE = 1.0  # a distance of 1 is as large as the source's activations themselves
BSS = 0.001  # η of the paper
_WEAKEST = 1  # singular values that are shrunk: k of the paper
_SMALLEST = 1e-6  # mean square that activations are taken to have at least


def l2_sp(parameters: Sequence[Tensor], source: Sequence[Tensor]) -> Tensor:
    """½·‖θ − θ_source‖² (Li, Grandvalet and Davoine 2018, "Explicit Inductive Bias for Transfer Learning").

    Args:
        parameters: Those of the backbone that are trained; the head has no counterpart in the source.
        source: The values they started from, in the same order and shapes.

    Returns:
        A scalar; its gradient is θ − θ_source.
    """
    # All tensors in one call: hundreds of small ones would cost a graphics card a launch each.
    lengths = torch._foreach_norm(torch._foreach_sub(list(parameters), list(source)))
    return 0.5 * torch.stack(list(lengths)).square().sum()


def feature_distance(own: Sequence[Tensor], source: Sequence[Tensor]) -> Tensor:
    """How far activations are from those that the source network gives the same photos.

    DELTA (Li et al. 2019) without its channel attention, which needs a training of its own: every channel counts the
    same. Each squared distance is a share of the source's own mean square, so that one strength serves all backbones.

    Args:
        own: Activations of each stage, (B, …).
        source: Likewise; without a gradient.

    Returns:
        For each photo the mean over stages of ‖own − source‖² / ‖source‖², float32 (B,).
    """
    shares = []
    for mine, known in zip(own, source, strict=True):
        known = known.float()
        largest = known.square().flatten(1).mean(1).clamp_min(_SMALLEST)
        shares.append((mine.float() - known).square().flatten(1).mean(1) / largest)
    return torch.stack(shares).mean(0)


def weakest(features: Tensor, k: int = _WEAKEST) -> Tensor:
    """The part of a batch's features that lies along its k smallest singular values.

    Its squared length is what batch spectral shrinkage makes small (Chen et al. 2019, "Catastrophic Forgetting Meets
    Negative Transfer"): the sum of those singular values squared. Twice itself is that sum's gradient.

    Args:
        features: A matrix of one row per photo of the whole batch, (B, D).
        k: How many singular values; at least the largest one is always left alone.

    Returns:
        (B, D), without a gradient.
    """
    rows = features.detach()
    # Eigenvectors of the smaller square matrix say the same as singular vectors, sooner. Squared numbers need the
    # digits of float64, which Apple's cards do not have.
    exact = (rows.cpu() if rows.device.type == "mps" else rows).double()
    tall = len(exact) > exact.shape[1]
    square = exact.T @ exact if tall else exact @ exact.T
    k = min(k, len(square) - 1)
    # What is not a number stays so in the product below; the decomposition would raise an error.
    directions: Tensor = torch.linalg.eigh(square.nan_to_num(0.0, 0.0, 0.0))[1][:, :k]
    found: Tensor = exact @ directions @ directions.T if tall else directions @ (directions.T @ exact)
    return found.to(rows.dtype).to(rows.device)


def shrinkage(features: Tensor, weak: Tensor) -> Tensor:
    """The share of some photos in a batch's spectral shrinkage, so that a batch can be computed in parts.

    Args:
        features: Of these photos, (b, D).
        weak: Their rows of what :func:`weakest` gives for the batch, (b, D).

    Returns:
        A scalar; over all photos of the batch values add up to the sum of the smallest singular values squared, and
        gradients to its gradient.
    """
    aligned: Tensor = (features * weak).sum()
    return 2 * aligned - aligned.detach()
