"""A run as a ``.pt2`` file, which torch alone runs: photos in, probabilities out.

.. code-block:: python

    import torch
    classify = torch.export.load("model.pt2").module()
    probabilities = classify(photos)  # uint8 (N, H, W, 3), upright RGB of any size

Knows nothing of checks.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tl_app.export.check import Ask
from tl_app.export.graph import Classifier
from tl_app.export.original import Original, Pixels

_ABOUT = "tl_app.json"  # beside the graph, inside the file
_EXAMPLE = (2, 91, 71, 3)  # of no size that a graph could take for the only one


def write_torch(original: Original, path: Path) -> str:
    """Writes the run as one module with open sizes; returns what to know of it, here nothing."""
    module = Classifier(original.network, original.preprocessing, original.temperature).eval()
    open_ = torch.export.Dim.DYNAMIC
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.export.export(
            module,
            (torch.zeros(_EXAMPLE, dtype=torch.uint8),),
            dynamic_shapes=({0: open_, 1: open_, 2: open_},),
        )
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # it names files of this machine
        about = json.dumps({**original.about, "kind": "torch"})
        torch.export.save(program, path, extra_files={_ABOUT: about})
    return ""


def torch_answers(path: Path, original: Original | None = None) -> Ask:
    """Asks a file in torch, on the CPU."""
    classify = torch.export.load(path).module()

    def ask(photos: Pixels) -> NDArray[np.float32]:
        with torch.no_grad():
            answers: NDArray[np.float32] = classify(torch.from_numpy(photos)).numpy()
        return answers

    return ask
