"""All that is known of a run on one split: answers, figures, calibration, and what was said of each photo.

Knows nothing of how it is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tl_app.analysis import calibration
from tl_app.analysis.answers import Answers, answers_of
from tl_app.analysis.calibration import Calibration
from tl_app.analysis.learned import learned_from
from tl_app.analysis.metrics import Confidence, Metrics, confidence_of, confusion_of, measured
from tl_app.analysis.mistakes import Judged, judged
from tl_app.data.index import DatasetIndex
from tl_app.engine import checkpoints
from tl_app.runs import ANALYSIS, RunInfo

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Examined:
    """A run's best model on one split.

    Attributes:
        info: The run as it was then.
        model: Names the model.
        answers: What it says of each photo.
        metrics: Figures of the calibrated answers.
        raw: What of them a temperature changes, at temperature 1.
        calibration: From the run's validation photos.
        judged: Each photo's answer, calibrated.
        confusion: int64 (C, C), rows are true classes.
        known: Of other photos than the run's own, how many it has learned from or was chosen by; None of its own.
    """

    info: RunInfo
    model: str
    answers: Answers
    metrics: Metrics
    raw: Confidence
    calibration: Calibration
    judged: Judged
    confusion: NDArray[np.int64]
    known: int | None = None


def examine(
    info: RunInfo,
    split: str | None,
    on_progress: Report | None = None,
    *,
    data: str | Path | None = None,
    device: str = "auto",
) -> Examined:
    """Everything of one split; seconds when the answers are kept.

    Args:
        info: The run, which may still be trained: its best model so far is examined.
        split: ``train``, ``val`` or ``test``; of other photos also ``all`` or None.
        on_progress: Called with photos done and photos in all while answers are computed.
        data: Other photos of the run's classes; None for its own.
        device: Where to compute.

    Raises:
        UserError: There is no model or no such split, or photos are gone.
    """
    while True:
        if data is None:
            answers = kept_answers(info, split or "val", on_progress, device)
        else:
            answers = answers_of(info, split, data=data, device=device, on_progress=on_progress)
        if answers.model == model_of(info):  # else a better one came in between
            break
    fitted = calibration.read(info.path / ANALYSIS, answers.model)
    if fitted is None:  # a run under way, or one that was killed: kept when it ends
        val = answers if data is None and split == "val" else kept_answers(info, "val", on_progress, device)
        fitted = calibration.calibrated(answers.model, val.labels, val.logits)
    metrics = measured(answers.labels, answers.logits, answers.classes, fitted.temperature)
    said = judged(answers.labels, answers.logits, fitted.temperature)
    return Examined(
        info=info,
        model=answers.model,
        answers=answers,
        metrics=metrics,
        raw=confidence_of(answers.labels, answers.logits),
        calibration=fitted,
        judged=said,
        confusion=confusion_of(answers.labels, said.said, len(answers.classes)),
        known=None if data is None else _known(info, answers),
    )


def _known(info: RunInfo, answers: Answers) -> int:
    own = DatasetIndex.read_manifest(info.path / "manifest.csv")
    chosen_by = {photo.content_hash for photo in own.used("val")}
    return len(set(answers.contents) & (learned_from(info) | chosen_by))


def model_of(info: RunInfo) -> str | None:
    """Names a run's best model; another name means another model. None when there is none yet."""
    return checkpoints.model_id(info.path / "checkpoints")


def kept_answers(
    info: RunInfo, split: str, on_progress: Report | None = None, device: str = "auto"
) -> Answers:
    """A run's answers, mapped from their file; computed first when there are none."""
    computed = False

    def report(done: int, total: int) -> None:
        nonlocal computed
        computed = True
        if on_progress is not None:
            on_progress(done, total)

    answers = answers_of(info, split, device=device, on_progress=report)
    kept = (info.path / ANALYSIS / f"{split}.safetensors").is_file()
    return answers_of(info, split) if computed and kept else answers  # from the file, which costs no memory
