"""From a run to its calibration and to what its model is familiar with: made once for each best model, then kept.

They are made when training ends, and where that was missed (an older run, a killed process) when the run is evaluated.
Knows nothing of how figures are shown.
"""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Callable

import numpy as np

from tl_app.analysis import calibration, familiar
from tl_app.analysis.answers import Answers, Report, answered, answers_of, assembled, half
from tl_app.analysis.calibration import Calibration, calibrated
from tl_app.analysis.familiar import Familiar, familiar_with, spread_evenly
from tl_app.analysis.labelled import Labelled, labelled, open_photos
from tl_app.data.preprocessing import Preprocessing
from tl_app.engine.kept import kept_activations
from tl_app.errors import DataError
from tl_app.predictor import load_run, model_of
from tl_app.runs import ANALYSIS, RunInfo


@dataclasses.dataclass(frozen=True)
class Trust:
    """A model's validation answers and what was made of them; ``familiar`` is None when its photos are gone."""

    answers: Answers
    calibration: Calibration
    familiar: Familiar | None


def judged_by_val(info: RunInfo, device: str = "auto", on_progress: Report | None = None) -> Trust:
    """Calibrates a run's best model by its validation photos, and keeps that.

    Args:
        info: The run.
        device: Where to compute what is missing.
        on_progress: As for :func:`tl_app.analysis.answers.answers_of`.

    Raises:
        UserError: As for :func:`tl_app.analysis.answers.answers_of`.
    """
    answers = answers_of(info, "val", device=device, on_progress=on_progress)
    known = familiar.read(info.path / ANALYSIS, answers.model)
    if known is None:
        with contextlib.suppress(DataError):  # of training photos that are gone since
            rows = _train_features(info, device, on_progress)
            known = familiar_with(answers.model, rows, answers.features)
    return _kept(info, answers, known)


def judged_by_training(info: RunInfo, on_progress: Report) -> Trust:
    """The same right after training, from activations that it kept where there are such; else with the predictor.

    Raises:
        UserError: As for :func:`judged_by_val`.
    """
    val = labelled(info, None, "val")
    preprocessing = Preprocessing.from_dict(info.preprocessing)
    photos = [*val.photos, *_some(info).photos]
    store, found, failed = open_photos(val.index, photos, preprocessing, info.classes)
    of_val = {photo.path for photo in val.photos}
    items = [item for item in found if item.path in of_val]
    train = [item for item in found if item.path not in of_val]
    model = model_of(info)
    assert model is not None
    kept = None
    if items and train:
        kept = kept_activations(info.config, len(info.classes), info.path / "checkpoints", store, found)
    if kept is None:
        return judged_by_val(info, info.config.device, on_progress)
    features, logits = kept.outputs(items, on_progress)
    left_out = {path: reason for path, reason in failed.items() if path in of_val}
    answers = assembled(info, store, items, (half(features), logits.numpy()), "val", left_out, model)
    rows, _ = kept.outputs(train, on_progress)
    return _kept(info, answers, familiar_with(model, rows.numpy(), features.numpy()))


def calibration_of(info: RunInfo, model: str, device: str = "auto") -> Calibration | None:
    """What is kept of a model, or made now; None when its validation photos are gone."""
    found = calibration.read(info.path / ANALYSIS, model)
    if found is None:
        with contextlib.suppress(DataError):
            judged = judged_by_val(info, device)
            return judged.calibration if judged.answers.model == model else None
    return found


def written(what: str, write: Callable[[], None]) -> None:
    """Writes into a run's folder; where that cannot be written, a warning says what will be computed again."""
    try:
        write()
    except OSError as error:
        reason = error.strerror or error
        warnings.warn(f"{what} could not be kept: {reason}.", RuntimeWarning, stacklevel=3)


def _kept(info: RunInfo, answers: Answers, known: Familiar | None) -> Trust:
    folder = info.path / ANALYSIS
    made = calibrated(answers.model, answers.labels, answers.logits)
    if known is not None:
        there = known
        written("What the model is familiar with", lambda: familiar.write(folder, there))
    written("The calibration", lambda: calibration.write(folder, made))
    return Trust(answers, made, known)


def _train_features(info: RunInfo, device: str, on_progress: Report | None) -> familiar.Rows:
    predictor = load_run(info, device)
    photos = _some(info)
    store, items, _ = open_photos(photos.index, photos.photos, predictor.preprocessing, info.classes)
    return answered(predictor, store, items, on_progress)[0]


def _some(info: RunInfo) -> Labelled:
    """As many training photos as are compared with, spread evenly over classes."""
    photos = labelled(info, None, "train")
    numbers = {label: number for number, label in enumerate(info.classes)}
    taken = spread_evenly(np.array([numbers[photo.label] for photo in photos.photos], np.int64))
    return dataclasses.replace(photos, photos=[photos.photos[place] for place in taken])
