"""The public Python API for what comes after training: how good a run is, and why.

Imports torch only inside functions. Knows nothing of how results are shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tl_app import resources, runs

if TYPE_CHECKING:
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
