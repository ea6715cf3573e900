"""The training loop: a generator of events that leaves its checkpoints in the run folder.

``set up → for each phase: for each epoch: steps, evaluation, checkpoint``. Readers (page, command line, notebook)
consume the events; the loop knows none of them, and never yields inside ``inference_mode`` or ``autocast``.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from tl_app.backbones.catalogue import get_backbone
from tl_app.backbones.staged import split
from tl_app.config import TrainConfig
from tl_app.data.index import DatasetIndex
from tl_app.data.store import Preprocessing
from tl_app.engine import activations, checkpoints, setup
from tl_app.engine.activations import Plan
from tl_app.engine.background import Report, with_progress
from tl_app.engine.checkpoints import LAST, START, Position
from tl_app.engine.device import (
    move,
    one_thread,
    precision_name,
    resolve_device,
    resolve_precision,
    training_precision,
)
from tl_app.engine.epoch import NotFinite, Training, run_epoch, save
from tl_app.engine.evaluate import to_input
from tl_app.engine.frozen import Frozen
from tl_app.engine.inputs import Inputs, Sampling, from_photos
from tl_app.engine.objective import meet_teacher, objective_of, unused
from tl_app.errors import DivergedError, Interrupted
from tl_app.events import Event, Finished, Notice, PhaseStarted, RolledBack
from tl_app.files import remove_leftovers
from tl_app.memory import keep_memory
from tl_app.transfer.freezing import set_depth
from tl_app.transfer.optimisers import build_optimizer
from tl_app.transfer.recipes import plan
from tl_app.transfer.standardise import Standardise, fold, measured


def train(
    config: TrainConfig,
    index: DatasetIndex,
    preprocessing: Preprocessing,
    folder: Path,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Event]:
    """Trains, or goes on where the checkpoints in ``folder`` stand.

    Args:
        config: Settings without gaps, from :func:`tl_app.engine.setup.resolve`.
        index: The photos with their labels and splits.
        preprocessing: From ``resolve`` too.
        folder: Where checkpoints are kept; it exists.
        stop: Asked before every batch; true ends training in good order with the best model kept.

    Yields:
        Events; the last one is :class:`Finished`.

    Raises:
        UserError: Photos, weights, memory or disk do not suffice, or training diverged twice.
    """
    training = yield from _set_up(config, index, preprocessing, folder, stop)
    reason: Literal["completed", "stopped"] = "completed"
    for phase in range(len(training.phases)):
        if training.position.epoch < training.first_epoch(phase + 1):
            if not (yield from _run_phase(training, phase)):
                reason = "stopped"
                with contextlib.suppress(NotFinite):  # then the last good checkpoint is what to go on from
                    yield save(training)
                break
    yield _finished(training, reason)


def _set_up(
    config: TrainConfig,
    index: DatasetIndex,
    preprocessing: Preprocessing,
    folder: Path,
    stop: Callable[[], bool],
) -> Generator[Event, None, Training]:
    """Network, photos and position; a run without a checkpoint gets its first one here."""
    keep_memory()
    device = resolve_device(config.device)
    resolve_precision(config.precision, device)
    remove_leftovers(folder)
    position = checkpoints.read_position(folder / LAST)
    standard = imitation = None
    if position is None:
        yield Notice(setup.describe(get_backbone(config.backbone), config))
        network = yield from setup.start_network(config, len(index.classes), stop)
        checkpoints.save_weights(folder / START, checkpoints.weights(network))
    else:
        network = setup.empty_network(config, len(index.classes))
        checkpoints.load_weights(folder / START, network)
        checkpoints.load_weights(folder / LAST, network)
        standard = checkpoints.load_standard(folder / LAST)
        imitation = checkpoints.load_imitation(folder / LAST)
        yield RolledBack(position.step, position.epoch, "resumed")
    photos = yield from setup.read_photos(index, preprocessing, stop)
    move(network, device)
    training = Training(
        config=config,
        network=network,
        photos=photos,
        phases=plan(config, len(network.stages)),
        device=device,
        folder=folder,
        stop=stop,
        standard=standard.to(device) if standard is not None else None,
        imitation=imitation.to(device) if imitation is not None else None,
        position=position or Position(),
    )
    if config.teacher:
        yield from meet_teacher(training)
    if position is None:
        yield from unused(training)
        yield save(training)
    return training


def _run_phase(training: Training, phase: int) -> Generator[Event, None, bool]:
    """All remaining epochs of a phase; returns False when it was stopped."""
    yield from _enter(training, phase)
    assert training.inputs is not None
    yield _phase_started(training, phase)
    with one_thread(training.inputs.pooled and training.device.type == "cpu"):
        while training.position.epoch < training.first_epoch(phase + 1):
            try:
                if not (yield from run_epoch(training, phase)):
                    return False
            except NotFinite:
                yield _roll_back(training)
                _build_optimizer(training, phase)
    return True


def _enter(training: Training, number: int) -> Generator[Event, None, None]:
    """Freezes to the phase's depth, computes what stays the same in it, and builds its optimiser."""
    phase, network, position = training.phases[number], training.network, training.position
    if position.phase != number and training.standard is not None:
        assert isinstance(network.classifier, nn.Linear)
        fold(network.classifier, training.standard)
        training.standard = None
    set_depth(network, phase.frozen_stages)
    training.inputs = yield from _inputs(training, number)
    _, suffix = split(network, phase.frozen_stages)
    training.suffix = suffix
    training.precision = torch.float32
    if phase.frozen_stages < len(network.stages):
        training.precision = training_precision(training.config.precision, training.device, suffix)
    else:
        yield from _standardise(training)
    training.objective = objective_of(training, phase)
    _build_optimizer(training, number)
    position.phase, position.depth = number, min(position.depth, phase.frozen_stages)


