"""The public Python API for what comes after training: how good a run is, and why.

Imports torch only inside functions. Knows nothing of how results are shown.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tl_app import resources, runs
from tl_app.config import TrainConfig
from tl_app.events import Event

if TYPE_CHECKING:
    from tl_app.analysis.comparison import Comparison
    from tl_app.analysis.diagnosis import Diagnosis
    from tl_app.evaluation import EvaluationResult
    from tl_app.worthwhile import WorthResult


def evaluate(
    run: str | Path,
    data: str | Path | None = None,
    *,
    split: str | None = None,
    device: str = "auto",
    runs_dir: str | Path | None = None,
) -> EvaluationResult:
    """Measures a run's best model on labelled photos.

    Args:
        run: Its name in ``runs_dir``, or its path.
        data: Photos to measure on; None for the run's own.
        split: ``train``, ``val``, ``test`` or ``all``; None for ``val`` where there is one, else ``test``. All
            photos of a folder without split folders count as ``test``.
        device: Where to compute.
        runs_dir: None for the user's own folder.

    Raises:
        UserError: There is no such run or split, or the photos' classes are not the run's.
    """
    from tl_app.evaluation import evaluate_run

    return evaluate_run(runs.open_run(run, resources.runs_dir(runs_dir)), data, split, device)


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
    from tl_app.jobs import scanned
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
