"""Where a run stands: one reducer over events, for live runs and for stored histories alike.

Imports no torch, so that a page or a command can show any run at once.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass, field
from pathlib import Path

from tl_app import history, plateau, runs
from tl_app.data.index import DatasetIndex
from tl_app.events import (
    Combined,
    EpochDone,
    Event,
    Finished,
    Notice,
    PhaseStarted,
    Progress,
    RolledBack,
    StepDone,
)
from tl_app.results import TrainResult

MAX_NOTICES = 100  # a page with more helps nobody; all of them are in the history
MAX_POINTS = 20_000  # losses kept for the curve; past it every second one is dropped


@dataclass
class Snapshot:
    """The state of one run; ``version`` moves whenever anything else does.

    Attributes:
        state: ``starting``, ``running``, ``stopping``, ``completed``, ``stopped``, ``failed``, ``interrupted``.
        message: Why it failed, or what to do next.
        activity: What goes on beside the steps ("reading photos"), with ``activity_done`` of ``activity_total``
            ``unit``; empty while steps are taken. It began at ``activity_clock`` (monotonic seconds) with
            ``activity_first`` done.
        phase: Counted from 0; ``phases`` in all.
        epoch: The epoch under way, counted from 1, of ``epochs``.
        step: Steps done, of ``steps``.
        eta_seconds: Time left, of the activity or else of all steps, at the present rate; None while unknown.
        first_step: The first step since training began or went on, with ``seconds`` then: rates count from there.
        seconds: Training time so far.
        memory_bytes: As of the last epoch.
        combined: What the model is made of when it is not that of one epoch; accuracy and loss are then its own.
        step_points: (step, training loss), thinned when there are very many.
        step_stride: Every how many steps one is kept.
        epoch_rows: One per epoch done.
        phase_starts: Epochs done when each phase began, with its freezing depth.
        phase_first_epoch: Epochs done when the phase under way began.
        extended_after: Epochs done when a finished run went on for more of the same.
        rolled_back: How often the loss was not a number, and training went back.
    """

    version: int = 0
    run: str = ""
    run_path: str = ""
    state: str = "starting"
    message: str = ""
    activity: str = ""
    activity_done: int = 0
    activity_total: int = 0
    unit: str = ""
    activity_clock: float = 0.0
    activity_first: int = 0
    phase: int = 0
    phases: int = 0
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    steps_per_epoch: int = 0
    eta_seconds: float | None = None
    first_step: tuple[int, float] | None = None
    images_per_second: float = 0.0
    device: str = ""
    precision: str = ""
    memory_bytes: int = 0
    batch_size: int = 0
    trainable_parameters: int = 0
    total_parameters: int = 0
    frozen_stages: int = 0
    backbone: str = ""
    seconds: float = 0.0
    best_epoch: int = 0
    val_accuracy: float | None = None
    val_loss: float | None = None
    combined: Combined | None = None
    step_points: list[tuple[int, float]] = field(default_factory=list)
    step_stride: int = 1
    epoch_rows: list[EpochDone] = field(default_factory=list)
    phase_starts: list[tuple[int, int]] = field(default_factory=list)
    phase_first_epoch: int = 0
    extended_after: list[int] = field(default_factory=list)
    rolled_back: int = 0
    notices: list[Notice] = field(default_factory=list)
    started_at: float = field(default_factory=time.time)

    @property
    def is_running(self) -> bool:
        """Whether training is under way."""
        return self.state in ("starting", "running", "stopping")

    @property
    def suggestion(self) -> str:
        """One sentence when training has not gained for long, in its last phase; else empty."""
        if self.state != "running" or self.phase < self.phases - 1:
            return ""
        return plateau.suggestion(self.epoch_rows, epochs=self.epochs, since=self.phase_first_epoch)

    @property
    def can_finish(self) -> bool:
        """Whether the run can be made complete as it is."""
        unfinished = self.state in ("starting", "running") or self.is_waiting
        return unfinished and bool(self.best_epoch)

    @property
    def is_waiting(self) -> bool:
        """Whether the run is not complete, and nothing is at it."""
        return self.state in ("stopped", "interrupted", "failed")

    def copy(self) -> Snapshot:
        """A copy that later events do not change."""
        return dataclasses.replace(
            self,
            step_points=list(self.step_points),
            epoch_rows=list(self.epoch_rows),
            phase_starts=list(self.phase_starts),
            extended_after=list(self.extended_after),
            notices=list(self.notices),
        )

    def apply(self, event: Event) -> None:
        """Takes one event in."""
        self.version += 1
        match event:
            case Progress():
                self._activity(event)
            case Notice():
                if len(self.notices) < MAX_NOTICES and event not in self.notices:
                    self.notices.append(event)
            case PhaseStarted():
                self._enter(event)
            case StepDone():
                self._step(event)
            case EpochDone():
                self._epoch(event)
            case RolledBack():
                self._roll_back(event)
            case Combined():
                self.combined, self.val_accuracy, self.val_loss = event, event.val_accuracy, event.val_loss
            case Finished():
                self.activity, self.state, self.seconds = "", event.reason, event.seconds
                self.images_per_second, self.eta_seconds = event.images_per_second, None

    def _activity(self, event: Progress) -> None:
        now = time.monotonic()
        if event.activity != self.activity:
            self.activity, self.activity_clock, self.activity_first = event.activity, now, event.done
        self.activity_done, self.activity_total, self.unit = event.done, event.total, event.unit
        moved, left = event.done - self.activity_first, event.total - event.done
        seconds = now - self.activity_clock
        # Nothing worth saying before the rate has settled; what a cache holds already is done in no time.
        self.eta_seconds = seconds / moved * left if event.total and moved and seconds > 1 else None

    def _enter(self, event: PhaseStarted) -> None:
        self.eta_seconds, self.first_step = None, None
        self.activity, self.state = "", "stopping" if self.state == "stopping" else "running"
        for spec in dataclasses.fields(event):
            if hasattr(self, spec.name) and spec.name != "epochs":
                setattr(self, spec.name, getattr(event, spec.name))
        self.epochs = event.total_epochs
        self.steps = event.total_steps or event.total_epochs * event.steps_per_epoch
        start = (event.first_epoch, event.frozen_stages)
        if start not in self.phase_starts:
            # One that was ended before its first epoch was done gives its place to the next.
            self.phase_starts = [each for each in self.phase_starts if each[0] < event.first_epoch]
            self.phase_starts.append(start)
        self.phase_first_epoch = event.first_epoch
        self.extended_after = [epoch for epoch in self.extended_after if epoch < event.first_epoch]
        if event.continues:
            self.extended_after.append(event.first_epoch)

    def _step(self, event: StepDone) -> None:
        self.step, self.epoch, self.seconds = event.step, event.epoch, event.seconds
        self.images_per_second = event.images_per_second
        if self.first_step is None:
            self.first_step = (event.step, event.seconds)
        steps, seconds = event.step - self.first_step[0], event.seconds - self.first_step[1]
        if steps > 0:
            self.eta_seconds = seconds / steps * max(0, self.steps - event.step)
        if event.step % self.step_stride == 0:
            self.step_points.append((event.step, event.loss))
        if len(self.step_points) > MAX_POINTS:
            self.step_stride *= 2
            self.step_points = [point for point in self.step_points if point[0] % self.step_stride == 0]

    def _epoch(self, event: EpochDone) -> None:
        self.epoch_rows.append(event)
        self.memory_bytes = event.memory_bytes
        if event.is_best:
            self.combined = None
            self.best_epoch, self.val_accuracy, self.val_loss = (
                event.epoch,
                event.val_accuracy,
                event.val_loss,
            )

    def _roll_back(self, event: RolledBack) -> None:
        self.step, self.epoch = event.step, event.epoch
        self.step_points = [point for point in self.step_points if point[0] <= event.step]
        self.epoch_rows = [row for row in self.epoch_rows if row.epoch <= event.epoch]
        best = next((row for row in reversed(self.epoch_rows) if row.is_best), None)
        self.best_epoch = best.epoch if best else 0
        self.val_accuracy, self.val_loss = (best.val_accuracy, best.val_loss) if best else (None, None)
        if self.combined is not None and self.combined.epoch <= event.epoch:
            self.val_accuracy, self.val_loss = self.combined.val_accuracy, self.combined.val_loss
        else:
            self.combined = None
        if event.reason != "resumed":
            self.rolled_back += 1
            self.notices.append(Notice(f"Back to step {event.step}: {event.reason}.", "warning"))


def snapshot_of(info: runs.RunInfo) -> Snapshot:
    """The snapshot of any run from its folder, also of one that another process trains right now."""
    snapshot = Snapshot(run=info.name, run_path=str(info.path), backbone=info.config.backbone)
    snapshot.epochs = info.epochs
    for event in history.read_history(info.path):
        snapshot.apply(event)
    if info.extensions:
        snapshot.epochs = info.epochs
    snapshot.state, snapshot.message = info.state, info.message
    if not snapshot.is_running:
        snapshot.activity, snapshot.eta_seconds = "", None
    return snapshot


def result_of(path: Path, snapshot: Snapshot, end: Finished) -> TrainResult:
    """How a training ended, from its folder and its last event."""
    index, info = DatasetIndex.read_manifest(path / "manifest.csv"), runs.open_run(path, path.parent)
    return TrainResult(
        run=str(path),
        name=path.name,
        state=end.reason,
        best_epoch=end.best_epoch,
        val_accuracy=end.val_accuracy,
        val_loss=end.val_loss,
        classes=list(index.classes),
        train_images=len(index.used("train")),
        val_images=len(index.used("val")),
        epochs=len(snapshot.epoch_rows),
        seconds=end.seconds,
        images_per_second=end.images_per_second,
        trainable_parameters=snapshot.trainable_parameters,
        total_parameters=snapshot.total_parameters,
        backbone=snapshot.backbone,
        frozen_stages=snapshot.frozen_stages,
        device=snapshot.device,
        precision=snapshot.precision,
        lineage=list(info.lineage),
        shared_layers=list(info.shared_layers),
        task_layers=list(info.task_layers),
        combined=snapshot.combined.model if snapshot.combined is not None else "",
    )
