"""One epoch: the optimiser steps over all training photos, then the evaluation of the validation photos.

Knows nothing of phases before or after, of run folders, or of what happens when the loss is not finite.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from tl_app.backbones.staged import GENERATOR_LOCK, StagedNetwork
from tl_app.config import TrainConfig
from tl_app.data.mixing import mixed
from tl_app.engine import checkpoints
from tl_app.engine.batches import cut
from tl_app.engine.checkpoints import Position
from tl_app.engine.device import memory_bytes, seed_generator
from tl_app.engine.evaluate import Evaluation, evaluate
from tl_app.engine.inputs import Inputs, Photos, logits_of
from tl_app.engine.penalties import Penalised
from tl_app.engine.step import Objective, accumulate, within_memory
from tl_app.engine.teacher import Teacher
from tl_app.events import CheckpointSaved, EpochDone, Event, Notice, StepDone
from tl_app.transfer.averages import Average
from tl_app.transfer.distillation import Imitation
from tl_app.transfer.extensions import first_of
from tl_app.transfer.freezing import evaluation_mode
from tl_app.transfer.heads import first_linear
from tl_app.transfer.losses import CROSS_ENTROPY, LabelLoss
from tl_app.transfer.optimisers import clip_gradients, set_rates
from tl_app.transfer.recipes import Phase
from tl_app.transfer.schedules import lr_factor, rise_steps
from tl_app.transfer.standardise import Standardise, folded

CHECKPOINT_SECONDS = 60.0  # between checkpoints within an epoch
EPOCH_CHECKPOINT_SECONDS = 1.0  # between checkpoints at the ends of epochs: some last a few milliseconds
# Or as many for each second that the last one took: on a fast card a large network's may take as long as an epoch.
_PER_SECOND_OF_SAVING = 10
_REPORT_SECONDS = 0.25  # between looks at the loss, where a look waits for all work queued on the device


class NotFinite(Exception):
    """The loss is NaN or infinite."""


@dataclass
class Training:
    """One training under way: what stays, what belongs to the phase, and (last block) what moves."""

    config: TrainConfig
    network: StagedNetwork
    photos: Photos
    phases: Sequence[Phase]
    device: torch.device
    folder: Path
    stop: Callable[[], bool]
    classes: int
    balanced: bool = False  # whether epochs draw all classes equally often
    label_loss: LabelLoss = CROSS_ENTROPY

    inputs: Inputs | None = None
    suffix: nn.Module | None = None
    objective: Objective | None = None
    standard: Standardise | None = None
    teacher: Teacher | None = None
    imitation: Imitation | None = None
    optimizer: torch.optim.Optimizer | None = None
    average: Average | None = None
    precision: torch.dtype = torch.float32

    position: Position = field(default_factory=Position)
    unsaved: dict[str, dict[str, Tensor]] = field(
        default_factory=dict
    )  # best weights not on disk yet, by file
    clock: float = field(default_factory=time.monotonic)
    saved_at: float = field(default_factory=time.monotonic)
    saving_seconds: float = 0.0  # of the last checkpoint

    @property
    def batch_size(self) -> int:
        """Photos per step at most."""
        assert self.config.batch_size is not None
        return self.config.batch_size

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps per epoch."""
        return len(cut(len(self.photos.train), self.batch_size))

    def first_epoch(self, phase: int) -> int:
        """Epochs of all phases before this one."""
        return sum(earlier.epochs for earlier in self.phases[:phase])

    def as_model(self) -> contextlib.AbstractContextManager[None]:
        """The network holds what is evaluated and kept, the average where there is one, while the block lasts."""
        return self.average.applied() if self.average is not None else contextlib.nullcontext()

    def tick(self) -> float:
        """Adds the time since the last call to the run's training time; returns the sum, in seconds."""
        now = time.monotonic()
        self.position.seconds += now - self.clock
        self.clock = now
        return self.position.seconds


def run_epoch(training: Training, phase: int) -> Generator[Event, None, bool]:
    """Steps through the rest of an epoch, evaluates, and saves; returns False when it was stopped.

    Raises:
        NotFinite: The training or validation loss is NaN or infinite; nothing was saved since.
    """
    position, started, seen_before = training.position, time.monotonic(), training.position.seen
    if not (yield from _steps(training, phase)):
        return False
    rate = (position.seen - seen_before) / max(1e-9, time.monotonic() - started)
    result = _evaluated(training)
    if result is None:
        return False
    if not math.isfinite(result.loss):
        raise NotFinite
    done = _close(training, result, rate, time.monotonic() - started)
    yield done
    last = position.epoch == training.first_epoch(phase + 1)
    pause = EPOCH_CHECKPOINT_SECONDS * max(1.0, _PER_SECOND_OF_SAVING * training.saving_seconds)
    if last or time.monotonic() - training.saved_at >= pause:
        yield save(training)
    elif (name := checkpoints.best_name(done.epoch)) in training.unsaved:
        # Kept until the next checkpoint, while the network's own go on moving.
        training.unsaved[name] = {key: value.clone() for key, value in training.unsaved[name].items()}
    return True


