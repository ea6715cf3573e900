"""What a training makes small: the labels' loss, or that and the distance to a teacher's features, and penalties.

Knows nothing of batches, optimisers or files.
"""

from __future__ import annotations

import copy
from collections.abc import Generator, Iterator, Sequence

from tl_app.backbones.staged import StagedNetwork
from tl_app.engine import checkpoints
from tl_app.engine.epoch import Training
from tl_app.engine.penalties import Penalised, Strengths
from tl_app.engine.step import Objective, classify
from tl_app.engine.teacher import follow, imitate, imitate_blocks, imitation_of, open_teacher
from tl_app.events import Event, Notice
from tl_app.transfer import regularisers
from tl_app.transfer.recipes import Phase


def meet_teacher(training: Training, classes: Sequence[str]) -> Generator[Event, None, None]:
    """Opens the teacher; a run without a checkpoint gets its map to the teacher's features here."""
    config, device, photos = training.config, training.device, training.photos
    answering = classes if config.soft_labels else ()
    training.teacher = yield from open_teacher(
        config.teacher, photos.store.preprocessing, device, training.stop, answering
    )
    if config.blockwise_epochs:
        training.teacher.check_blocks(training.network)
    if training.imitation is None and config.imitation:
        found = imitation_of(training.network, training.teacher, photos, config.seed)
        training.imitation = found.to(device)


def unused(training: Training) -> Iterator[Notice]:
    """Says which settings act on the backbone alone when only the head is trained."""
    config, stages = training.config, len(training.network.stages)
    if config.soft_labels == 1 and (config.label_smoothing or training.label_loss.weights is not None):
        yield Notice(
            "All of the labels are the teacher's answers, so label smoothing and class weights have no effect.",
            "warning",
        )
    if any(phase.frozen_stages < stages for phase in training.phases):
        return
    idle = {
        "L2-SP": config.l2_sp,
        "the feature distance": config.feature_distance,
        "BSS": config.bss,
        "changing early layers less": config.layer_decay < 1,
    }
    names = [name for name, used in idle.items() if used]
    if names:
        yield Notice(
            f"Only the head is trained, so these have no effect: {', '.join(names)}. Unfreeze stages to use them.",
            "warning",
        )


def objective_of(training: Training, phase: Phase) -> Objective:
    """What the phase makes small."""
    objective, config = _learnt(training, phase), training.config
    strengths = Strengths(
        config.l2_sp * regularisers.L2_SP,
        config.feature_distance * regularisers.FEATURE_DISTANCE,
        config.bss * regularisers.BSS,
    )
    # With the head alone trained, penalties of the backbone have nothing to act on.
    if strengths == Strengths() or phase.frozen_stages == len(training.network.stages):
        return objective
    return Penalised(
        objective,
        training.network,
        phase.frozen_stages,
        strengths,
        precision=training.precision,
        source=_source(training) if strengths.l2_sp or strengths.feature_distance else None,
    )


def _source(training: Training) -> StagedNetwork:
    """The network as it was when training started; with a copied start its backbone is the source's."""
    source = copy.deepcopy(training.network)
    checkpoints.load_weights(training.folder / checkpoints.START, source)
    return source.requires_grad_(False).eval()


def _learnt(training: Training, phase: Phase) -> Objective:
    """The labels' loss, and the distances to the teacher's features and answers."""
    config, teacher = training.config, training.teacher
    objective = _imitated(training, phase)
    if teacher is None or not config.soft_labels or phase.blockwise:
        return objective
    return follow(objective, teacher, share=config.soft_labels, label_loss=training.label_loss)


def _imitated(training: Training, phase: Phase) -> Objective:
    """The labels' loss, or that and the distance to the teacher's features."""
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
