"""Run folders: create, list, open, delete, and the command that reproduces one.

A run is a folder: ``config.json manifest.csv history.jsonl status.json metrics.json checkpoints/ analysis/``.

Knows nothing of torch, of the page, or of how training is done.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from tl_app.config import TrainConfig
from tl_app.errors import ResourceError, UsageError
from tl_app.files import write_json
from tl_app.older import left_open, stored, with_probe

if TYPE_CHECKING:
    from tl_app.data.index import DatasetIndex

PROBE = (
    "probe.safetensors"  # in checkpoints/: a head trained alone on the source's stages, before those moved
)
ANALYSIS = "analysis"  # its folder of answers and calibration, which can be made again
_FORMAT = 1
_DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError)  # what reading a spoilt folder raises
_NAME = re.compile(r"[\w][\w .+=@-]{0,99}")


@dataclass(frozen=True)
class RunInfo:
    """What a run's folder says of it.

    Attributes:
        path: The folder.
        state: ``starting``, ``running``, ``completed``, ``stopped``, ``failed``, or ``interrupted`` when the
            process that trained it is gone.
        created: ISO date and time, in UTC.
        lineage: The tasks that its weights come from, oldest first; the last one is its own.
        val_accuracy: Of the best epoch, 0 to 1; None before the first.
        message: What to know of the state, such as why it failed.
        extensions: What it was extended by after it was complete, as :mod:`tl_app.transfer.extensions` has it.
        blended: The run that it is a blend of, by name, with the share α of its tuned model; None for a training.
        inherited: How many of the extensions were that run's.
    """

    path: Path
    state: str
    created: str
    asked: TrainConfig
    config: TrainConfig
    preprocessing: dict[str, Any]
    classes: tuple[str, ...]
    stages: tuple[str, ...]
    lineage: tuple[str, ...]
    epochs_done: int
    best_epoch: int
    val_accuracy: float | None
    val_loss: float | None
    seconds: float
    message: str
    extensions: tuple[dict[str, Any], ...] = ()
    blended: tuple[str, float] | None = None
    inherited: int = 0

    @property
    def epochs(self) -> int:
        """How many there are in all, those it was extended by among them."""
        if not self.extensions:
            return self.planned_epochs
        last = self.extensions[-1]
        return int(last["after"]) + int(last["phase"]["epochs"])

    @property
    def planned_epochs(self) -> int:
        """How many the settings stand for."""
        return (self.config.epochs or 0) + self.config.blockwise_epochs

    @property
    def frozen_stages(self) -> int | None:
        """The freezing depth of the last phase."""
        return self.extensions[-1]["phase"]["frozen_stages"] if self.extensions else self.config.freeze

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def is_running(self) -> bool:
        """Whether a process is training it right now."""
        return self.state in ("starting", "running")

    @property
    def is_source(self) -> bool:
        """Whether it was trained as a source model, for other runs to start from."""
        return self.config.recipe == "pretrain"

    @property
    def shared_layers(self) -> tuple[str, ...]:
        """Stages that began as the source task's; none after a random start."""
        return () if self.config.is_random else self.stages

    @property
    def task_layers(self) -> tuple[str, ...]:
        """What began for this task alone: the head, and after a random start all stages."""
        return (*(self.stages if self.config.is_random else ()), "head")

    @property
    def has_probe(self) -> bool:
        """Whether it trained the head alone first, so that its tuned model can be blended with that probe."""
        return not self.is_running and (self.path / "checkpoints" / PROBE).is_file()

    @property
    def moved_stages(self) -> bool:
        """Whether the best model of a run that began with its head alone has stages that were trained since."""
        if self.blended is not None and self.blended[1] > 0:
            return True
        return any(each["unfrozen"] and self.best_epoch > each["after"] for each in self.extensions)

    @property
    def resumable(self) -> bool:
        """Whether training can go on."""
        return not self.is_running and self.state != "completed"


