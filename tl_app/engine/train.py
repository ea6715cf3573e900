"""The training loop: a generator of events that leaves its checkpoints in the run folder.

``set up → for each phase: for each epoch: steps, evaluation, checkpoint``. Readers (page, command line, notebook)
consume the events; the loop knows none of them, and never yields inside ``inference_mode`` or ``autocast``.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Generator, Iterator, Sequence
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
from tl_app.engine.filling import Stores
from tl_app.engine.frozen import Frozen
from tl_app.engine.handover import begin_average, goes_on, leave_phase
from tl_app.engine.inputs import Inputs, Sampling, from_photos
from tl_app.engine.labels import augmentation_of, label_loss_of, mixing_notices
from tl_app.engine.objective import meet_teacher, objective_of, unused
from tl_app.engine.soup import make_soup
from tl_app.errors import DivergedError, Interrupted
from tl_app.events import Event, Finished, Notice, PhaseStarted, RolledBack
from tl_app.files import remove_leftovers
from tl_app.memory import keep_memory
from tl_app.transfer.extensions import Extension, first_of, phases_of
from tl_app.transfer.freezing import set_depth, train_mode
from tl_app.transfer.heads import Cosine, first_linear, fold_standard
from tl_app.transfer.optimisers import build_optimizer
from tl_app.transfer.standardise import Standardise, measured


def train(
    config: TrainConfig,
    index: DatasetIndex,
    preprocessing: Preprocessing,
    folder: Path,
    *,
    extensions: Sequence[Extension] = (),
    stop: Callable[[], bool] = lambda: False,
    finish: Callable[[], bool] = lambda: False,
) -> Iterator[Event]:
    """Trains, or goes on where the checkpoints in ``folder`` stand.

    Args:
        config: Settings without gaps, from :func:`tl_app.engine.setup.resolve`.
        index: The photos with their labels and splits.
        preprocessing: From ``resolve`` too.
        folder: Where checkpoints are kept; it exists.
        extensions: What is trained after the recipe's phases.
        stop: Asked before every batch; true ends training in good order with the best model kept.
        finish: Asked once it was stopped; true makes the run complete as it is.

    Yields:
        Events; the last one is :class:`Finished`.

    Raises:
        UserError: Photos, weights, memory or disk do not suffice, or training diverged twice.
    """
    training = yield from _set_up(config, index, preprocessing, folder, extensions, stop)
    reason: Literal["completed", "stopped"] = "completed"
    for phase in range(len(training.phases)):
        if training.position.epoch < training.first_epoch(phase + 1):
            if not (yield from _run_phase(training, phase)):
                if finish():
                    training.stop = lambda: False  # what is left is quick, and wanted
                else:
                    reason = "stopped"
                with contextlib.suppress(NotFinite):  # then the last good checkpoint is what to go on from
                    yield save(training)
                break
    if reason == "completed" and training.config.soup and not (yield from _add_soup(training)):
        reason = "stopped"
    yield _finished(training, reason)


def first_phase(
    config: TrainConfig,
    index: DatasetIndex,
    preprocessing: Preprocessing,
    folder: Path,
    stop: Callable[[], bool],
) -> Generator[Event, None, Training]:
    """A training that stands before its very first step; arguments and errors as for :func:`train`."""
    training = yield from _set_up(config, index, preprocessing, folder, (), stop)
    yield from _enter(training, 0)
    return training


def _set_up(
    config: TrainConfig,
    index: DatasetIndex,
    preprocessing: Preprocessing,
    folder: Path,
    extensions: Sequence[Extension],
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
        phases=phases_of(config, len(network.stages), extensions),
        device=device,
        folder=folder,
        stop=stop,
        classes=len(index.classes),
        standard=standard.to(device) if standard is not None else None,
        imitation=imitation.to(device) if imitation is not None else None,
        position=position or Position(),
    )
    training.label_loss, training.balanced = yield from label_loss_of(training)
    if config.teacher:
        yield from meet_teacher(training, index.classes)
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
                yield _roll_back(training, phase)
    return True


def _add_soup(training: Training) -> Generator[Event, None, bool]:
    """Averages the best epochs where that gains; returns False when it was stopped."""
    if training.inputs is None:  # resumed after the last step
        yield from _enter(training, len(training.phases) - 1)
    return (yield from make_soup(training))


def _enter(training: Training, number: int) -> Generator[Event, None, None]:
    """Freezes to the phase's depth, computes what stays the same in it, and builds its optimiser."""
    phase, network, position = training.phases[number], training.network, training.position
    if not goes_on(training, number):
        leave_phase(training, phase.frozen_stages)
    set_depth(network, phase.frozen_stages)
    training.inputs = yield from _inputs(training, number)
    yield from mixing_notices(
        training.inputs.kept, mixup=training.config.mixup, cutmix=training.config.cutmix
    )
    _, suffix = split(network, phase.frozen_stages)
    training.suffix = suffix
    training.precision = torch.float32
    if phase.frozen_stages < len(network.stages):
        training.precision = training_precision(training.config.precision, training.device, suffix)
    else:
        yield from _standardise(training)
    fresh = not position.step
    if prototypes := network.classifier if fresh and isinstance(network.classifier, Cosine) else None:
        yield from _start_prototypes(training, phase.frozen_stages, prototypes)
    training.objective = objective_of(training, phase)
    _build_optimizer(training, number)  # and the running average, which begins as a copy of the weights
    position.phase, position.depth = number, min(position.depth, phase.frozen_stages)
    train_mode(network, phase.frozen_stages, keep_statistics=training.config.batchnorm == "keep")
    if prototypes:
        yield save(training)  # so that a rollback finds them


