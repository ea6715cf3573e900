"""How results and progress look in a terminal: progress on standard error, tables on standard output.

Knows nothing of commands and options.
"""

from __future__ import annotations

import shlex
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from tl_app import events, words
from tl_app.snapshot import Snapshot
from tl_app.tables import console as _console
from tl_app.tables import show_left_out as _show_left_out
from tl_app.tables import table as _table

if TYPE_CHECKING:
    from tl_app.blending import BlendResult
    from tl_app.caches import CacheInfo, Cleared
    from tl_app.finding import RatesResult
    from tl_app.probing import ProbeResult
    from tl_app.results import TrainResult


_MOVES_SECONDS = 0.05  # between moves of the bar, which is drawn ten times a second


class TrainDisplay:
    """A progress bar that reads training events, with one line per epoch above it.

    Args:
        so_far: The run as it stood before, where one goes on.
    """

    def __init__(self, so_far: Snapshot | None = None) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[detail]}"),
            console=self._console,
            transient=True,
        )
        self._task: TaskID | None = None
        self._activity = ""
        self._snapshot = so_far or Snapshot()
        self._suggested = False
        self._moved = 0.0

    def __enter__(self) -> TrainDisplay:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, event: events.Event) -> None:
        """Takes one event in."""
        self._snapshot.apply(event)
        match event:
            case events.Progress():
                self._to(event.activity, event.done, event.total or None)
            case events.Notice():
                self._console.print(
                    event.text, style="yellow" if event.level == "warning" else "dim", markup=False
                )
            case events.PhaseStarted():
                share = event.trainable_parameters / max(1, event.total_parameters)
                self._console.print(
                    f"Training {event.trainable_parameters:,} of {event.total_parameters:,} parameters "
                    f"({words.percent(share)}) on {event.device}, {event.precision}, batches of {event.batch_size}.",
                    style="dim",
                )
            case events.StepDone():
                detail = f"loss {event.loss:.3f}  {event.images_per_second:.0f} images/s"
                self._to(f"epoch {event.epoch}", event.step, self._snapshot.steps, detail)
            case events.EpochDone():
                self._epoch(event)
            case events.RolledBack():
                self._console.print(
                    f"Going on from step {event.step}: {event.reason}.", style="yellow", markup=False
                )

    def blending(self, done: int, total: int) -> None:
        """Blends measured so far."""
        self._to("measuring blends", done, total)

    def comparing(self, done: int, total: int) -> None:
        """Runs measured so far."""
        self._to("measuring runs", done, total)

    def _epoch(self, event: events.EpochDone) -> None:
        self._console.print(  # 80 columns, so that it stays one line
            f"epoch {event.epoch:3d}  train loss {event.train_loss:.3f}, {words.percent(event.train_accuracy)}  "
            f"val loss {event.val_loss:.3f}, {words.percent(event.val_accuracy)}  "
            f"{event.epoch_seconds:.1f} s{'  best' if event.is_best else ''}",
            soft_wrap=True,
        )
        suggestion = self._snapshot.suggestion
        if suggestion and not self._suggested:
            self._suggested = True
            self._console.print(
                f"{suggestion} Ctrl-C ends here and keeps the best.", style="yellow", soft_wrap=True
            )

    def _to(self, activity: str, done: int, total: int | None, detail: str = "") -> None:
        kind = "steps" if activity.startswith("epoch ") else activity
        if self._task is None or kind != self._activity:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task, self._activity = self._bar.add_task(activity, total=total, detail=""), kind
        elif done != total and time.monotonic() - self._moved < _MOVES_SECONDS:
            return
        self._moved = time.monotonic()
        self._bar.update(self._task, description=activity, completed=done, total=total, detail=detail)


