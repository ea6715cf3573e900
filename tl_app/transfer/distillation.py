"""Imitating a teacher: how far a network's activations and answers are from a larger one's for the same photos.

Knows nothing of how either network is computed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

# What logits are divided by, so that the classes that a photo does not show say something too: of the 1 to 20 that
# Hinton et al. tried, small ones served small networks best.
SOFTNESS = 2.0


class Hint(nn.Module):
    """How far activations are from a teacher's: as they are, or through a linear map over channels learnt along.

    FitNets' hint loss (Romero et al. 2015), with the teacher's activations brought to one scale first. The map is
    thrown away afterwards: what it reads off the activations, later layers can read off them too.

    Args:
        channels: Of the student where there is a map; None: the student's channels are the teacher's.
        teacher_channels: Of the teacher.
    """

    mean: Tensor  # (teacher_channels,)
    scale: Tensor  # (teacher_channels,)

    def __init__(self, channels: int | None, teacher_channels: int) -> None:
        super().__init__()
        self.map = nn.Linear(channels, teacher_channels) if channels is not None else None
        if self.map is not None:
            nn.init.normal_(self.map.weight, std=0.01)
            nn.init.zeros_(self.map.bias)
        self.register_buffer("mean", torch.zeros(teacher_channels))
        self.register_buffer("scale", torch.ones(teacher_channels))

    def calibrate(self, teacher: Tensor) -> None:
        """Takes mean and scale from the teacher's activations of some photos, (N, C) or (N, C, H, W).

        Channels are divided by their deviation, but those that hardly vary are not blown up to the size of others.
        """
        rows = _rows(teacher.float()).flatten(0, -2)
        variance = rows.var(0, correction=0)
        self.mean.copy_(rows.mean(0))
        self.scale.copy_((variance + variance.mean()).sqrt().clamp_min(1e-6))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Activations (B, C) or (B, C, H, W) of both to the mean squared distance of each photo, (B,)."""
        target = (_rows(teacher.float()) - self.mean) / self.scale
        own = _rows(student.float())
        own = self.map(own) if self.map is not None else (own - self.mean) / self.scale
        distance: Tensor = (own - target).square().flatten(1).mean(1)
        return distance


class Imitation(nn.Module):
    """The mean of hints at several depths of the network.

    Args:
        channels: Of student and teacher, for each hint, as :class:`Hint` takes them.
    """

    def __init__(self, channels: Sequence[tuple[int | None, int]]) -> None:
        super().__init__()
        self.hints = nn.ModuleList(Hint(*pair) for pair in channels)

    def calibrate(self, teacher: Sequence[Tensor]) -> None:
        """See :meth:`Hint.calibrate`; one tensor per hint."""
        for hint, activations in zip(self.each(), teacher, strict=True):
            hint.calibrate(activations)

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """One tensor per hint of both to the mean distance of each photo, (B,)."""
        distances = [hint(own, known) for hint, own, known in zip(self.each(), student, teacher, strict=True)]
        return torch.stack(distances).mean(0)

    def each(self) -> list[Hint]:
        """The hints in order."""
        return [hint for hint in self.hints if isinstance(hint, Hint)]


def answers_apart(student: Tensor, teacher: Tensor) -> Tensor:
    """How far softened answers are from a teacher's, summed over photos: logits (B, C) of both to one number.

    The divergence of Hinton et al. 2015 ("Distilling the Knowledge in a Neural Network"), times the softness squared,
    which keeps its gradients at the size of the labels'.
    """
    own, known = (functional.log_softmax(logits.float() / SOFTNESS, 1) for logits in (student, teacher))
    return SOFTNESS**2 * functional.kl_div(own, known, reduction="sum", log_target=True)


def pairs(student: Sequence[Sequence[int]], teacher: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """Which block imitates which: one by one where all sizes agree, else the last of each size; always the last.

    Args:
        student: The shape of each block's activations for one photo, (C,) or (C, H, W).
        teacher: Likewise.

    Returns:
        Numbers of blocks of both, in order.
    """
    own, known = ([tuple(shape[1:]) for shape in shapes] for shapes in (student, teacher))
    if own == known:
        return [(number, number) for number in range(len(own))]
    last_own, last_known = ({size: number for number, size in enumerate(sizes)} for sizes in (own, known))
    found = [(number, last_known[size]) for size, number in last_own.items() if size and size in last_known]
    return [*found, (len(own) - 1, len(known) - 1)]


def _rows(activations: Tensor) -> Tensor:
    """Channels last: (B, 1, C) or (B, H · W, C)."""
    if activations.ndim == 2:
        return activations[:, None]
    return activations.flatten(2).transpose(1, 2)