def save(training: Training) -> CheckpointSaved:
    """Writes the checkpoint to go on from, and drops best checkpoints that it no longer names.

    Raises:
        NotFinite: A weight is NaN or infinite, whatever the loss was; the old checkpoint stays.
    """
    started = time.monotonic()
    _check_finite(training)
    training.tick()
    for name, tensors in training.unsaved.items():
        checkpoints.save_weights(training.folder / name, tensors)
    training.unsaved.clear()
    path = training.folder / checkpoints.LAST
    checkpoints.save_checkpoint(
        path,
        training.network,
        training.optimizer,
        training.position,
        training.standard,
        training.imitation,
        training.average.state() if training.average is not None else {},
    )
    checkpoints.remove_stale(training.folder, training.position)
    training.saved_at = time.monotonic()
    training.saving_seconds = training.saved_at - started
    return CheckpointSaved(training.position.step, training.position.epoch, f"{path.parent.name}/{path.name}")


def _evaluated(training: Training) -> Evaluation | None:
    assert training.inputs is not None and training.suffix is not None
    with evaluation_mode(training.suffix), training.as_model():
        return evaluate(
            logits_of(training.inputs, training.suffix, training.device, training.precision),
            training.inputs.val(),
            device=training.device,
            stop=training.stop,
        )


def _check_finite(training: Training) -> None:
    # What was trained before and is frozen by now was looked at then.
    trained = training.network if training.suffix is None else training.suffix
    if not checkpoints.is_finite(trained, training.optimizer):
        raise NotFinite


def _close(training: Training, result: Evaluation, rate: float, epoch_seconds: float) -> EpochDone:
    """Moves the position past the epoch and keeps the weights when they are the best so far."""
    _check_finite(training)
    position = training.position
    better = (result.accuracy, -result.loss) > (position.best_accuracy, -position.best_loss)
    done = EpochDone(
        epoch=position.epoch + 1,
        step=position.step,
        train_loss=position.loss_sum / position.seen,
        train_accuracy=position.correct / position.seen,
        val_loss=result.loss,
        val_accuracy=result.accuracy,
        is_best=better or position.best_epoch == 0,
        epoch_seconds=epoch_seconds,
        images_per_second=rate,
        memory_bytes=memory_bytes(training.device),
    )
    position.epoch = done.epoch
    position.begin_epoch()
    room = training.config.soup
    if position.keep(done.epoch, result.accuracy, result.loss, is_best=done.is_best, room=room):
        training.unsaved[checkpoints.best_name(done.epoch)] = model_so_far(training)
        for name in training.unsaved.keys() - position.kept_files:
            del training.unsaved[name]
    return done


def model_so_far(training: Training) -> dict[str, Tensor]:
    """What was trained so far, as it is used: averaged where it is, the head for features as they are; not copied."""
    with training.as_model(), folded(first_linear(training.network), training.standard):
        return checkpoints.weights(training.network, training.position.depth)


def _steps(training: Training, phase_number: int) -> Generator[Event, None, bool]:
    """The remaining optimiser steps of an epoch; returns False when it was stopped."""
    config, position, phase = training.config, training.position, training.phases[phase_number]
    assert training.inputs is not None
    steps = training.steps_per_epoch
    phase_step = (position.epoch - training.first_epoch(phase_number)) * steps
    left_out = rise_steps(config.schedule, phase.epochs * steps, config.warmup) if phase.continues else 0
    begun = training.first_epoch(first_of(training.phases, phase_number))  # where its average did
    losses = _Losses(training)
    for rows, labels in training.inputs.train(position.epoch, position.step_in_epoch):
        if training.stop():
            yield from losses.flush()
            return False
        factor = lr_factor(
            config.schedule,
            phase_step + position.step_in_epoch,
            phase.epochs * steps,
            warmup=config.warmup,
            left_out=left_out,
            drop_steps=config.step_epochs * steps if config.step_epochs else None,
            drop_factor=config.step_gamma,
        )
        factor *= position.lr_scale
        loss, correct = yield from _step(training, rows, labels, factor)
        if training.average is not None:
            training.average.update((position.epoch - begun) * steps + position.step_in_epoch - 1)
        losses.add(loss, correct, len(labels), phase.lr_head * factor)
        if losses.due():
            yield from losses.flush()
        if time.monotonic() - training.saved_at > CHECKPOINT_SECONDS:
            yield from losses.flush()
            yield save(training)
    yield from losses.flush()
    return True


