"""The public Python API for what comes after training: how good a run is, and why.

Imports torch only inside functions. Knows nothing of how results are shown.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tl_app import resources, runs
from tl_app.config import TrainConfig
from tl_app.errors import PhotoError
from tl_app.events import Event
from tl_app.files import write_new

if TYPE_CHECKING:
    from tl_app.analysis.comparison import Comparison
    from tl_app.analysis.diagnosis import Diagnosis
    from tl_app.analysis.explaining import Explanation
    from tl_app.evaluation import EvaluationResult
    from tl_app.folding import FoldsResult
    from tl_app.worthwhile import WorthResult


def evaluate(
    run: str | Path,
    data: str | Path | None = None,
    *,
    split: str | None = None,
    device: str = "auto",
    runs_dir: str | Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    report: bool | str | Path = False,
) -> EvaluationResult:
    """Measures a run's best model on labelled photos.

    What it answers to its own photos is kept in the run folder, so a second call takes no time. Its own validation
    photos also calibrate it, where that was not done after training.

    Args:
        run: Its name in ``runs_dir``, or its path.
        data: Photos to measure on; None for the run's own.
        split: ``train``, ``val``, ``test`` or ``all``; None for ``val`` where there is one, else ``test``. All
            photos of a folder without split folders count as ``test``.
        device: Where to compute.
        runs_dir: None for the user's own folder.
        on_progress: Called with photos done and photos in all.
        report: Whether to write one HTML file as well, with all there is to say; it needs no network and no other
            file. True for ``report.html`` in the run folder, which is made anew; a path for a file that is not there
            yet.

    Raises:
        UserError: There is no such run or split, the photos' classes are not the run's, or the report is there already.
    """
    from tl_app.evaluation import evaluate_run

    info = runs.open_run(run, resources.runs_dir(runs_dir))
    if report is False:
        return evaluate_run(info, data, split, device, on_progress)[0]
    from tl_app.reporting import evaluate_and_report

    file = None if report is True else Path(report).expanduser()
    return evaluate_and_report(info, file, data, split, device, on_progress)


def diagnose(run: str | Path, *, runs_dir: str | Path | None = None) -> Diagnosis:
    """Says in plain words what a run's curves, counts and settings give reason to say, and what may help.

    Args:
        run: Its name in ``runs_dir``, or its path.
        runs_dir: None for the user's own folder.

    Raises:
        UserError: There is no such run, or its folder is damaged.
    """
    from tl_app.analysis.diagnosis import diagnose_run

    return diagnose_run(runs.open_run(run, resources.runs_dir(runs_dir)))


def compare(
    *wanted: str | Path,
    runs_dir: str | Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Puts runs side by side: figures, settings that differ, curves, and whether one is really better than another.

    Args:
        *wanted: Two to eight runs, by their names in ``runs_dir`` or their paths.
        runs_dir: None for the user's own folder.
        on_progress: Called with runs done and runs in all.

    Raises:
        UserError: There is no such run, it has no model yet, or there are too few or too many.
    """
    from tl_app.analysis.comparison import compare_runs

    infos = [runs.open_run(run, resources.runs_dir(runs_dir)) for run in wanted]
    return compare_runs(infos, on_progress or (lambda done, total: None))


def worth(
    data: str | Path,
    *,
    shares: Sequence[int] | None = None,
    epochs: int | None = None,
    on_event: Callable[[Event], None] | None = None,
    runs_dir: str | Path | None = None,
    **settings: Any,
) -> WorthResult:
    """Trains from scratch, the head only, partially and fully, with growing parts of the photos, and reads the chart.

    All trainings have the same number of epochs. What was trained before with the same photos and settings is used
    again, so that a study that was stopped goes on where it was.

    Args:
        data: Photos, as for :func:`tl_app.train`, or a run whose photos and settings are used.
        shares: Of the training photos of each class, in percent; None for 25, 50 and 100.
        epochs: Of every training; None for 10.
        on_event: Called with progress.
        runs_dir: Where the run is looked up; None for the user's own folder.
        **settings: Any of the fields of :class:`tl_app.TrainConfig` in :data:`tl_app.worthwhile.KEPT`.

    Raises:
        UserError: Settings, photos or machine do not fit, or a run is being trained on the device.
    """
    from tl_app.data.index import DatasetIndex, relocate
    from tl_app.engine.background import to_the_end
    from tl_app.scanning import scanned
    from tl_app.worthwhile import EPOCHS, SHARES, check, study, study_of

    check(settings)
    where = resources.runs_dir(runs_dir)
    if runs.is_run(data, where):
        info = runs.open_run(data, where)
        config = TrainConfig.from_dict({**info.asked.to_dict(), **settings})
        index = relocate(DatasetIndex.read_manifest(info.path / "manifest.csv"))
    else:
        config = TrainConfig.from_dict({**settings, "data": str(data)})
        index = scanned(config, on_event)
    plan = study_of(config, index, where, shares or SHARES, EPOCHS if epochs is None else epochs)
    stopping = threading.Event()
    try:
        return to_the_end(study(plan, stopping.is_set), on_event)
    finally:
        stopping.set()


