"""A small ONNX file as tl-app exports them: the mean colour decides between red and blue. No training, no network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tl_app.config import TrainConfig
from tl_app.data.preprocessing import Preprocessing

CLASSES = ("red", "blue")


def description(**over: Any) -> dict[str, Any]:
    """What such a file says of itself."""
    config = TrainConfig(data="/home/ann/photos", backbone="mobilenet_v3_small", weights="random", epochs=3)
    values = {
        "format": 1,
        "kind": "onnx",
        "name": "red-or-blue",
        "created": "2026-01-02T03:04:05Z",
        "version": "0.1.0",
        "classes": list(CLASSES),
        "preprocessing": Preprocessing(resize=64, crop=64).to_dict(),
        "temperature": 1.25,
        "sure_threshold": 0.8,
        "backbone": "mobilenet_v3_small",
        "weights": "random",
        "config": config.to_dict(),
        "lineage": ["ImageNet", "photos"],
        "licence": "BSD-3-Clause",
        "metrics": {
            "accuracy": 0.95,
            "accuracy_interval": [0.9, 0.98],
            "images": 100,
            "split": "val",
            "log_loss": 0.2,
            "ece": 0.03,
        },
    }
    return values | over


def model(about: dict[str, Any] | None = None) -> onnx.ModelProto:
    """The graph: photos → mean colour → logits → probabilities."""
    about = description() if about is None else about
    weights = np.zeros((3, max(2, len(about["classes"]))), np.float32)
    weights[0, 0] = weights[2, 1] = 0.02
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["photos"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["floats", "axes"], ["colour"], keepdims=0),
            helper.make_node("MatMul", ["colour", "weights"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ],
        "red-or-blue",
        [helper.make_tensor_value_info("photos", TensorProto.UINT8, ["N", "H", "W", 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", weights.shape[1]])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([1, 2], np.int64), "axes"),
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(made, {"tl_app": json.dumps(about), "labels": json.dumps(about["classes"])})
    return made


def write(path: Path, about: dict[str, Any] | None = None) -> Path:
    """The file."""
    path.write_bytes(model(about).SerializeToString())
    return path
