"""The original that exports are copies of: a run's best model, what is said of it, and what it answers.

Its answers are computed in float32, whatever precision the run was trained in: they are what copies are held against.
Knows nothing of formats.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tl_app
from tl_app.analysis.answers import Answers, computed
from tl_app.analysis.labelled import labelled
from tl_app.backbones.staged import StagedNetwork
from tl_app.data.decode import open_pixels
from tl_app.data.index import relocate
from tl_app.data.preprocessing import Preprocessing
from tl_app.engine import checkpoints
from tl_app.errors import DataError, UsageError
from tl_app.evaluation import evaluate_run
from tl_app.export.contract import FORMAT
from tl_app.export.licences import licence_of
from tl_app.predictor import load_run
from tl_app.references import FILE_PREFIX, RUN_PREFIX
from tl_app.results import KEPT_SPLITS
from tl_app.runs import RunInfo

Pixels = NDArray[np.uint8]
Report = Callable[[int, int], None]
_METRICS = ("accuracy", "accuracy_interval", "images", "split", "log_loss", "ece")
FOLDERS = ("data", "weights", "teacher")  # settings that may name one


@dataclass(frozen=True)
class Original:
    """A run's best model, ready to be copied.

    Attributes:
        info: The run.
        model: Which best model it is, as :func:`tl_app.engine.checkpoints.model_id` has it.
        network: In eval mode; not to be changed.
        preprocessing: From photo to input.
        labels: The name of each output.
        temperature: What logits are divided by.
        about: What an export says of itself, as plain JSON values; see :func:`described`.
        answers: Of its own validation photos; None when those are gone.
    """

    info: RunInfo
    model: str
    network: StagedNetwork
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    temperature: float
    about: dict[str, Any]
    answers: Answers | None

    def pixels(self, path: Path) -> Pixels:
        """A photo as the app decodes it, uint8 (1, H, W, 3); a huge JPEG at a fraction of its size.

        Raises:
            PhotoError: It cannot be used.
        """
        return open_pixels(path, shorter_side=self.preprocessing.resize)[None]

    def probabilities(self) -> NDArray[np.float32]:
        """Of its validation photos, (N, classes)."""
        assert self.answers is not None
        scores = self.answers.logits / np.float32(self.temperature)
        powers = np.exp(scores - scores.max(1, keepdims=True))
        shares: NDArray[np.float32] = powers / powers.sum(1, keepdims=True)
        return shares

    def training_photos(self, most: int) -> Iterator[Path]:
        """At most so many of its training photos, evenly spread over the list; none when they are gone."""
        with contextlib.suppress(DataError):
            photos = labelled(self.info, None, "train")
            root = relocate(photos.index).root
            for number in np.linspace(0, len(photos.photos) - 1, min(most, len(photos.photos))):
                yield root / photos.photos[round(number)].path


def original_of(info: RunInfo, device: str = "auto", report: Report | None = None) -> Original:
    """Loads a run's best model and asks it its own validation photos.

    Args:
        info: The run.
        device: Where to compute the answers.
        report: Called with photos done and photos in all.

    Raises:
        UsageError: The run has no model yet.
        UserError: A checkpoint is damaged, or the device is not there.
    """
    model = checkpoints.model_id(info.path / "checkpoints")
    metrics = _metrics(info, device)  # first: an evaluation calibrates a run that was not
    predictor, answers = load_run(info, device, precision="fp32"), None
    with contextlib.suppress(DataError):  # its photos are gone
        answers = computed(predictor, info, labelled(info, None, "val"), report)
    if model is None or checkpoints.model_id(info.path / "checkpoints") != model:
        raise UsageError(
            f"Run '{info.name}' got a better model while it was looked at.",
            remedy="Export it again, best when its training is over.",
        )
    return Original(
        info=info,
        model=model,
        network=predictor.network,
        preprocessing=predictor.preprocessing,
        labels=info.classes,
        temperature=predictor.temperature,
        about=described(info, predictor.temperature, _threshold(predictor.calibration), metrics),
        answers=answers,
    )


def described(
    info: RunInfo, temperature: float, threshold: float | None, metrics: dict[str, Any] | None
) -> dict[str, Any]:
    """What an export says of itself, so that whoever opens it needs nothing else.

    Args:
        info: The run.
        temperature: What logits are divided by.
        threshold: The confidence from which answers count as sure; None when none does.
        metrics: ``accuracy``, ``accuracy_interval``, ``images``, ``split``, ``log_loss`` and ``ece``; None when the run
            was never evaluated.
    """
    return {
        "format": FORMAT,
        "name": info.name,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "version": tl_app.__version__,
        "classes": list(info.classes),
        "preprocessing": info.preprocessing,
        "temperature": temperature,
        "sure_threshold": threshold,
        "backbone": info.config.backbone,
        "weights": _without_folder(info.config.weights),
        "config": _settings(info),
        "lineage": list(info.lineage),
        "licence": licence_of(info.config),
        "metrics": metrics or {},
    }


def _settings(info: RunInfo) -> dict[str, Any]:
    """The run's settings; folders of this machine by their last name alone, since exports are handed out."""
    settings = info.config.to_dict()
    for name in FOLDERS:
        settings[name] = _without_folder(str(settings[name]))
    return settings


def _without_folder(value: str) -> str:
    prefix = next((each for each in (RUN_PREFIX, FILE_PREFIX) if value.startswith(each)), "")
    rest = value.removeprefix(prefix)
    return prefix + (Path(rest).name if "/" in rest or "\\" in rest else rest)


def _metrics(info: RunInfo, device: str) -> dict[str, Any] | None:
    """Of the run's validation photos; computed where nobody has asked for them yet."""
    try:
        result = evaluate_run(info, None, next(iter(KEPT_SPLITS)), device)[0]
    except DataError:
        return None
    values = {name: getattr(result, name) for name in _METRICS}
    return {**values, "accuracy_interval": list(result.accuracy_interval)}


def _threshold(trust: Any) -> float | None:
    return None if trust is None else trust.threshold