def _inputs(training: Training, number: int) -> Generator[Event, None, Inputs]:
    """What the phase's suffix is fed; the choice is saved before any work is done for it."""
    config, phase, position, device = (
        training.config,
        training.phases[number],
        training.position,
        training.device,
    )
    sampling = Sampling(
        training.batch_size, config.augmentation, config.seed, phase.epochs, pinned=device.type == "cuda"
    )
    photos, k = training.photos, phase.frozen_stages
    if k == 0:
        preprocessing = photos.store.preprocessing
        return from_photos(photos, sampling, lambda images: to_input(images, preprocessing, device))
    known = Plan.stored(position.plan) if position.phase == number else None
    part = Frozen(
        training.network,
        k,
        photos,
        sampling,
        device,
        config.precision,
        images=len(photos.train) * phase.epochs + len(photos.val),
        stop=training.stop,
        chosen=known.form if known else None,
    )
    if known is None:
        known = yield from activations.choose(
            part, epochs=phase.epochs, asked=config.views, mode=config.cache
        )
    position.plan = dataclasses.asdict(known)
    return (yield from activations.inputs(part, known))


def _standardise(training: Training) -> Generator[Event, None, None]:
    """Puts standardised features in front of a head that is a linear layer over a feature vector."""
    inputs, network = training.inputs, training.network
    assert inputs is not None and training.suffix is not None
    if not isinstance(network.classifier, nn.Linear) or network.classifier.bias is None:
        return
    if training.standard is None:
        training.standard = yield from with_progress(
            "measuring features", "photos", lambda report: _measured(training, report)
        )
    training.suffix = nn.Sequential(training.standard, training.suffix)


def _measured(training: Training, report: Report) -> Standardise:
    inputs, total = training.inputs, len(training.photos.train)
    assert inputs is not None

    def features() -> Iterator[Tensor]:
        done = 0
        for rows, _ in inputs.train(0, 0):
            if training.stop():
                raise Interrupted("Measuring the features was stopped.")
            done += len(rows)
            report(done, total)
            with torch.inference_mode():
                yield inputs.to_boundary(rows)

    return measured(features()).to(training.device)


def _build_optimizer(training: Training, number: int) -> None:
    """The phase's optimiser, with its saved state when there is one."""
    phase, config = training.phases[number], training.config
    beside = [training.imitation] if training.imitation is not None else []
    training.optimizer = build_optimizer(
        config.optimizer,
        nn.ModuleList([training.network.net, *beside]),
        nn.ModuleList([training.network.head, *beside]),
        lr_head=phase.lr_head,
        lr_backbone=phase.lr_backbone,
        weight_decay=config.weight_decay,
        backbone_decays=config.l2_sp == 0,  # which pulls to the source in its place
        stages=[stage.module for stage in training.network.stages],
        layer_decay=config.layer_decay,
    )
    if training.position.phase == number:
        checkpoints.load_optimizer(
            training.folder / LAST, training.network, training.imitation, training.optimizer
        )


def _roll_back(training: Training) -> RolledBack:
    """Restores the last good checkpoint at half the learning rate.

    Raises:
        DivergedError: The rate was halved before.
    """
    if training.position.lr_scale < 1:
        raise DivergedError(
            "Training diverged: the loss is not a number, also at half the learning rate.",
            remedy="Start again with a learning rate ten times smaller, or freeze more stages.",
        )
    # Stages that this phase was the first to train are in the start weights alone.
    checkpoints.load_weights(training.folder / START, training.network)
    checkpoints.load_weights(training.folder / LAST, training.network)
    if training.imitation is not None:
        known = checkpoints.load_imitation(training.folder / LAST)
        assert known is not None
        training.imitation.load_state_dict(known.state_dict())
    restored = checkpoints.read_position(training.folder / LAST)
    assert restored is not None
    restored.seconds, restored.lr_scale = training.tick(), 0.5
    training.position, training.best = restored, None
    return RolledBack(restored.step, restored.epoch, "the loss was not a number; the learning rate is halved")


def _phase_started(training: Training, number: int) -> PhaseStarted:
    phase, parameters = training.phases[number], list(training.network.parameters())
    return PhaseStarted(
        phase=number,
        phases=len(training.phases),
        frozen_stages=phase.frozen_stages,
        epochs=phase.epochs,
        steps_per_epoch=training.steps_per_epoch,
        first_epoch=training.first_epoch(number),
        total_epochs=training.first_epoch(len(training.phases)),
        lr_head=phase.lr_head,
        lr_backbone=phase.lr_backbone,
        batch_size=training.batch_size,
        trainable_parameters=sum(p.numel() for p in parameters if p.requires_grad),
        total_parameters=sum(p.numel() for p in parameters),
        device=str(training.device),
        precision=_precision(training, number),
    )


def _precision(training: Training, number: int) -> str:
    """Of the stages that most of the time goes into: the frozen ones when only the head is trained."""
    only_head = training.phases[number].frozen_stages == len(training.network.stages)
    known = Plan.stored(training.position.plan) if only_head else None
    return known.form.precision if known else precision_name(training.precision)


def _finished(training: Training, reason: Literal["completed", "stopped"]) -> Finished:
    position, seconds = training.position, training.tick()
    photos = position.epoch * len(training.photos.train) + position.seen
    return Finished(
        reason=reason,
        best_epoch=position.best_epoch,
        val_accuracy=position.best_accuracy if position.best_epoch else None,
        val_loss=position.best_loss if position.best_epoch else None,
        seconds=seconds,
        images_per_second=photos / max(1e-9, seconds),
    )
