"""The teacher of a training: another network whose features are imitated on the same augmented photos.

Knows nothing of epochs or optimisers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Sequence

import torch
from torch import Tensor, nn

from tl_app.backbones.staged import GENERATOR_LOCK, StagedNetwork
from tl_app.data.preprocessing import Preprocessing
from tl_app.engine import source
from tl_app.engine.batches import load_view
from tl_app.engine.device import autocast, move
from tl_app.engine.evaluate import to_input
from tl_app.engine.fusing import folded
from tl_app.engine.inputs import Photos
from tl_app.engine.step import Objective
from tl_app.events import Event
from tl_app.transfer.distillation import Imitation, pairs

_CALIBRATED = 256  # photos that the scale of the teacher's activations is measured on
_BATCH = 32


class Teacher:
    """A frozen network that says what its stages make of photos.

    Args:
        network: With its weights.
        preprocessing: Its own, at the student's size.
        device: Where to compute.
    """

    def __init__(self, network: StagedNetwork, preprocessing: Preprocessing, device: torch.device) -> None:
        network.requires_grad_(False).eval()
        move(network, device)
        self._stages = [folded(stage.module) for stage in network.stages]
        self._preprocessing, self._device = preprocessing, device

    def __call__(self, photos: Tensor) -> list[Tensor]:
        """Uint8 (B, 3, S, S) to the activations of each stage; ordinary tensors, which a backward pass may keep."""
        with torch.no_grad():
            return activations(self._stages, to_input(photos, self._preprocessing, self._device))


def open_teacher(
    name: str, preprocessing: Preprocessing, device: torch.device, stop: Callable[[], bool]
) -> Generator[Event, None, Teacher]:
    """The teacher that a setting names.

    Args:
        name: ``backbone:NAME`` or ``run:NAME``.
        preprocessing: Of the student; the teacher keeps its own mean and deviation.
        device: Where to compute.
        stop: Asked while weights are downloaded.

    Raises:
        UserError: There is no such network, or its weights cannot be had.
        Interrupted: ``stop`` said so.
    """
    start = source.named(name)
    yield from source.fetched(start, stop)
    own = dataclasses.replace(start.preprocessing, resize=preprocessing.resize, crop=preprocessing.crop)
    network = start.network(own.crop)
    yield from start.load(network)
    return Teacher(network, own, device)


def imitation_of(network: StagedNetwork, teacher: Teacher, photos: Photos, seed: int) -> Imitation:
    """The maps from the network's activations to the teacher's, with the scale of those on some photos."""
    items = photos.train[:: max(1, len(photos.train) // _CALIBRATED)]
    loaded = [load_view(photos.store, item, view=0, augmentation="none", seed=seed) for item in items]
    batches = torch.split(torch.stack(loaded), _BATCH)
    known = [torch.cat(parts).cpu() for parts in zip(*map(teacher, batches), strict=True)]
    stages, size = [stage.module for stage in network.stages], loaded[0].shape[-1]
    network.eval()
    with torch.no_grad():
        device = next(network.parameters()).device
        own = [each.cpu() for each in activations(stages, torch.zeros(1, 3, size, size, device=device))]
    own, known = _paired(own, known)
    with GENERATOR_LOCK:
        torch.manual_seed(seed)
        imitation = Imitation([(one.shape[1], two.shape[1]) for one, two in zip(own, known, strict=True)])
    imitation.calibrate(known)
    return imitation


def imitate(
    network: StagedNetwork,
    imitation: Imitation,
    teacher: Teacher,
    *,
    weight: float,
    precision: torch.dtype,
) -> Objective:
    """Cross-entropy of the labels plus ``weight`` times the distance to the teacher's activations."""
    stages = [stage.module for stage in network.stages]

    def objective(rows: Tensor, boundary: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        known = teacher(rows)
        with autocast(boundary.device, precision):
            found = activations(stages, boundary)
            logits: Tensor = network.head(found[-1])
        logits = logits.float()
        loss = nn.functional.cross_entropy(logits, labels, reduction="sum")
        return loss + weight * imitation(*_paired(found, known)).sum(), logits

    return objective


def activations(stages: Sequence[nn.Module], inputs: Tensor) -> list[Tensor]:
    """What each stage gives, in order."""
    found = []
    for stage in stages:
        inputs = stage(inputs)
        found.append(inputs)
    return found


def _paired(student: list[Tensor], teacher: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """The activations of both that are compared."""
    student, teacher = _vector_last(student), _vector_last(teacher)
    chosen = pairs([each.shape[1:] for each in student], [each.shape[1:] for each in teacher])
    return [student[number] for number, _ in chosen], [teacher[number] for _, number in chosen]


def _vector_last(found: list[Tensor]) -> list[Tensor]:
    """The last activations as one vector per photo, (B, C)."""
    last = found[-1]
    return [*found[:-1], last.mean((2, 3)) if last.ndim == 4 else last.flatten(1)]
