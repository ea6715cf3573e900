"""The training loop: a generator of events that leaves its checkpoints in the run folder.

``set up → for each phase: for each epoch: steps, evaluation, checkpoint``. Readers (page, command line, notebook)
consume the events; the loop knows none of them, and never yields inside ``inference_mode`` or ``autocast``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Literal

from tl_app.backbones.catalogue import get_backbone
from tl_app.config import TrainConfig
from tl_app.data.index import DatasetIndex
from tl_app.data.store import Preprocessing
from tl_app.engine import checkpoints, setup
from tl_app.engine.checkpoints import LAST, START, Position
from tl_app.engine.device import move, precision_name, resolve_device, resolve_precision
from tl_app.engine.epoch import NotFinite, Training, run_epoch, save
from tl_app.errors import DivergedError
from tl_app.events import Event, Finished, Notice, PhaseStarted, RolledBack
from tl_app.files import remove_leftovers
from tl_app.transfer.freezing import set_depth
from tl_app.transfer.optimisers import build_optimizer
from tl_app.transfer.recipes import plan


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
    device = resolve_device(config.device)
    precision = resolve_precision(config.precision, device)
    remove_leftovers(folder)
    position = checkpoints.read_position(folder / LAST)
    if position is None:
        yield Notice(setup.describe(get_backbone(config.backbone), config))
        network = yield from setup.start_network(config, len(index.classes), stop)
        checkpoints.save_weights(folder / START, network)
    else:
        network = setup.empty_network(config, len(index.classes))
        checkpoints.load_weights(folder / START, network)
        checkpoints.load_weights(folder / LAST, network)
        yield RolledBack(position.step, position.epoch, "resumed")
    store, train_items, val_items = yield from setup.read_photos(index, preprocessing, stop)
    move(network, device)
    training = Training(
        config=config,
        network=network,
        store=store,
        train_items=train_items,
        val_items=val_items,
        phases=plan(config),
        device=device,
        precision=precision,
        folder=folder,
        stop=stop,
        position=position or Position(),
    )
    if position is None:
        _enter(training, 0)
        yield save(training)
    return training


def _run_phase(training: Training, phase: int) -> Generator[Event, None, bool]:
    """All remaining epochs of a phase; returns False when it was stopped."""
    _enter(training, phase)
    yield _phase_started(training, phase)
    while training.position.epoch < training.first_epoch(phase + 1):
        try:
            if not (yield from run_epoch(training, phase)):
                return False
        except NotFinite:
            yield _roll_back(training)
            _enter(training, phase)
    return True


def _enter(training: Training, number: int) -> None:
    """Freezes to the phase's depth and builds its optimiser, with its saved state when there is one."""
    phase, network, position = training.phases[number], training.network, training.position
    set_depth(network, phase.frozen_stages)
    training.optimizer = build_optimizer(
        training.config.optimizer,
        network.net,
        network.head,
        lr_head=phase.lr_head,
        lr_backbone=phase.lr_backbone,
        weight_decay=training.config.weight_decay,
    )
    if position.phase == number:
        checkpoints.load_optimizer(training.folder / LAST, network, training.optimizer)
    position.phase, position.depth = number, min(position.depth, phase.frozen_stages)


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
    restored = checkpoints.read_position(training.folder / LAST)
    assert restored is not None
    restored.seconds, restored.lr_scale = training.tick(), 0.5
    training.position = restored
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
        precision=precision_name(training.precision),
    )


def _finished(training: Training, reason: Literal["completed", "stopped"]) -> Finished:
    position, seconds = training.position, training.tick()
    photos = position.epoch * len(training.train_items) + position.seen
    return Finished(
        reason=reason,
        best_epoch=position.best_epoch,
        val_accuracy=position.best_accuracy if position.best_epoch else None,
        val_loss=position.best_loss if position.best_epoch else None,
        seconds=seconds,
        images_per_second=photos / max(1e-9, seconds),
    )