def _inputs(training: Training, number: int) -> Generator[Event, None, Inputs]:
    """What the phase's suffix is fed; the choice is saved before any work is done for it."""
    config, phase = training.config, training.phases[number]
    position, device = training.position, training.device
    # With those of the phase that this one goes on with: it draws from the same views, or from new ones.
    views = range(training.first_epoch(first_of(training.phases, number)), training.first_epoch(number + 1))
    epochs = len(views)
    sampling = Sampling(
        training.batch_size,
        augmentation_of(config),
        config.seed,
        views,
        device=device,
        balanced=training.balanced,
        sides=phase.sides,
        first_epoch=training.first_epoch(number),
    )
    photos, k = training.photos, phase.frozen_stages
    if k == 0:
        preprocessing = photos.store.preprocessing
        return from_photos(photos, sampling, lambda images: to_input(images, preprocessing, device))
    known = Plan.stored(position.plan) if goes_on(training, number) else None
    part = Frozen(
        training.network,
        k,
        photos,
        sampling,
        device,
        config.precision,
        stop=training.stop,
        chosen=known.form if known else None,
    )
    stores = Stores(part)
    if known is None or position.phase != number:
        known = yield from activations.choose(stores, epochs=epochs, asked=config.views, mode=config.cache)
    position.plan = dataclasses.asdict(known)
    return (yield from activations.inputs(stores, known))


def _standardise(training: Training) -> Generator[Event, None, None]:
    """Puts standardised features in front of a head that begins with a linear layer."""
    assert training.suffix is not None
    if first_linear(training.network) is None:
        return
    if training.standard is None:
        training.standard = yield from with_progress(
            "measuring features", "photos", lambda report: _measured(training, report)
        )
    training.suffix = nn.Sequential(nn.Flatten(1), training.standard, training.suffix)


def _measured(training: Training, report: Report) -> Standardise:
    depth = len(training.network.stages)
    assert training.inputs is not None
    with one_thread(training.inputs.pooled and training.device.type == "cpu"):
        return measured(features for features, _ in _features(training, depth, report)).to(training.device)


def _start_prototypes(training: Training, depth: int, head: Cosine) -> Generator[Event, None, None]:
    """Lets a fresh cosine head begin with the mean feature of each class."""
    yield from with_progress(
        "measuring features",
        "photos",
        lambda report: head.start_from(lambda: _features(training, depth, report)),
    )


def _features(training: Training, depth: int, report: Report) -> Iterator[tuple[Tensor, Tensor]]:
    """What the head is given for each training photo, with labels, by the stages as they are."""
    network, inputs, done = training.network, training.inputs, 0
    assert inputs is not None
    between = nn.Sequential(*(stage.module for stage in network.stages[depth:])).eval()
    for rows, labels in inputs.train(training.position.epoch, 0):  # the phase's first
        if training.stop():
            raise Interrupted("Measuring the features was stopped.")
        done += len(rows)
        report(done, len(training.photos.train))
        with torch.inference_mode():
            features = between(inputs.to_boundary(rows))
        yield features, labels


def _build_optimizer(training: Training, number: int) -> None:
    """The phase's optimiser, with its saved state when there is one for these parameters."""
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
    if goes_on(training, number):
        checkpoints.load_optimizer(
            training.folder / LAST, training.network, training.imitation, training.optimizer
        )
    begin_average(training, number)


def _roll_back(training: Training, number: int) -> RolledBack:
    """Restores the last good checkpoint, which may be of the phase before, at half the learning rate.

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
    standard = checkpoints.load_standard(training.folder / LAST)
    if standard is not None and training.standard is None:
        fold_standard(training.network, standard.to(training.device))
    restored.seconds, restored.lr_scale, plan = training.tick(), 0.5, training.position.plan
    training.position = restored
    if not goes_on(training, number):
        restored.begin_epoch()
    training.unsaved.clear()
    _build_optimizer(training, number)
    restored.phase, restored.plan = number, plan
    restored.depth = min(restored.depth, training.phases[number].frozen_stages)
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
        continues=phase.continues,
        total_steps=_total_steps(training),
    )


def _total_steps(training: Training) -> int:
    """Steps done when all epochs are; more than those of whole epochs after an epoch that was left half done."""
    position = training.position
    epochs = training.first_epoch(len(training.phases)) - position.epoch
    return position.step - position.step_in_epoch + epochs * training.steps_per_epoch


def _precision(training: Training, number: int) -> str:
    """Of the stages that most of the time goes into: the frozen ones when only the head is trained."""
    only_head = training.phases[number].frozen_stages == len(training.network.stages)
    known = Plan.stored(training.position.plan) if only_head else None
    return known.form.precision if known else precision_name(training.precision)


def _finished(training: Training, reason: Literal["completed", "stopped"]) -> Finished:
    position, seconds, per_epoch = training.position, training.tick(), len(training.photos.train)
    return Finished(
        reason=reason,
        best_epoch=position.best_epoch,
        val_accuracy=position.best_accuracy if position.best_epoch else None,
        val_loss=position.best_loss if position.best_epoch else None,
        seconds=seconds,
        images_per_second=(position.epoch * per_epoch + position.seen) / max(1e-9, seconds),
    )