def cross_validate(
    run: str | Path,
    folds: int = 5,
    *,
    runs_dir: str | Path | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> FoldsResult:
    """Trains as often as there are folds, with a run's settings, each time measured on photos left out of training.

    Every training and validation photo of the run is left out once; its test photos stay apart. It takes about
    ``folds`` times as long as the run did, and leaves nothing behind.

    Args:
        run: Its name in ``runs_dir``, or its path.
        folds: 2 to 20.
        runs_dir: None for the user's own folder.
        on_event: Called with each event of each training.

    Raises:
        UserError: There is no such run, the number does not fit, or its photos are gone.
        KeyboardInterrupt: Ctrl-C, once the training under way has ended in good order.
    """
    from tl_app.folding import cross_validated

    return cross_validated(runs.open_run(run, resources.runs_dir(runs_dir)), folds, on_event)


def explain(
    run: str | Path,
    photo: str | Path | bytes,
    label: str | None = None,
    *,
    device: str = "auto",
    runs_dir: str | Path | None = None,
) -> Explanation:
    """Says which places of a photo spoke for a class.

    Args:
        run: A run's name or path, or ``backbone:NAME`` (``backbone:NAME:WEIGHTS``) for a pretrained network.
        photo: A file, or the bytes of one.
        label: One of the run's classes; None for the most likely one.
        device: Where to compute.
        runs_dir: None for the user's own folder.

    Returns:
        The class with its probability, the map as numbers, and the photo with the map laid over it.

    Raises:
        UserError: There is no such run or class, or the photo cannot be read.
    """
    from tl_app.analysis.explaining import explain_photo
    from tl_app.predicting import load_predictor

    return explain_photo(load_predictor(run, device=device, runs_dir=runs_dir), photo, label)


def explain_files(
    run: str | Path,
    photos: str | Path | Iterable[str | Path],
    out: Path,
    label: str | None = None,
    *,
    device: str = "auto",
    runs_dir: str | Path | None = None,
) -> list[dict[str, object]]:
    """Writes what :func:`explain` draws, one PNG a photo; a photo that cannot be read stops nothing.

    Args:
        run: As for :func:`explain`.
        photos: A file, or several; a folder stands for the photos in it.
        out: Folder of the pictures, made where it is not there. A name that is taken gets a number.
        label: As for :func:`explain`.
        device: Where to compute.
        runs_dir: None for the user's own folder.

    Returns:
        A row per photo: its path, label, confidence, picture and legend, or its path and ``error``.

    Raises:
        UserError: There is no such run or class, or the folder cannot be written.
    """
    from tl_app.analysis.explaining import explain_photo, number_of
    from tl_app.data.sources import photo_files
    from tl_app.predicting import load_predictor

    predictor = load_predictor(run, device=device, runs_dir=runs_dir)
    if label is not None:
        number_of(predictor, label)  # before anything is written
    rows: list[dict[str, object]] = []
    for photo in photo_files(photos):
        try:
            found = explain_photo(predictor, photo, label)
        except PhotoError as error:
            rows.append({"path": str(photo), "error": str(error)})
            continue
        picture = write_new(out, f"{Path(photo).stem}-why", ".png", found.overlay)
        rows.append(
            {
                "path": str(photo),
                "label": found.label,
                "confidence": found.confidence,
                "picture": str(picture),
                "legend": found.legend,
            }
        )
    return rows
