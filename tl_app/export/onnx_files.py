"""A run as one ONNX file with its preprocessing inside: three graphs, one behind the other.

In front stands the app's way from photos to pixels, behind it softmax at the run's temperature; the network between
them may be made smaller meanwhile. Knows nothing of checks.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper

from tl_app.errors import UsageError
from tl_app.export.contract import KEY, PHOTOS, PROBABILITIES
from tl_app.export.graph import plain
from tl_app.export.original import Original, Pixels
from tl_app.export.shrinking import PIXELS, preprocessing_graph
from tl_app.export.steps import OPSET, Steps
from tl_app.files import write_atomically

LOGITS = "logits"
_LARGEST_BYTES = 2**31 - 2**20  # of a protobuf, less what the other graphs need


def write_onnx(original: Original, path: Path) -> str:
    """Writes the run in float32; returns what to know of it, here nothing.

    Raises:
        UsageError: The network is too large for one file.
    """
    save_onnx(network_graph(original), original, "onnx", path)
    return ""


def network_graph(original: Original) -> onnx.ModelProto:
    """The network alone, ``pixels`` float32 (N, 3, S, S) to ``logits`` float32 (N, classes).

    Raises:
        UsageError: It is too large for one file.
    """
    network, size = plain(original.network), original.preprocessing.crop
    heavy = sum(each.numel() * each.element_size() for each in network.state_dict().values())
    if heavy > _LARGEST_BYTES:
        raise UsageError(
            f"{original.info.config.backbone} has {heavy / 1e9:.1f} GB of weights.",
            "An ONNX file holds 2 GB.",
            "Choose torch or safetensors.",
        )
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    try:
        logger.setLevel(logging.ERROR)  # it tells which operators are torchvision's
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network,
                (torch.zeros(2, 3, size, size),),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
                input_names=[PIXELS],
                output_names=[LOGITS],
                opset_version=OPSET,
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    assert program is not None
    return _bare(program.model_proto)


def save_onnx(network: onnx.ModelProto, original: Original, kind: str, path: Path) -> None:
    """Puts the other two graphs around a network, and writes it with all that is known of it.

    Args:
        network: As :func:`network_graph` gives it.
        original: What it is a copy of.
        kind: ``onnx``, ``onnx-fp16`` or ``onnx-int8``.
        path: The file.
    """
    front = preprocessing_graph(original.preprocessing)
    # One graph's names must not meet another's.
    inner = compose.add_prefix(network, "net_", rename_inputs=False, rename_outputs=False)
    opsets = {each.domain: each.version for each in network.opset_import}
    behind = _probabilities_graph(original.temperature, len(original.labels))
    for each in (front, inner, behind):
        each.ir_version = 10  # of ONNX 1.16, which ONNX Runtime reads since 1.18
        if each is not inner:
            each.opset_import[0].version = opsets[""]
    seen = compose.merge_models(front, inner, [(PIXELS, PIXELS)], name="tl-app")
    model = compose.merge_models(seen, behind, [(LOGITS, LOGITS)], name="tl-app")
    model.producer_name, model.producer_version = "tl-app", original.about["version"]
    helper.set_model_props(model, metadata_of(original, kind))
    _name_batch(model)
    onnx.checker.check_model(model)
    write_atomically(path, model.SerializeToString())


def metadata_of(original: Original, kind: str) -> dict[str, str]:
    """What an ONNX file says of itself, by key."""
    about = {**original.about, "kind": kind}
    accuracy = original.about["metrics"].get("accuracy")
    right = f", {accuracy:.1%} right on its validation photos" if accuracy is not None else ""
    return {
        KEY: json.dumps(about),
        "labels": json.dumps(list(original.labels)),
        "description": (
            f"{original.info.name}: {original.info.config.backbone} for {len(original.labels)} classes{right}. "
            "In: upright RGB photos, uint8 (N, H, W, 3), of any size. Out: calibrated probabilities."
        ),
    }


def cpu_session(model: Path | bytes) -> onnxruntime.InferenceSession:
    """A file of ours, or its content, in ONNX Runtime on the CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def onnx_answers(
    model: Path | bytes, original: Original | None = None
) -> Callable[[Pixels], NDArray[np.float32]]:
    """Asks a file, or its content: photos uint8 (N, H, W, 3) to probabilities (N, classes)."""
    session = cpu_session(model)

    def ask(photos: Pixels) -> NDArray[np.float32]:
        (answers,) = session.run([PROBABILITIES], {PHOTOS: photos})
        return np.asarray(answers, np.float32)

    return ask


def _probabilities_graph(temperature: float, classes: int) -> onnx.ModelProto:
    to = Steps("post_")
    scaled = to.add("Div", LOGITS, to.constant(temperature, np.float32))
    to.add("Softmax", scaled, axis=1, name=PROBABILITIES)
    value = helper.make_tensor_value_info
    return to.model(
        [value(LOGITS, TensorProto.FLOAT, ["photos", classes])],
        [value(PROBABILITIES, TensorProto.FLOAT, ["photos", classes])],
    )


def _bare(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without the exporter's notes, which name files and lines of this machine."""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    model.doc_string = model.graph.doc_string = ""
    del model.graph.value_info[:]
    parts: list[Any] = [*model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output]
    for part in parts:
        part.doc_string = ""
        del part.metadata_props[:]
    return model


def _name_batch(model: onnx.ModelProto) -> None:
    """The exporter has a name of its own for the open size."""
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "photos"
