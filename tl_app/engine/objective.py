"""What a training makes small: the labels' loss, or that and the distance to a teacher's features.

Knows nothing of batches, optimisers or files.
"""

from __future__ import annotations

from collections.abc import Generator

from tl_app.engine.epoch import Training
from tl_app.engine.step import Objective, classify
from tl_app.engine.teacher import imitate, imitate_blocks, imitation_of, open_teacher
from tl_app.events import Event
from tl_app.transfer.recipes import Phase


def meet_teacher(training: Training) -> Generator[Event, None, None]:
    """Opens the teacher; a run without a checkpoint gets its map to the teacher's features here."""
    config, device, photos = training.config, training.device, training.photos
    preprocessing = photos.store.preprocessing
    training.teacher = yield from open_teacher(config.teacher, preprocessing, device, training.stop)
    if config.blockwise_epochs:
        training.teacher.check_blocks(training.network)
    if training.imitation is None:
        found = imitation_of(training.network, training.teacher, photos, config.seed)
        training.imitation = found.to(device)


def objective_of(training: Training, phase: Phase) -> Objective:
    """What the phase makes small."""
    if training.teacher is None or training.imitation is None:
        assert training.suffix is not None
        return classify(training.suffix, training.precision, training.label_loss)
    imitated = imitate_blocks if phase.blockwise else imitate
    return imitated(
        training.network,
        training.imitation,
        training.teacher,
        weight=training.config.imitation,
        precision=training.precision,
        label_loss=training.label_loss,
    )
