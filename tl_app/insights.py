"""The public Python API for what comes after training: how good a run is, and why.

Imports torch only inside functions. Knows nothing of how results are shown.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tl_app import resources, runs
from tl_app.events import Event

if TYPE_CHECKING:
    from tl_app.evaluation import EvaluationResult
    from tl_app.folding import FoldsResult


def evaluate(
    run: str | Path,
    data: str | Path | None = None,
    *,
    split: str | None = None,
    device: str = "auto",
    runs_dir: str | Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
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

    Raises:
        UserError: There is no such run or split, or the photos' classes are not the run's.
    """
    from tl_app.evaluation import evaluate_run

    info = runs.open_run(run, resources.runs_dir(runs_dir))
    return evaluate_run(info, data, split, device, on_progress)


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
