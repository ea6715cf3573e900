"""How well a run does on labelled photos: its own validation or test photos, or others.

Figures are of calibrated probabilities. Those of a run's own photos are kept in its ``metrics.json``, validation and
test apart. Knows nothing of training; it uses a predictor like everyone else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tl_app import results, runs
from tl_app.analysis import calibration, familiar
from tl_app.analysis.answers import Report, answers_of
from tl_app.analysis.examined import Examined, examined_of
from tl_app.analysis.familiar import Familiar
from tl_app.analysis.judging import calibration_of, judged_by_training, judged_by_val, written
from tl_app.analysis.labelled import labelled
from tl_app.analysis.metrics import Bin, ranked
from tl_app.engine.background import with_progress
from tl_app.errors import Interrupted, UserError
from tl_app.events import Event, Notice
from tl_app.runs import ANALYSIS, RunInfo


@dataclass(frozen=True)
class EvaluationResult:
    """How well a run does on labelled photos.

    Attributes:
        run: The run folder's path.
        data: The photos.
        split: Which of them: ``train``, ``val``, ``test`` or ``all``. The best epoch and the calibration were chosen by
            validation photos, so figures of those are a little optimistic.
        images: How many were used.
        accuracy: Share classified right, 0 to 1.
        accuracy_interval: Where the accuracy on all such photos lies, with 95 % confidence.
        balanced_accuracy: Mean recall of the classes.
        macro_f1: Mean F1 of the classes.
        weighted_f1: The same, weighted by their photos.
        loss: Mean cross entropy in nats, without calibration: what training made small.
        log_loss: The same with calibration.
        log_loss_before: The same as ``loss``.
        ece: Expected calibration error, 0 to 1, with calibration.
        ece_before: The same without.
        brier: Brier score with calibration, 0 to 1 for two classes and 0 to 2 for more.
        temperature: What logits were divided by; 1 without calibration.
        calibrated_on: How many validation photos the temperature comes from; 0 without calibration.
        sure_threshold: The confidence from which an answer counts as sure; None when none does.
        sure_share: The share of these photos whose answers are sure; None without calibration.
        sure_accuracy: The share of those that is right; None without any.
        unfamiliar_share: The share of these photos that is unlike all training photos; None when that is not known.
        top_k: How often the true class is among the ``k`` most likely ones; None for two classes.
        roc_auc: Mean one-vs-rest area under the ROC curve; None where it is not defined.
        average_precision: Mean one-vs-rest average precision; None where it is not defined.
        per_class: For each class ``images``, ``accuracy``, ``precision``, ``recall``, ``f1``, ``support``, ``roc_auc``
            and ``average_precision``.
        confusion: Counts, rows are true classes in the order of ``classes``.
        reliability: Confidence beside accuracy, in 15 bins of confidence.
        undefined: Which figures are None, and why.
        classes: Their names.
        left_out: Photos that could not be used, with the reason.
        report: The HTML file that was written along; empty without.
    """

    run: str
    data: str
    split: str
    images: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    balanced_accuracy: float
    macro_f1: float
    weighted_f1: float
    loss: float
    log_loss: float
    log_loss_before: float
    ece: float
    ece_before: float
    brier: float
    temperature: float
    calibrated_on: int
    sure_threshold: float | None
    sure_share: float | None
    sure_accuracy: float | None
    unfamiliar_share: float | None
    top_k: dict[str, Any] | None
    roc_auc: float | None
    average_precision: float | None
    per_class: dict[str, dict[str, Any]]
    confusion: list[list[int]]
    reliability: tuple[Bin, ...]
    undefined: dict[str, str]
    classes: tuple[str, ...]
    left_out: dict[str, str]
    report: str = ""


def evaluate_run(
    info: RunInfo,
    data: str | Path | None,
    split: str | None,
    device: str,
    on_progress: Report | None = None,
) -> tuple[EvaluationResult, Examined]:
    """Measures the best model of a run; arguments as for :func:`tl_app.insights.evaluate`.

    Returns:
        The figures, and all that is known of each photo.

    Raises:
        UserError: There is no such split, the classes are not the run's, or nothing can be read.
    """
    photos = labelled(info, data, split)
    if photos.own and photos.split == "val":
        trust = judged_by_val(info, device, on_progress)
        answers, fitted, known = trust.answers, trust.calibration, trust.familiar
    else:
        answers = answers_of(info, photos.split, data=data, device=device, on_progress=on_progress)
        fitted = calibration_of(info, answers.model, device) or calibration.without(answers.model)
        known = familiar.read(info.path / ANALYSIS, answers.model)
    examined = examined_of(info, answers, fitted, own=photos.own)
    result = _result(examined, known, photos.index.source)
    if photos.own and photos.split in results.KEPT_SPLITS:
        values = _values(result)
        written("The evaluation", lambda: results.write_evaluation(info.path, photos.split, values))
    return result, examined


def concluded(run: Path, stop: Callable[[], bool]) -> Generator[Event, None, dict[str, Any] | None]:
    """Calibrates and evaluates a run whose training has just ended.

    Args:
        run: The run folder.
        stop: Asked often; says whether to leave it.

    Yields:
        Progress, and why there is no result.

    Returns:
        What :class:`EvaluationResult` says of the validation photos, as plain values; None when it was stopped or
        cannot be done now: a training that is done is not to fail for it, and ``evaluate`` does it later.
    """

    def work(report: Report) -> EvaluationResult:
        def reported(done: int, total: int) -> None:
            if stop():
                raise Interrupted("Calibration was stopped.")
            report(done, total)

        info = runs.open_run(run, run.parent)
        trust = judged_by_training(info, reported)
        examined = examined_of(info, trust.answers, trust.calibration)
        return _result(examined, trust.familiar, labelled(info, None, "val").index.source)

    try:
        return _values((yield from with_progress("calibrating", "photos", work)))
    except (UserError, OSError, MemoryError) as error:
        text = f"Not calibrated yet; `tl-app evaluate` does it: {error}"
        yield Notice(text, "info" if isinstance(error, Interrupted) else "warning")
        return None


def _values(result: EvaluationResult) -> dict[str, Any]:
    """What is kept of it in the run folder."""
    return {name: value for name, value in dataclasses.asdict(result).items() if name != "report"}


def _result(examined: Examined, known: Familiar | None, source: str) -> EvaluationResult:
    answers, found, plain, fitted = examined.answers, examined.metrics, examined.raw, examined.calibration
    ranking = ranked(answers.labels, answers.logits, fitted.temperature)
    undefined = dict(found.undefined)
    if ranking.roc_auc is None:
        undefined |= dict.fromkeys(("roc_auc", "average_precision"), "All photos are of one class.")
    far = known.distances(answers.features) > known.limit if known is not None else None
    sure = np.zeros(len(answers.labels), bool)
    if fitted.threshold is not None:
        sure = examined.judged.confidence >= fitted.threshold
        if far is not None:
            sure &= ~far
    return EvaluationResult(
        run=str(examined.info.path),
        data=source,
        split=answers.split,
        images=found.images,
        accuracy=found.accuracy,
        accuracy_interval=found.accuracy_interval,
        balanced_accuracy=found.balanced_accuracy,
        macro_f1=found.macro_f1,
        weighted_f1=found.weighted_f1,
        loss=plain.log_loss,
        log_loss=found.confidence.log_loss,
        log_loss_before=plain.log_loss,
        ece=found.confidence.ece,
        ece_before=plain.ece,
        brier=found.confidence.brier,
        temperature=fitted.temperature,
        calibrated_on=fitted.images,
        sure_threshold=fitted.threshold,
        sure_share=float(sure.mean()) if fitted.images else None,
        sure_accuracy=float((~examined.judged.wrong)[sure].mean()) if sure.any() else None,
        unfamiliar_share=float(far.mean()) if far is not None else None,
        top_k=found.top_k,
        roc_auc=ranking.roc_auc,
        average_precision=ranking.average_precision,
        per_class={
            name: {**values, "roc_auc": area, "average_precision": precision}
            for (name, values), (area, precision) in zip(
                found.per_class.items(), ranking.per_class, strict=True
            )
        },
        confusion=found.confusion.tolist(),
        reliability=found.confidence.bins,
        undefined=undefined,
        classes=answers.classes,
        left_out=answers.left_out,
    )
