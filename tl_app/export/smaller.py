"""Smaller ONNX files: weights as halves, or the network in 8-bit whole numbers calibrated on training photos.

Preprocessing and probabilities stay as they are; only the network between them changes. Knows nothing of checks.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantType,
    qdq_loss_debug,
    quant_pre_process,
    quantize_static,
)
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from tl_app import words
from tl_app.errors import DataError, PhotoError
from tl_app.export.check import MOST_CHANGED, holds
from tl_app.export.onnx_files import LOGITS, cpu_session, network_graph, save_onnx
from tl_app.export.original import Original
from tl_app.export.shrinking import PIXELS

Inputs = list[NDArray[np.float32]]  # (1, 3, S, S) each

_CALIBRATED_ON = 96  # photos; more moved no answer of mobilenet_v2 on ants and bees
_LOOKED_AT = 8  # photos that the roughest layers are found with
_ROUGHEST = 4  # one of so many layers stays in float32 in the end
_BATCH = 16
_SUMS = ("Conv", "Gemm", "MatMul")
# What stays in whole numbers from one convolution to the next.
_BETWEEN = ("Add", "Clip", "Relu", "MaxPool", "GlobalAveragePool", "AveragePool", "Concat")


@dataclass(frozen=True)
class Level:
    """How much of a network is computed in whole numbers.

    Attributes:
        operators: Those that are.
        spare_ends: Whether the first and the last layer stay in float32.
        spare_rough: Whether the layers that lose most stay in float32.
        note: What is said of it.
    """

    operators: tuple[str, ...]
    spare_ends: bool
    spare_rough: bool
    note: str


LEVELS = (
    Level((*_SUMS, *_BETWEEN), False, False, "all layers in 8 bits"),
    Level(
        _SUMS,
        True,
        False,
        "all layers but the first and the last in 8 bits, what lies between them in float32",
    ),
    Level(_SUMS, True, True, "three of four layers in 8 bits, the most sensitive ones in float32"),
)


def write_fp16(original: Original, path: Path) -> str:
    """Writes the run with weights of half the size, input and output as ever; returns nothing to know."""
    network = convert_float_to_float16(network_graph(original), keep_io_types=True)
    OnnxModel.graph_topological_sort(network.graph)  # the casts were put at its end
    save_onnx(network, original, "onnx-fp16", path)
    return ""


def write_int8(original: Original, path: Path) -> str:
    """Writes the run in 8 bits: as many layers as keep its accuracy within a point; returns which those are.

    Raises:
        DataError: No training photo can be read any more.
    """
    photos = _pixels(original, original.training_photos(_CALIBRATED_ON))
    if not photos:
        raise DataError(
            f"INT8 is calibrated on training photos, and those of run '{original.info.name}' are gone.",
            remedy="Put them back, or choose onnx-fp16.",
        )
    plain, made = path.with_name("plain.onnx"), path.with_name("int8.onnx")
    onnx.save(network_graph(original), made)
    quant_pre_process(made, plain, skip_symbolic_shape=True)
    validation = _validation(original)
    level = LEVELS[0]
    for number, level in enumerate(LEVELS):
        rough = _roughest(plain, made, photos[:_LOOKED_AT]) if level.spare_rough else []
        _quantise(plain, made, level, photos, rough)
        if not validation or number + 1 == len(LEVELS) or _holds(original, made, validation):
            break
    save_onnx(onnx.load(made), original, "onnx-int8", path)
    return f"{level.note}; calibrated on {words.plural(len(photos), 'training photo')}"


def _quantise(plain: Path, made: Path, level: Level, photos: Inputs, rough: list[str]) -> None:
    """Static quantisation with weights by channel, between nodes that say where whole numbers begin and end."""
    graph = onnx.load(plain).graph
    layers = [node.name for node in graph.node if node.op_type in _SUMS]
    spared = [layers[0], layers[-1], *rough] if level.spare_ends else rough
    logger = logging.getLogger()
    before = logger.level
    try:
        logger.setLevel(logging.ERROR)  # it asks for what was done a moment ago
        quantize_static(
            plain,
            made,
            _Photos(photos),
            op_types_to_quantize=list(level.operators),
            nodes_to_exclude=list(dict.fromkeys(spared)),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
        )
    finally:
        logger.setLevel(before)


def _roughest(plain: Path, made: Path, photos: Inputs) -> list[str]:
    """The layers whose inputs lose most when they are rounded to 8 bits, as ``made`` did: one of so many."""
    seen, noise = made.with_name("seen.onnx"), {}
    qdq_loss_debug.modify_model_output_intermediate_tensors(str(made), str(seen))
    activations = qdq_loss_debug.collect_activations(str(seen), _Photos(photos))
    for name, pair in qdq_loss_debug.create_activation_matching(activations).items():
        before, after = (
            np.concatenate([each.ravel() for each in pair[key]]) for key in ("pre_qdq", "post_qdq")
        )
        noise[name] = float(np.linalg.norm(before - after) / max(float(np.linalg.norm(before)), 1e-30))
    layers = [node for node in onnx.load(plain).graph.node if node.op_type in _SUMS]
    by_noise = sorted(layers, key=lambda node: -max(noise.get(name, 0.0) for name in node.input))
    return [node.name for node in by_noise[: max(1, len(layers) // _ROUGHEST)]]


def _holds(original: Original, made: Path, validation: tuple[NDArray[np.int64], Inputs]) -> bool:
    """Whether a network is about as good on validation photos as the run, and seldom says anything else."""
    assert original.answers is not None
    session = cpu_session(made)
    places, photos = validation
    said = np.concatenate(
        [
            session.run([LOGITS], {PIXELS: np.concatenate(photos[start : start + _BATCH])})[0].argmax(1)
            for start in range(0, len(photos), _BATCH)
        ]
    )
    labels, own = original.answers.labels[places], original.answers.logits[places].argmax(1)
    # Of a run that is seldom right, accuracy alone says little.
    return holds(said, own, labels) and bool((own != said).mean() <= MOST_CHANGED)


def _validation(original: Original) -> tuple[NDArray[np.int64], Inputs] | None:
    """The places of validation photos that can be read, and what the network sees of them."""
    answers, places, photos = original.answers, [], []
    for place, path in enumerate(answers.paths if answers is not None else ()):
        assert answers is not None
        for pixels in _pixels(original, iter([answers.root / path])):
            places.append(place)
            photos.append(pixels)
    return (np.array(places, np.int64), photos) if places else None


def _pixels(original: Original, paths: Iterator[Path]) -> Inputs:
    """What the network sees of photos; those that cannot be read are passed over."""
    steps, found = original.preprocessing, []
    for path in paths:
        try:
            photo = steps.center(steps.load(path))
        except PhotoError:
            continue
        found.append(np.ascontiguousarray(steps.normalise(photo)[None].numpy()))
    return found


class _Photos(CalibrationDataReader):  # type: ignore[misc] # ONNX Runtime asks for one of its own
    """Photos for ONNX Runtime, one after the other."""

    def __init__(self, photos: Inputs) -> None:
        self._photos = iter(photos)

    def get_next(self) -> dict[str, Any] | None:
        """The next one, or None."""
        photo = next(self._photos, None)
        return None if photo is None else {PIXELS: photo}