def create_run(
    runs_dir: Path,
    name: str | None,
    *,
    asked: TrainConfig,
    config: TrainConfig,
    preprocessing: dict[str, Any],
    stages: list[str],
    lineage: Sequence[str],
    index: DatasetIndex,
    blended: tuple[str, float] | None = None,
    extensions: Sequence[dict[str, Any]] = (),
    fill: Callable[[Path], None] | None = None,
) -> Path:
    """Makes a run's folder in one step: it is there with configuration and manifest, or not at all.

    Args:
        runs_dir: Made when missing.
        name: None for one made of photos, backbone, recipe and time.
        asked: The settings as given, for the command that reproduces the run.
        config: The settings without gaps.
        preprocessing: How a photo becomes the network's input.
        stages: The names of the backbone's stages.
        lineage: The tasks that the start weights come from, oldest first.
        index: The photos; saved as the manifest.
        blended: The run and the share that it is made of, when no training makes it.
        extensions: What that run was extended by.
        fill: Puts more into the folder before it gets its name.

    Raises:
        UsageError: The name is taken or not usable.
        ResourceError: The folder cannot be written.
    """
    _remove_leftovers(runs_dir)
    automatic = name is None
    name = _allowed(name) if name is not None else _made_up(config)
    temporary = runs_dir / f".creating-{uuid.uuid4().hex}"
    try:
        (temporary / "checkpoints").mkdir(parents=True)
        values = {
            "format": _FORMAT,
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "asked": asked.to_dict(),
            "config": config.to_dict(),
            "preprocessing": preprocessing,
            "classes": list(index.classes),
            "stages": stages,
            "lineage": [*lineage, task_name(config.data)],
        }
        if blended is not None:
            values |= {"blended": list(blended), "extensions": list(extensions), "inherited": len(extensions)}
        write_json(temporary / "config.json", values)
        index.write_manifest(temporary / "manifest.csv")
        write_status(temporary, "starting", "")
        if fill is not None:
            fill(temporary)
        return _settle(temporary, runs_dir, name, automatic)
    except OSError as error:
        raise ResourceError(
            f"The run folder {runs_dir / name} could not be made: {error.strerror or error}.",
            remedy="Free some space, or choose another folder for runs.",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _made_up(config: TrainConfig) -> str:
    """A name for a run, of photos, backbone, recipe and time."""
    return f"{_slug(Path(config.data).stem)}-{config.backbone}-{config.recipe}-{time.strftime('%m%d-%H%M%S')}"


def _allowed(name: str) -> str:
    if not _NAME.fullmatch(name) or name.endswith((".", " ")):
        raise UsageError(
            f"'{name}' cannot be the name of a run.",
            "Up to 100 letters, digits, spaces and . _ - + = @, beginning with a letter or digit.",
        )
    return name


def _remove_leftovers(runs_dir: Path) -> None:
    """What processes that were killed while they made or deleted a run left behind."""
    for path in runs_dir.glob(".deleting-*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in runs_dir.glob(".creating-*"):
        with contextlib.suppress(OSError):  # another process may have just finished it
            if time.time() - path.stat().st_mtime > 3600:
                shutil.rmtree(path, ignore_errors=True)


def _settle(temporary: Path, runs_dir: Path, name: str, automatic: bool) -> Path:
    for number in range(1, 1000 if automatic else 2):
        path = runs_dir / (name if number == 1 else f"{name}-{number}")
        # A rename onto an existing empty folder would succeed on POSIX.
        if not path.exists():
            try:
                os.rename(temporary, path)
                return path
            except FileExistsError:
                continue
            except OSError:
                if not path.exists():
                    raise
    raise UsageError(
        f"There is a run named '{name}' in {runs_dir} already.",
        remedy="Choose another name, go on with that run (`tl-app resume`) if it is not complete, or delete it first.",
    )


def list_runs(runs_dir: Path) -> list[RunInfo]:
    """All runs in a folder, newest first; folders that are no runs are passed over."""
    found = []
    for path in runs_dir.iterdir() if runs_dir.is_dir() else ():
        if not path.name.startswith(".") and _is_run(path):
            try:
                found.append(_read(path))
            except (*_DAMAGED, UsageError):
                continue  # of another version, or not ours: `open_run` says why
    return sorted(found, key=lambda info: (info.created, info.name), reverse=True)


def open_run(run: str | Path, runs_dir: Path) -> RunInfo:
    """The run of that name in ``runs_dir``, or at that path.

    Raises:
        UsageError: There is no such run (close names are listed), or its folder is damaged.
    """
    for path in (runs_dir / run, Path(run)):
        if _is_run(path):
            try:
                return _read(path.resolve())
            except _DAMAGED as error:
                raise UsageError(f"The run {path} cannot be read: {error!r}.") from error
    names = [info.name for info in list_runs(runs_dir)]
    close = difflib.get_close_matches(str(run), names, n=3, cutoff=0.4) or names[:3]
    raise UsageError(
        f"There is no run '{run}' in {runs_dir}.",
        f"Did you mean {', '.join(close)}?" if close else "There are no runs there yet.",
        "List them with `tl-app runs`.",
    )


def is_run(name: str | Path, runs_dir: Path) -> bool:
    """Whether :func:`open_run` would find a run of that name or path."""
    return _is_run(runs_dir / name) or _is_run(Path(name))


def delete_run(info: RunInfo) -> None:
    """Removes a run's folder.

    Raises:
        UsageError: It is being trained.
        ResourceError: It cannot be removed.
    """
    if _read(info.path).is_running:  # `info` may be older than the last start
        raise UsageError(f"Run '{info.name}' is being trained.", remedy="Stop it first.")
    doomed = info.path.with_name(f".deleting-{uuid.uuid4().hex}")
    try:
        os.rename(info.path, doomed)  # gone from every list at once, also when removal is cut short
        shutil.rmtree(doomed)
    except OSError as error:
        raise ResourceError(f"Run '{info.name}' could not be deleted: {error.strerror or error}.") from error


def write_extensions(path: Path, extensions: Sequence[dict[str, Any]]) -> None:
    """Records what a run is extended by, all of it; its result is no longer the last word.

    Raises:
        ResourceError: The folder cannot be written.
    """
    try:
        values = json.loads((path / "config.json").read_text())
        write_json(path / "config.json", values | {"extensions": list(extensions)})
        (path / "metrics.json").unlink(missing_ok=True)
    except OSError as error:
        raise ResourceError(
            f"Run '{path.name}' could not be extended: {error.strerror or error}.", remedy="Free some space."
        ) from error


def write_status(path: Path, state: str, message: str, **progress: Any) -> None:
    """Records the state of a run and the process that trains it."""
    process = psutil.Process()
    values = {"state": state, "message": message, "pid": process.pid, "pid_created": process.create_time()}
    write_json(path / "status.json", {**values, **progress})


def _read(path: Path) -> RunInfo:
    values = json.loads((path / "config.json").read_text())
    if values.get("format") != _FORMAT:
        raise ValueError(f"its format is {values.get('format')!r}, and this version reads {_FORMAT}")
    try:
        status = json.loads((path / "status.json").read_text())
    except FileNotFoundError:  # killed before the first write
        status = {"state": "interrupted"}
    state, message = status["state"], status.get("message", "")
    if state in ("starting", "running") and not _alive(status):
        state, message = (
            "interrupted",
            "The process that trained it ended. Resume goes on from the last checkpoint.",
        )
    return RunInfo(
        path=path,
        state=state,
        created=values["created"],
        asked=stored(left_open(values["asked"], values["config"])),
        config=stored(with_probe(values["config"])),
        preprocessing=values["preprocessing"],
        classes=tuple(values["classes"]),
        stages=tuple(values["stages"]),
        lineage=tuple(values.get("lineage", [task_name(values["config"]["data"])])),  # older runs have none
        epochs_done=status.get("epochs_done", 0),
        best_epoch=status.get("best_epoch", 0),
        val_accuracy=status.get("val_accuracy"),
        val_loss=status.get("val_loss"),
        seconds=status.get("seconds", 0.0),
        message=message,
        extensions=tuple(values.get("extensions", ())),
        blended=(str(blended[0]), float(blended[1])) if (blended := values.get("blended")) else None,
        inherited=values.get("inherited", 0),
    )


def _is_run(path: Path) -> bool:
    try:
        return (path / "config.json").is_file()
    except (OSError, ValueError):  # a name too long for the file system, or with a NUL in it
        return False


def _alive(status: dict[str, Any]) -> bool:
    try:
        process = psutil.Process(status["pid"])
        created, state = process.create_time(), process.status()
    except (psutil.Error, KeyError):
        return False
    if state in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):  # killed, and nobody has asked how it ended
        return False
    # Otherwise the number was given to another process meanwhile.
    return abs(float(created - status.get("pid_created", 0.0))) < 1.0


def task_name(data: str) -> str:
    """What a folder or zip of photos is called among the tasks that a model comes from."""
    return Path(data).stem


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-_")[:40] or "photos"