def _step(
    training: Training, rows: Tensor, labels: Tensor, factor: float
) -> Generator[Event, None, tuple[Tensor, Tensor]]:
    """One optimiser step at ``factor`` times the base rates; returns the mean loss and the right answers."""
    config, position = training.config, training.position
    optimizer, inputs, objective = training.optimizer, training.inputs, training.objective
    assert optimizer is not None and inputs is not None and objective is not None
    set_rates(optimizer, factor)
    targets = labels.to(training.device, non_blocking=True)
    seed = _mixed(config.seed, position.step)

    def run(parts: int) -> tuple[Tensor, Tensor]:
        with GENERATOR_LOCK:
            seed_generator(seed, training.device)
            blended = mixed(rows, targets, mixup=config.mixup, cutmix=config.cutmix, classes=training.classes)
            if isinstance(objective, Penalised):
                seed_generator(seed, training.device)
                objective.look(inputs.to_boundary, *blended, parts=parts)
            # Dropout draws from (seed, step) alone, so that a resumed run, or another try, draws the same.
            seed_generator(seed, training.device)
            result = accumulate(inputs.to_boundary, objective, *blended, parts=parts)
        clip_gradients(optimizer, config.grad_clip)
        return result

    result, parts = within_memory(
        run, optimizer, parts=position.micro_batches, batch_size=len(labels), device=training.device
    )
    if parts > position.micro_batches:
        yield Notice(f"Out of memory: each batch is now computed in {parts} parts.", "warning")
        position.micro_batches = parts
    position.step += 1
    position.step_in_epoch += 1
    return result


def _mixed(seed: int, step: int) -> int:
    """A seed in whose low 32 bits, all that the CPU's generator takes, both numbers have their say."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{step}".encode(), digest_size=4).digest())


def sweep(training: Training, factors: Iterable[float]) -> Iterator[Event]:
    """One step of the first phase at each of ``factors`` times its base rates; nothing is evaluated or saved.

    Ends early when it is told to stop, or when the loss is not a number.

    Yields:
        A :class:`StepDone` for every step, before the next one is done.
    """
    phase, started = training.phases[0], time.monotonic()
    assert training.inputs is not None
    inputs = training.inputs
    batches = (batch for epoch in itertools.count() for batch in inputs.train(epoch, 0))
    for factor, (rows, labels) in zip(factors, batches, strict=False):
        if training.stop():
            return
        loss, _ = yield from _step(training, rows, labels, factor)
        training.position.seen += len(labels)
        rate = training.position.seen / max(1e-9, time.monotonic() - started)
        value, seconds = float(loss), training.tick()
        if not math.isfinite(value):
            return
        yield StepDone(training.position.step, 1, value, phase.lr_head * factor, rate, seconds)


class _Losses:
    """Losses of the last steps, left on the device until they are reported: a look would make it wait."""

    def __init__(self, training: Training) -> None:
        self._training = training
        self._started = self._flushed = time.monotonic()
        self._seen = 0
        self._waiting: list[tuple[int, int, float, Tensor, Tensor]] = []

    def add(self, loss: Tensor, correct: Tensor, photos: int, lr: float) -> None:
        self._seen += photos
        self._waiting.append((self._training.position.step, photos, lr, loss, correct))

    def due(self) -> bool:
        on_cpu = self._training.device.type == "cpu"
        return on_cpu or time.monotonic() - self._flushed > _REPORT_SECONDS

    def flush(self) -> Generator[Event, None, None]:
        """Adds what waited to the epoch's sums and reports it.

        Raises:
            NotFinite: One of the losses is.
        """
        if not self._waiting:
            return
        waiting, self._waiting, self._flushed = self._waiting, [], time.monotonic()
        values = torch.stack([loss for *_, loss, _ in waiting]).tolist()
        counts = torch.stack([correct for *_, correct in waiting]).tolist()
        position, seconds = self._training.position, self._training.tick()
        rate = self._seen / max(1e-9, time.monotonic() - self._started)
        for (step, photos, lr, _, _), loss, correct in zip(waiting, values, counts, strict=True):
            if not math.isfinite(loss):
                raise NotFinite
            position.seen += photos
            position.loss_sum += loss * photos
            position.correct += correct
            yield StepDone(step, position.epoch + 1, loss, lr, rate, seconds)