def show_result(result: TrainResult) -> None:
    """How a training ended."""
    console = _console()
    if result.best_epoch:
        model = result.combined or f"epoch {result.best_epoch} of {result.epochs}"
        console.print(
            f"[bold]Validation accuracy {words.percent(result.val_accuracy)}[/] "
            f"({model}, {result.val_images} photos) in {result.seconds:.0f} s."
        )
    shared = words.plural(len(result.shared_layers), "stage") if result.shared_layers else "nothing"
    own = "the head" if result.shared_layers else "all layers"
    console.print(
        f"{words.lineage(result.lineage)}: {shared} shared, {own} task-specific.",
        soft_wrap=True,
        markup=False,
    )
    console.print(f"Run: {result.run}", soft_wrap=True, markup=False)
    if result.state == "stopped":
        console.print(f'Stopped. Go on with: tl-app resume "{result.run}"', soft_wrap=True, markup=False)
    else:
        console.print(f'Try it: tl-app predict "{result.run}" PHOTO', soft_wrap=True, markup=False)


def show_blend(result: BlendResult) -> None:
    """A row per blend, and the run that was made of one."""
    console = _console()
    console.print(
        f"Between the source with the first head (α = 0) and {result.tuned} (α = 1), "
        f"on {words.plural(result.images, 'validation photo')}"
        f"{f'; {result.left_out} more cannot be read any more' if result.left_out else ''}:",
        soft_wrap=True,
    )
    table = _table("α", "accuracy", "loss", "")
    for point in result.points:
        mark = ("kept" if result.kept else "best") if point.alpha == result.alpha else ""
        table.add_row(f"{point.alpha:g}", words.percent(point.accuracy), f"{point.loss:.3f}", mark)
    console.print(table)
    if result.kept is not None:
        console.print(f"Run: {result.kept.run}", soft_wrap=True, markup=False)
    else:
        console.print(
            f'Keep one: tl-app blend "{result.run}" --alpha {result.alpha:g}', soft_wrap=True, markup=False
        )


def show_probe(result: ProbeResult) -> None:
    """Accuracy with its spread, before any training, in all and per class."""
    console = _console()
    console.print(
        f"[bold]About {words.percent(result.accuracy)} (±{100 * result.spread:.1f}) of new photos right[/], before any "
        f"training, in {result.seconds:.1f} s.",
        soft_wrap=True,
    )
    val = (
        f"; {words.percent(result.val_accuracy)} of {result.val_images} validation photos"
        if result.val_images
        else ""
    )
    console.print(
        f"{result.backbone}, {result.probed_images} training photos, {result.folds} folds{val}. "
        f"Always naming the largest class: {words.percent(result.largest_share)}.",
        soft_wrap=True,
        style="dim",
    )
    table = _table("class", "photos", "right")
    for label, row in result.per_class.items():
        table.add_row(escape(label), f"{row['images']:.0f}", words.percent(row["accuracy"]))
    console.print(table)


