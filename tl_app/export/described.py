"""What an exported model says of itself, read as something a stranger wrote: every value is checked.

The description travels as JSON: in an ONNX file's metadata, or as a file in an exported folder. Knows nothing of
networks.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from tl_app import presets, words
from tl_app.config import TrainConfig
from tl_app.data.preprocessing import Preprocessing
from tl_app.errors import UsageError, UserError
from tl_app.export.contract import FORMAT
from tl_app.presets import Preset

MOST_BYTES = 4 * 2**20  # 10,000 classes of 200 letters are half of it
MOST_CLASSES = 50_000
_LONGEST_NAME = 300
_LONGEST_SIDE = 4096  # of a network's input, in pixels

# Control characters, line and paragraph separators, surrogates, and what turns the direction of the text around it.
# Other signs without ink are letters of names: joiners (Persian, emoji), marks of direction, wide and fixed spaces.
_NO_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\u202a-\u202e\u2066-\u2069]")

T = TypeVar("T")


@dataclass(frozen=True)
class Described:
    """What an exported model says of itself.

    Attributes:
        kind: ``onnx``, ``onnx-int8``, ``onnx-fp16``, ``safetensors``, …
        name: Of the run that it comes from.
        created: ISO date and time.
        version: Of tl-app.
        classes: In the order of the outputs.
        preprocessing: What the graph does to photos.
        temperature: What its logits are divided by.
        sure_threshold: The confidence from which an answer counts as sure; None when none does, or it is not known.
        backbone: By name.
        weights: What the backbone started from, by name.
        settings: Of the run, for a new training; None when this version cannot read them, and then ``unread`` says why.
        lineage: The tasks that the weights come from, oldest first.
        licence: Of the weights, for people.
        metrics: Accuracy and its interval, images, split, log loss, calibration error; only those that are known.
        unread: Why there are no settings; empty otherwise.
    """

    kind: str
    name: str
    created: str
    version: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    temperature: float
    sure_threshold: float | None
    backbone: str
    weights: str
    settings: Preset | None
    lineage: tuple[str, ...]
    licence: str
    metrics: Mapping[str, Any]
    unread: str = ""

    @property
    def is_calibrated(self) -> bool:
        """Whether its confidence was measured; without a threshold no answer of it is then sure."""
        return self.sure_threshold is not None or self.temperature != 1.0


def parse(text: str, where: str) -> Described:
    """The description that a JSON text holds.

    Args:
        text: Of the file or the metadata.
        where: The file's name, for messages.

    Raises:
        UsageError: It is too long, no JSON, of another format, or a value is missing or not allowed.
    """
    if len(text) > MOST_BYTES:
        _wrong(where, f"its description is longer than {MOST_BYTES // 2**20} MB")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: its description is no JSON.", remedy="Export it again.") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        found = values.get("format") if isinstance(values, dict) else None
        _wrong(where, f"its description is of format {found!r:.20}, and this version reads {FORMAT}")
    part = _Parts(values, where)
    settings, unread = _settings(values.get("config"), part.text("name"))
    return Described(
        kind=part.text("kind"),
        name=part.text("name"),
        created=part.text("created"),
        version=part.text("version"),
        classes=part.classes(),
        preprocessing=part.preprocessing(),
        temperature=part.number("temperature", 1e-3, 1e3),
        sure_threshold=None if values.get("sure_threshold") is None else part.number("sure_threshold", 0, 1),
        backbone=part.text("backbone"),
        weights=part.text("weights"),
        settings=settings,
        lineage=part.texts("lineage", 100),
        licence=part.text("licence", longest=5000, lines=True),
        metrics=_metrics(values.get("metrics")),
        unread=unread,
    )


def figures(model: Described) -> str:
    """How good it is, in a sentence; empty when that is not known."""
    accuracy, images = model.metrics.get("accuracy"), model.metrics.get("images")
    if accuracy is None:
        return ""
    share, bounds = words.percent(accuracy), model.metrics.get("accuracy_interval")
    if bounds is not None:
        share += f" ({100 * bounds[0]:.0f}–{100 * bounds[1]:.0f} %, 95 % interval)"
    photos = f" of {images:,}" if images else ""
    ece = model.metrics.get("ece")
    error = "" if ece is None else f" Its confidence is off by {words.percent(ece)} on average."
    return f"Right on {share}{photos} {model.metrics.get('split', 'val')} photos.{error}"


@dataclass(frozen=True)
class _Parts:
    """The values of a description, one check for each kind of value."""

    values: dict[str, Any]
    where: str

    def text(self, name: str, longest: int = _LONGEST_NAME, lines: bool = False) -> str:
        value = self.values.get(name, "")
        if not is_text(value, longest, lines):
            _wrong(self.where, f"its {name} is no text of up to {longest} plain characters: {value!r:.80}")
        return str(value)

    def texts(self, name: str, most: int) -> tuple[str, ...]:
        value = self.values.get(name, [])
        if not isinstance(value, list) or len(value) > most:
            _wrong(self.where, f"its {name} is no list of up to {most:,} texts")
        for each in value:
            if not is_text(each):
                _wrong(self.where, f"its {name} holds what is no text of plain characters: {each!r:.80}")
        return tuple(value)

    def classes(self) -> tuple[str, ...]:
        found = self.texts("classes", MOST_CLASSES)
        if not found or len(set(found)) < len(found) or not all(found):
            _wrong(self.where, "its classes are missing, empty or there twice")
        return found

    def number(self, name: str, low: float, high: float) -> float:
        value: Any = self.values.get(name)
        if not _is_number(value) or not low <= value <= high:
            _wrong(self.where, f"its {name} is no number from {low:g} to {high:g}")
        return float(value)

    def preprocessing(self) -> Preprocessing:
        value = self.values.get("preprocessing")
        if not isinstance(value, dict):
            _wrong(self.where, "it does not say how photos are prepared")
        found = _within(self.where, lambda: Preprocessing.from_dict(value))
        if max(found.resize, found.crop) > _LONGEST_SIDE:
            _wrong(self.where, f"it resizes photos to more than {_LONGEST_SIDE} pixels")
        if not all(math.isfinite(value) for value in (*found.mean, *found.std)):
            _wrong(self.where, "its mean or standard deviation is no number")
        return found


def _settings(values: object, name: str) -> tuple[Preset | None, str]:
    """The run's settings without what belongs to one machine; a model is of use without them."""
    if not isinstance(values, dict):
        return None, "The model does not say how it was trained."
    try:
        return presets.of_config(TrainConfig.from_dict(values), f"Settings of {name}"), ""
    except (UserError, TypeError, ValueError) as error:
        return None, f"This version cannot read how it was trained: {error}"


