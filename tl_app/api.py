"""The public Python API: one function per thing a person does. The command line calls the same functions.

Imports torch only inside functions. Knows nothing of how results are shown.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tl_app import resources, runs
from tl_app.config import TrainConfig
from tl_app.errors import Interrupted
from tl_app.events import Event
from tl_app.references import located
from tl_app.results import TrainResult, read_result
from tl_app.runs import RunInfo
from tl_app.snapshot import Snapshot, snapshot_of

if TYPE_CHECKING:
    from tl_app.backbones.catalogue import BackboneSpec
    from tl_app.blending import BlendResult
    from tl_app.data.index import DatasetIndex
    from tl_app.finding import RatesResult
    from tl_app.jobs import Job, Worker
    from tl_app.probing import ProbeResult


def train(
    data: str | Path,
    *,
    name: str | None = None,
    runs_dir: str | Path | None = None,
    on_event: Callable[[Event], None] | None = None,
    preset: str | Path | None = None,
    recipe: str | None = None,
    freeze: int | str | None = None,
    **settings: Any,
) -> TrainResult:
    """Trains a classifier on a folder (or zip) of labelled photos and returns when it is done.

    Args:
        data: One folder of photos per class, or ``train``/``val`` folders of those.
        name: Of the run; None for an automatic one.
        runs_dir: Where the run is kept; None for the user's own folder.
        on_event: Called from the job's thread with each event.
        preset: One that ships, by its name, or a YAML file; what is given beside it wins, and what in
            it depends on a setting that is given otherwise is left out.
        recipe: ``auto``, ``head``, ``partial``, ``full``, ``lp-ft``, ``gradual``, ``scratch`` or ``pretrain``.
        freeze: A number of stages, ``"head"`` or ``"none"``.
        **settings: Any other field of :class:`tl_app.TrainConfig`.

    Returns:
        The best epoch, its figures and where the run is. Ctrl-C stops training in good order: ``state`` is then
        ``stopped`` instead of ``completed``, and the best model is kept.

    Raises:
        UserError: Settings, photos or machine do not fit; the message says what to do.
    """
    from tl_app import beside

    values = beside.fields(preset, recipe, freeze, settings, on_event) | {"data": str(data)}
    config = TrainConfig.from_dict(values)
    worker = _worker(runs_dir)
    return _wait(worker.start(config, name=name, listener=on_event))


def pretrain(
    data: str | Path,
    *,
    name: str | None = None,
    runs_dir: str | Path | None = None,
    on_event: Callable[[Event], None] | None = None,
    **settings: Any,
) -> TrainResult:
    """Makes a source model: trains a backbone on a source task, for other runs to start from.

    It starts from random weights unless ``weights`` names some. ``train(..., weights="run:NAME")`` starts from it.

    Args:
        data: As for :func:`train`.
        name: Of the run; None for an automatic one.
        runs_dir: Where the run is kept; None for the user's own folder.
        on_event: Called from the job's thread with each event.
        **settings: Any other field of :class:`tl_app.TrainConfig`, such as ``teacher="backbone:mobilenet_v2"``.

    Raises:
        UserError: Settings, photos or machine do not fit.
    """
    return train(data, name=name, runs_dir=runs_dir, on_event=on_event, recipe="pretrain", **settings)


def distill(
    run: str | Path,
    backbone: str,
    *,
    name: str | None = None,
    runs_dir: str | Path | None = None,
    on_event: Callable[[Event], None] | None = None,
    **settings: Any,
) -> TrainResult:
    """Makes a copy of a run on another, usually smaller, backbone, which learns from the run's answers and the labels.

    Args:
        run: Its name in ``runs_dir``, or its path; it is trained on its photos, split as they were.
        backbone: Of the copy.
        name: Of the new run; None for an automatic one.
        runs_dir: None for the user's own folder.
        on_event: Called from the job's thread with each event.
        **settings: Any other field of :class:`tl_app.TrainConfig`, such as ``soft_labels=0.9``.

    Raises:
        UserError: There is no such run, it has no model yet, or settings, photos or machine do not fit.
    """
    from tl_app.distilling import settings_from

    known = settings_from(open_run(run, runs_dir)) | {"backbone": backbone} | settings
    return train(known.pop("data"), name=name, runs_dir=runs_dir, on_event=on_event, **known)


def resume(
    run: str | Path,
    *,
    runs_dir: str | Path | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> TrainResult:
    """Goes on with a run from its last checkpoint and returns when it is done.

    Args:
        run: Its name in ``runs_dir``, or its path.
        runs_dir: None for the user's own folder.
        on_event: Called from the job's thread with each event.

    Raises:
        UserError: There is no such run, it is complete, or its photos are gone.
    """
    return _wait(_worker(runs_dir).resume(run, listener=on_event))


def finish(
    run: str | Path,
    *,
    runs_dir: str | Path | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> TrainResult:
    """Makes a run that was stopped complete as it is, with its best model so far, and returns when it is done.

    It is then calibrated, its best epochs are averaged where that was asked for, and it can be extended.

    Args:
        run: Its name in ``runs_dir``, or its path.
        runs_dir: None for the user's own folder.
        on_event: Called from the job's thread with each event.

    Raises:
        UserError: There is no such run, it is complete or has no model yet, or its photos are gone.
    """
    return _wait(_worker(runs_dir).finish(run, listener=on_event))


def extend(
    run: str | Path,
    *,
    epochs: int | None = None,
    unfreeze: int = 0,
    lr: float | None = None,
    lr_backbone: float | None = None,
    runs_dir: str | Path | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> TrainResult:
    """Goes on with a complete run, in the same folder and with the same curves, and returns when it is done.

    Without ``unfreeze`` it is more of the same: the optimiser's state is kept, and the learning rate follows the run's
    schedule anew, without a warm-up, from half of its peak. With ``unfreeze`` it is a new phase, in which head and
    stages learn at the backbone's usual rate. The best model stays the best until an epoch beats it.

    Args:
        run: Its name in ``runs_dir``, or its path.
        epochs: How many more; None for 5.
        unfreeze: How many more stages are trained, counted from the head.
        lr: Peak learning rate of the head, that of the backbone moving along; None for the above.
        lr_backbone: Peak learning rate of unfrozen stages.
        runs_dir: None for the user's own folder.
        on_event: Called from the job's thread with each event.

    Raises:
        UserError: There is no such run, it is not complete, a number is out of range, or its photos are gone.
    """
    asked = {"epochs": epochs, "unfreeze": unfreeze, "lr": lr, "lr_backbone": lr_backbone}
    return _wait(_worker(runs_dir).extend(run, **asked, listener=on_event))


def blend(
    run: str | Path,
    alpha: float | None = None,
    *,
    name: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    device: str = "auto",
    runs_dir: str | Path | None = None,
) -> BlendResult:
    """Measures models between a run's source with its first head and its tuned model (WiSE-FT), or keeps one of them.

    The weights are (1 − α) · source with that head + α · tuned. It is for runs whose first phase trained the head
    alone, such as those of recipe ``lp-ft``, or a head that was extended by unfrozen stages.

    Args:
        run: Its name in ``runs_dir``, or its path; it stays as it is.
        alpha: None measures a few on the validation photos; a number, 0 to 1, makes a new finished run of that blend.
        name: Of the new run; None for one made of the run's.
        on_progress: Called with blends measured and blends in all.
        device: Where to compute.
        runs_dir: None for the user's own folder.

    Raises:
        UserError: There is no such run, it has nothing to blend, or its photos are gone.
    """
    from tl_app import blending, keeping

    info, report = runs.open_run(run, resources.runs_dir(runs_dir)), on_progress or (lambda *_: None)
    if alpha is None:
        return blending.blend_run(info, device=device, report=report)
    return keeping.keep_blend(info, float(alpha), resources.runs_dir(runs_dir), name, device)


def probe(
    data: str | Path, *, on_event: Callable[[Event], None] | None = None, **settings: Any
) -> ProbeResult:
    """Says in seconds how well a backbone as it is tells the classes of photos apart, before any training.

    Args:
        data: One folder of photos per class, or ``train``/``val`` folders of those; or a zip.
        on_event: Called with progress and notices.
        **settings: Fields of :class:`tl_app.TrainConfig`: backbone, weights, image size, device, precision, and how
            validation photos are split off.

    Returns:
        The accuracy on photos that were kept aside in turn, with its spread. A training that follows finds what was
        computed in the cache.

    Raises:
        UserError: Settings, photos or machine do not fit.
    """
    from tl_app.engine.background import to_the_end
    from tl_app.probing import probe as probing
    from tl_app.scanning import scanned

    config = located(TrainConfig.from_dict({**settings, "data": str(data)}), resources.runs_dir(None))
    stopping = threading.Event()
    try:
        return to_the_end(probing(config, scanned(config, on_event), stopping.is_set), on_event)
    finally:
        stopping.set()


def lr_find(
    data: str | Path,
    *,
    on_event: Callable[[Event], None] | None = None,
    preset: str | Path | None = None,
    recipe: str | None = None,
    freeze: int | str | None = None,
    **settings: Any,
) -> RatesResult:
    """Finds a learning rate for a training: up to 100 steps at rising rates, on a network that is thrown away.

    Args:
        data: As for :func:`train`.
        on_event: Called with progress and notices.
        preset: As for :func:`train`.
        recipe: As for :func:`train`; the first phase of it is looked at.
        freeze: As for :func:`train`.
        **settings: Any other field of :class:`tl_app.TrainConfig`.

    Returns:
        The loss at each rate, and a suggestion for ``lr_head``. No run is made.

    Raises:
        UserError: Settings, photos or machine do not fit, or a run is being trained on the device.
    """
    from tl_app import beside
    from tl_app.engine.background import to_the_end
    from tl_app.finding import find
    from tl_app.scanning import scanned

    values = beside.fields(preset, recipe, freeze, settings, on_event) | {"data": str(data)}
    config = located(TrainConfig.from_dict(values), resources.runs_dir(None))
    stopping = threading.Event()
    try:
        return to_the_end(find(config, scanned(config, on_event), stopping.is_set), on_event)
    finally:
        stopping.set()


def inspect(data: str | Path, *, val_fraction: float = 0.2, seed: int = 0) -> DatasetIndex:
    """Scans a folder or zip of photos: classes, splits, and every file that cannot be used with its reason.

    Raises:
        DataError: It cannot be trained on as it is; the message says why.
    """
    from tl_app.data.index import scan

    return scan(data, val_fraction=val_fraction, seed=seed)


def list_backbones(search: str = "") -> list[BackboneSpec]:
    """The backbones there are, or those that match a search."""
    from tl_app.backbones import catalogue

    return catalogue.search(search)


def list_runs(runs_dir: str | Path | None = None) -> list[RunInfo]:
    """All runs, newest first."""
    return runs.list_runs(resources.runs_dir(runs_dir))


def open_run(run: str | Path, runs_dir: str | Path | None = None) -> RunInfo:
    """What a run's folder says.

    Raises:
        UserError: There is no such run.
    """
    return runs.open_run(run, resources.runs_dir(runs_dir))


def snapshot(run: str | Path, runs_dir: str | Path | None = None) -> Snapshot:
    """Where a run stands, with its curves.

    Raises:
        UserError: There is no such run.
    """
    return snapshot_of(open_run(run, runs_dir))


def _worker(runs_dir: str | Path | None) -> Worker:
    from tl_app.memory import keep_memory

    keep_memory()  # before torch is imported, where it is not yet
    from tl_app.jobs import Worker

    return Worker(resources.runs_dir(runs_dir))


def _wait(job: Job) -> TrainResult:
    try:
        while not job.wait(0.2):  # short waits, so that Ctrl-C is seen on every platform
            pass
    except KeyboardInterrupt:
        job.stop()
        job.wait()  # a second Ctrl-C ends this too; the run can still be resumed
    if job.error is not None:
        raise job.error
    result = read_result(job.path)
    if result is None:
        raise Interrupted(
            f"Run '{job.name}' was stopped before its first step.", remedy="Resume it to train."
        )
    return result
