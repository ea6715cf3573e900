"""The public Python API for what comes after training: how good a run is, and why.

Imports torch only inside functions. Knows nothing of how results are shown.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tl_app import resources, runs

if TYPE_CHECKING:
    from tl_app.analysis.comparison import Comparison
    from tl_app.analysis.diagnosis import Diagnosis
    from tl_app.evaluation import EvaluationResult


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
