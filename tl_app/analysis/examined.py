"""All that is known of a run on one split: answers, figures, calibration, and what was said of each photo.

Knows nothing of how it is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tl_app.analysis import calibration
from tl_app.analysis.answers import Answers, answers_of
from tl_app.analysis.calibration import Calibration
from tl_app.analysis.learned import learned_from
from tl_app.analysis.metrics import Confidence, Metrics, confidence_of, measured
from tl_app.analysis.mistakes import Judged, judged
from tl_app.data.index import DatasetIndex
from tl_app.predictor import model_of
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
        known: Of other photos than the run's own, how many it has learned from or was chosen by; None of its own.
    """

    info: RunInfo
    model: str
    answers: Answers
    metrics: Metrics
    raw: Confidence
    calibration: Calibration
    judged: Judged
    known: int | None = None


def examine(info: RunInfo, split: str, on_progress: Report | None = None) -> Examined:
    """Everything of one of a run's own splits; seconds when the answers are kept. Writes no calibration.

    Args:
        info: The run, which may still be trained: its best model so far is examined.
        split: ``train``, ``val`` or ``test``.
        on_progress: Called with photos done and photos in all while answers are computed.

    Raises:
        UserError: There is no model or no such split, or photos are gone.
    """
    while True:
        answers = kept_answers(info, split, on_progress)
        if answers.model == model_of(info):  # else a better one came in between
            break
    fitted = calibration.read(info.path / ANALYSIS, answers.model)
    if fitted is None:  # a run under way, or one that was killed: kept when it ends
        val = answers if split == "val" else kept_answers(info, "val", on_progress)
        fitted = calibration.calibrated(answers.model, val.labels, val.logits)
    return examined_of(info, answers, fitted)


def examined_of(info: RunInfo, answers: Answers, fitted: Calibration, *, own: bool = True) -> Examined:
    """What follows from a run's answers.

    Args:
        info: The run.
        answers: To photos of one split.
        fitted: Of the same model.
        own: Whether they are the run's own photos.
    """
    return Examined(
        info=info,
        model=answers.model,
        answers=answers,
        metrics=measured(answers.labels, answers.logits, answers.classes, fitted.temperature),
        raw=confidence_of(answers.labels, answers.logits),
        calibration=fitted,
        judged=judged(answers.labels, answers.logits, fitted.temperature),
        known=None if own else _known(info, answers),
    )


def _known(info: RunInfo, answers: Answers) -> int:
    own = DatasetIndex.read_manifest(info.path / "manifest.csv")
    chosen_by = {photo.content_hash for photo in own.used("val")}
    return len(set(answers.contents) & (learned_from(info) | chosen_by))


def kept_answers(info: RunInfo, split: str, on_progress: Report | None = None) -> Answers:
    """A run's answers, mapped from their file; computed first when there are none."""
    computed = False

    def report(done: int, total: int) -> None:
        nonlocal computed
        computed = True
        if on_progress is not None:
            on_progress(done, total)

    answers = answers_of(info, split, on_progress=report)
    kept = (info.path / ANALYSIS / f"{split}.safetensors").is_file()
    return answers_of(info, split) if computed and kept else answers  # from the file, which costs no memory