def show_rates(result: RatesResult) -> None:
    """The suggestion, and the loss along the way."""
    console = _console()
    table = _table("learning rate", "loss")
    every = max(1, len(result.rates) // 20)
    for rate, loss in list(zip(result.rates, result.smoothed, strict=True))[::every]:
        table.add_row(f"{rate:.1e}", f"{loss:.3f}")
    console.print(table)
    if result.suggestion is None:
        console.print(
            "The loss never fell, so there is nothing to suggest: is the recipe right for these photos?"
        )
    else:
        console.print(f"[bold]Suggestion: --lr {result.suggestion:g}[/], the middle of the fall.")


def show_predictions(values: dict[str, Any]) -> None:
    """One row per photo."""
    table = _table("photo", "label", "confidence", "", "then")
    for row in values["predictions"]:
        if "error" in row:
            table.add_row(escape(row["path"]), f"[red]{escape(row['error'])}[/]", "", "", "")
        else:
            rest = ", ".join(
                f"{each['label']} {words.percent(each['confidence'])}" for each in row["top"][1:3]
            )
            table.add_row(
                escape(row["path"]),
                escape(row["label"]),
                words.percent(row["confidence"]),
                _doubt(row),
                escape(rest),
            )
    _console().print(table)


def _doubt(row: dict[str, Any]) -> str:
    """What speaks against a prediction: nothing, where nothing is known either."""
    if row["unfamiliar"]:
        return "[yellow]unlike the training photos[/]"
    return "[yellow]not sure[/]" if row["sure"] is False else ""


def show_explanations(values: dict[str, Any]) -> None:
    """A line per photo, whose paths are left in one piece, and what the colours mean."""
    console = _console()
    for row in values["explanations"]:
        if "error" in row:
            said = f"[red]{escape(row['error'])}[/]"
        else:
            said = f"{escape(row['label'])} {words.percent(row['confidence'])} → {escape(row['picture'])}"
        console.print(f"{escape(row['path'])}: {said}", soft_wrap=True)
    for sentence in dict.fromkeys(row["legend"] for row in values["explanations"] if "legend" in row):
        console.print(sentence, style="dim", soft_wrap=True, markup=False)


def show_backbones(values: dict[str, Any]) -> None:
    """One row per backbone."""
    table = _table("name", "label", "group", "parameters", "GFLOPs", "top-1", "pixels", "weights (* on disk)")
    for row in values["backbones"]:
        weights = ", ".join(each["name"] + ("*" if each["on_disk"] else "") for each in row["weights"])
        if row["bundled"]:
            weights = "bundled, works offline*"
        table.add_row(
            row["name"],
            row["label"],
            row["tier"],
            f"{row['parameters'] / 1e6:.1f} M",
            f"{row['gflops']:.2f}",
            f"{row['top1']:.1f} %" if row["top1"] else "",
            str(row["image_size"]),
            weights,
        )
    _console().print(table)


def show_index(values: dict[str, Any]) -> None:
    """Counts per class and split, then what is left out."""
    console = _console()
    table = _table("class", "train", "val", "test")
    for label, row in values["counts"].items():
        table.add_row(escape(label), *(str(row.get(split, 0)) for split in ("train", "val", "test")))
    console.print(table)
    if values["made_split"]:
        console.print("The folder has no val split, so one was made.", style="dim")
    _show_left_out(console, [(row["path"], row["reason"]) for row in values["left_out"]])


def show_cache(info: CacheInfo) -> None:
    """One row per kind, then the sum."""
    console = _console()
    table = _table("kind", "entries", "size", "last used (UTC)")
    for kind in info.kinds:
        when = kind.last_used.replace("T", " ").rstrip("Z")
        table.add_row(kind.kind, f"{kind.entries:,}", words.size(kind.bytes), when)
    if info.kinds:
        console.print(table)
    console.print(
        f"{words.size(info.total_bytes)} of {words.size(info.budget_bytes)} in {info.where}",
        soft_wrap=True,
        markup=False,
    )


def show_cleared(cleared: Cleared) -> None:
    """What is free again, and what stayed."""
    console = _console()
    console.print(f"{words.size(cleared.freed_bytes)} are free again.")
    for name in cleared.kept:
        console.print(f"In use, so it stays: {name}", style="yellow", markup=False)


def show_runs(values: dict[str, Any]) -> None:
    """One row per run."""
    table = _table("run", "state", "accuracy", "epochs", "backbone", "recipe", "photos", "when (UTC)")
    for row in values["runs"]:
        table.add_row(
            escape(row["name"]),
            row["state"],
            words.percent(row["val_accuracy"]),
            f"{row['epochs_done']}/{row['epochs']}",
            row["backbone"],
            row["recipe"],
            escape(row["data"]),
            row["created"].replace("T", " ").rstrip("Z"),
        )
    _console().print(table if values["runs"] else "No runs yet. Train one with `tl-app train DATA`.")


def show_presets(values: dict[str, Any]) -> None:
    """One row per preset."""
    table = _table("name", "recipe", "backbone", "what it is")
    for row in values["presets"]:
        settings = row["settings"]
        table.add_row(
            row["key"], settings["recipe"], settings.get("backbone", ""), escape(row["description"])
        )
    _console().print(table)


def show_saved_preset(values: dict[str, Any]) -> None:
    """Where the preset is, and how it is used."""
    use = f"tl-app train DATA --preset {shlex.quote(values['file'])}"
    _console().print(f"Preset '{values['name']}' is saved. Use it: {use}", soft_wrap=True, markup=False)
