"""One blend of a run made a finished run of its own, which can be used and extended as the original can.

Knows nothing of how blends are measured.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from tl_app import history, results, runs, words
from tl_app.blending import BlendPoint, BlendResult, Weights, blend_of, blend_run, read_ends
from tl_app.data.index import DatasetIndex
from tl_app.engine import checkpoints, setup
from tl_app.engine.checkpoints import LAST, START, Position
from tl_app.events import Combined, Finished, Notice
from tl_app.runs import RunInfo
from tl_app.snapshot import result_of, snapshot_of


def keep_blend(
    info: RunInfo, alpha: float, runs_dir: Path, name: str | None = None, device: str = "auto"
) -> BlendResult:
    """Makes a finished run of one blend, with the settings and the lineage of the original, which stays as it is.

    Args:
        info: As for :func:`blend_run`.
        alpha: Share of the tuned model.
        runs_dir: Where the new run is kept.
        name: Of the new run; None for one made of the original's.
        device: Where it is measured.

    Raises:
        UserError: As for :func:`blend_run`; or the name is taken, or the folder cannot be written.
    """
    found = blend_run(info, [alpha], device)
    (point,) = (each for each in found.points if each.alpha == alpha)
    weights = blend_of(read_ends(info), alpha)
    position = checkpoints.read_position(info.path / "checkpoints" / LAST)
    assert position is not None
    path = runs.create_run(
        runs_dir,
        name or _free_name(f"{info.name[:80].rstrip()} blend {alpha:g}", runs_dir),
        asked=info.asked,
        config=info.config,
        preprocessing=info.preprocessing,
        stages=list(info.stages),
        lineage=info.lineage[:-1],
        index=DatasetIndex.read_manifest(info.path / "manifest.csv"),
        blended=(info.name, alpha),
        extensions=[each for each in info.extensions if each["begun"] <= position.phase],  # which have begun
        fill=lambda folder: _fill(folder, info, position, weights, point, found),
    )
    new = runs.open_run(path, runs_dir)
    result = result_of(path, snapshot_of(new), _finished(new, point))
    results.write_result(path, result)
    return dataclasses.replace(found, kept=result)


def _fill(
    folder: Path, info: RunInfo, position: Position, weights: Weights, point: BlendPoint, found: BlendResult
) -> None:
    """Puts all that makes a finished run into its folder: checkpoints, history and state.

    It stands where the original stood at the end of its last whole epoch, so that it can be extended as that can; what
    an optimiser and an average know of other weights is left out.
    """
    old, new = info.path / "checkpoints", folder / "checkpoints"
    position.begin_epoch()
    position.ingredients, position.soup = [], []
    position.best_accuracy, position.best_loss = point.accuracy, point.loss
    assert position.best_file is not None
    network = setup.empty_network(info.config, len(info.classes))
    for name, tensor in checkpoints.weights(network).items():
        tensor.copy_(weights[name])
    shutil.copyfile(old / START, new / START)
    checkpoints.save_weights(new / position.best_file, checkpoints.weights(network, position.depth))
    imitation = checkpoints.load_imitation(old / LAST)
    checkpoints.save_checkpoint(new / LAST, network, None, position, None, imitation, {})
    if (info.path / history.NAME).is_file():
        shutil.copyfile(info.path / history.NAME, folder / history.NAME)
    with open(folder / history.NAME, "a+b") as file:
        history.end_torn_line(file)
        text = (
            f"A blend of run {info.name}: {words.percent(1 - point.alpha, 0)} its probe, "
            f"{words.percent(point.alpha, 0)} {found.tuned}. {words.percent(point.accuracy)} of "
            f"{words.plural(found.images, 'validation photo')} are right."
        )
        model = f"blend, α = {point.alpha:g}"
        for event in (
            Notice(text),
            Combined(model, position.epoch, point.accuracy, point.loss),
            _finished(info, point),
        ):
            history.append(file, event)
    runs.write_status(
        folder,
        "completed",
        "",
        epochs_done=info.epochs_done,
        best_epoch=info.best_epoch,
        val_accuracy=point.accuracy,
        val_loss=point.loss,
        seconds=info.seconds,
    )


def _finished(info: RunInfo, point: BlendPoint) -> Finished:
    rate = snapshot_of(info).images_per_second
    return Finished("completed", info.best_epoch, point.accuracy, point.loss, info.seconds, rate)


def _free_name(name: str, runs_dir: Path) -> str:
    number = 1
    while (runs_dir / (name if number == 1 else f"{name} {number}")).exists():
        number += 1
    return name if number == 1 else f"{name} {number}"
