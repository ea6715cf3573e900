"""The teacher of a training: another network whose features or answers are imitated on the same augmented photos.

Knows nothing of epochs or optimisers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Sequence

import torch
from torch import Tensor

from tl_app.backbones.staged import GENERATOR_LOCK, StagedNetwork
from tl_app.data.augment import PLAIN
from tl_app.data.preprocessing import Preprocessing
from tl_app.engine import source
from tl_app.engine.blocks import activations, blocks_of, compared, random_window, stride_of
from tl_app.engine.device import autocast, move
from tl_app.engine.evaluate import to_input
from tl_app.engine.fusing import folded
from tl_app.engine.inputs import Photos
from tl_app.engine.step import Objective
from tl_app.engine.views import load_view
from tl_app.errors import UsageError
from tl_app.events import Event
from tl_app.transfer.distillation import Imitation, answers_apart, pairs
from tl_app.transfer.losses import CROSS_ENTROPY, LabelLoss

_CALIBRATED = 256  # photos that the scale of the teacher's activations is measured on
_BATCH = 32


class Teacher:
    """A frozen network that says what its blocks make of photos.

    Args:
        network: With its weights.
        preprocessing: Its own, at the student's size.
        device: Where to compute.

    Attributes:
        blocks: As :func:`tl_app.engine.blocks.blocks_of` cuts them.
        strides: For each block, what :func:`tl_app.engine.blocks.stride_of` says of photos of that size.
    """

    def __init__(self, network: StagedNetwork, preprocessing: Preprocessing, device: torch.device) -> None:
        network.requires_grad_(False).eval()
        move(network, device)
        self.blocks = [folded(block) for block in blocks_of(network)]
        self._head = network.head
        self._preprocessing, self._device = preprocessing, device
        self.strides = self._strides()

    def __call__(self, photos: Tensor) -> list[Tensor]:
        """Uint8 (B, 3, S, S) to the activations of each block; ordinary tensors, which a backward pass may keep."""
        with torch.no_grad():
            return activations(self.blocks, to_input(photos, self._preprocessing, self._device))

    def answers(self, photos: Tensor) -> Tensor:
        """Uint8 (B, 3, S, S) to the logits of its own head, float32 (B, C)."""
        with torch.no_grad():
            logits: Tensor = self._head(self(photos)[-1])
        return logits.float()

    def check_blocks(self, network: StagedNetwork) -> None:
        """Whether each block of a student can be fed with what the teacher's block before it gives.

        Raises:
            UsageError: It cannot.
        """
        size = self._preprocessing.crop
        own = _shapes(network, size)
        with torch.no_grad():
            known = [each.shape for each in self(torch.zeros(1, 3, size, size, dtype=torch.uint8))]
        if own != known:
            raise UsageError(
                f"The blocks of {network.name} give activations of other sizes than the teacher's.",
                "Block-wise epochs need a teacher with the same blocks, such as one of the same architecture.",
                "Choose such a teacher, or leave the block-wise epochs out.",
            )

    def _strides(self) -> list[int | None]:
        generator = torch.Generator().manual_seed(0)
        size = self._preprocessing.crop
        noise = torch.randint(0, 256, (1, 3, size, size), dtype=torch.uint8, generator=generator)
        given = to_input(noise, self._preprocessing, self._device)
        strides = []
        with torch.no_grad():
            for block in self.blocks:
                found = block(given)
                strides.append(stride_of(block, given, found))
                given = found
        return strides


def open_teacher(
    name: str,
    preprocessing: Preprocessing,
    device: torch.device,
    stop: Callable[[], bool],
    classes: Sequence[str] = (),
) -> Generator[Event, None, Teacher]:
    """The teacher that a setting names.

    Args:
        name: ``backbone:NAME`` or ``run:NAME``.
        preprocessing: Of the student; the teacher keeps its own mean and deviation.
        device: Where to compute.
        stop: Asked while weights are downloaded.
        classes: Those that it must answer with, in order; none where only its features are asked for.

    Raises:
        UserError: There is no such network, its weights cannot be had, or it answers with other classes.
        Interrupted: ``stop`` said so.
    """
    start = source.named(name)
    yield from source.fetched(start, stop)
    own = dataclasses.replace(start.preprocessing, resize=preprocessing.resize, crop=preprocessing.crop)
    if classes:
        start.check_answers(classes, own.crop)
    network = start.network(own.crop)
    yield from start.load(network, head=bool(classes))
    return Teacher(network, own, device)


def imitation_of(network: StagedNetwork, teacher: Teacher, photos: Photos, seed: int) -> Imitation:
    """The maps from the network's activations to the teacher's, with the scale of those on some photos."""
    items = photos.train[:: max(1, len(photos.train) // _CALIBRATED)]
    loaded = [load_view(photos.store, item, view=0, augmentation=PLAIN, seed=seed) for item in items]
    batches = torch.split(torch.stack(loaded), _BATCH)
    known = [torch.cat(parts).cpu() for parts in zip(*map(_chosen_of(teacher), batches), strict=True)]
    shapes = _shapes(network, loaded[0].shape[-1])
    own = [torch.empty(shapes[number]) for number in compared(blocks_of(network))]
    alike = [each.shape[1:] for each in own] == [each.shape[1:] for each in known]
    own, known = _paired(own, known)
    with GENERATOR_LOCK:
        torch.manual_seed(seed)
        imitation = Imitation(
            [(None if alike else one.shape[1], two.shape[1]) for one, two in zip(own, known, strict=True)]
        )
    imitation.calibrate(known)
    return imitation


def imitate(
    network: StagedNetwork,
    imitation: Imitation,
    teacher: Teacher,
    *,
    weight: float,
    precision: torch.dtype,
    label_loss: LabelLoss = CROSS_ENTROPY,
) -> Objective:
    """The loss of the labels plus ``weight`` times the distance to the teacher's activations."""
    blocks = blocks_of(network)
    numbers, known_of = compared(blocks), _chosen_of(teacher)

    def objective(rows: Tensor, boundary: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        known = known_of(rows)
        with autocast(boundary.device, precision):
            found = activations(blocks, boundary)
            logits: Tensor = network.head(found[-1])
        logits = logits.float()
        loss = label_loss(logits, labels)
        distance = imitation(*_paired([found[number] for number in numbers], known))
        return loss + weight * distance.sum(), logits

    return objective


def follow(objective: Objective, teacher: Teacher, *, share: float, label_loss: LabelLoss) -> Objective:
    """An objective in which ``share`` of the labels' loss gives way to the distance to the teacher's answers."""

    def followed(rows: Tensor, boundary: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        loss, logits = objective(rows, boundary, labels)
        apart = answers_apart(logits, teacher.answers(rows))
        return loss + share * (apart - label_loss(logits, labels)), logits

    return followed


def imitate_blocks(
    network: StagedNetwork,
    imitation: Imitation,
    teacher: Teacher,
    *,
    weight: float,
    precision: torch.dtype,
    label_loss: LabelLoss = CROSS_ENTROPY,
) -> Objective:
    """The same with each block, and the head, fed by what the teacher's block before it gives.

    Each learns as a shallow network of its own then, which takes a fraction of the steps (Wang et al. 2018,
    "Progressive Blockwise Knowledge Distillation"). Blocks that can are run on a random window of their input, which
    costs less and teaches as much: a map's places are much alike.
    """
    blocks, hints = blocks_of(network), imitation.each()
    numbers = compared(blocks)

    def distance(number: int, given: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        stride = teacher.strides[number]
        if stride is None:
            return blocks[number](given), known
        window = random_window(known, stride)
        return window.inside(blocks[number](window.of_input(given))), window.of_output(known)

    def objective(rows: Tensor, boundary: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        known = teacher(rows)
        given = [boundary, *known]
        with autocast(boundary.device, precision):
            logits: Tensor = network.head(known[-1])
            found = [distance(number, given[number], known[number]) for number in numbers]
        distances = [hint(*each) for hint, each in zip(hints, found, strict=True)]
        logits = logits.float()
        loss = label_loss(logits, labels)
        return loss + weight * torch.stack(distances).mean(0).sum(), logits

    return objective


def _chosen_of(teacher: Teacher) -> Callable[[Tensor], list[Tensor]]:
    """The teacher's activations that are compared."""
    numbers = compared(teacher.blocks)

    def known(photos: Tensor) -> list[Tensor]:
        found = teacher(photos)
        return [found[number] for number in numbers]

    return known


def _shapes(network: StagedNetwork, size: int) -> list[torch.Size]:
    """Of the activations of each block for one photo, (1, …)."""
    network.eval()
    device = next(network.parameters()).device
    with torch.no_grad():
        found = activations(blocks_of(network), torch.zeros(1, 3, size, size, device=device))
    return [each.shape for each in found]


def _paired(student: list[Tensor], teacher: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """The activations of both that are compared."""
    student, teacher = _vector_last(student), _vector_last(teacher)
    chosen = pairs([each.shape[1:] for each in student], [each.shape[1:] for each in teacher])
    return [student[number] for number, _ in chosen], [teacher[number] for _, number in chosen]


def _vector_last(found: list[Tensor]) -> list[Tensor]:
    """The last activations as one vector per photo, (B, C)."""
    last = found[-1]
    return [*found[:-1], last.mean((2, 3)) if last.ndim == 4 else last.flatten(1)]