def _metrics(values: object) -> dict[str, Any]:
    """The figures that make sense; others are left out, since nothing depends on them."""
    if not isinstance(values, dict):
        return {}
    shares = {"accuracy", "ece"}
    found: dict[str, Any] = {
        name: float(value)
        for name, value in values.items()
        if name in shares | {"log_loss"} and _is_number(value) and (name not in shares or 0 <= value <= 1)
    }
    bounds = values.get("accuracy_interval")
    if isinstance(bounds, list) and len(bounds) == 2 and all(_is_number(x) and 0 <= x <= 1 for x in bounds):
        found["accuracy_interval"] = (float(bounds[0]), float(bounds[1]))
    if isinstance(values.get("images"), int) and 0 < values["images"] < 10**12:
        found["images"] = values["images"]
    if is_text(values.get("split"), 20):
        found["split"] = values["split"]
    return found


def is_text(value: object, longest: int = _LONGEST_NAME, lines: bool = False) -> bool:
    """Whether it is a text that can be shown: not too long, and with nothing in it that controls a screen."""
    if not isinstance(value, str) or len(value) > longest:
        return False
    return not _NO_TEXT.search(value.replace("\n", "") if lines else value)


def _is_number(value: Any) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53
    return whole or (isinstance(value, float) and math.isfinite(value))


def _within(where: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except (UserError, OverflowError) as error:
        raise UsageError(f"{where}: {str(error)[:200]}", remedy="Export it again.") from error


def _wrong(where: str, what: str) -> NoReturn:
    raise UsageError(
        f"{where} cannot be used: {what}.", "Allowed is what tl-app exports.", "Export it again."
    )
