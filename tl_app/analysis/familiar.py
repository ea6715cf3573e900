"""Whether a photo is like those that a model learnt from: a softmax is often sure of what it has never seen.

The distance from a photo's features to the nearest training photo's, both brought to length 1. Source: Sun et al. 2022,
"Out-of-Distribution Detection with Deep Nearest Neighbors" (arXiv:2204.06507), with their limit, which 95 % of familiar
photos are within. Knows features only.

They take the 50th neighbour and more, of a million photos. Of 245 ants and bees (MobileNetV2), the nearest one told 200
other photos (Caltech-101) from 153 validation photos as well as the 5th or 10th (area under the ROC curve 0.977, 0.980
and 0.979), and alone has the same limit for training and new photos, also with a handful of photos per class.
Mahalanobis distance came to 0.911, centred or standardised features to 0.84 to 0.91.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from tl_app.analysis.metrics import Labels
from tl_app.tensors import write_tensors

FILE = "familiar.safetensors"
_FORMAT = "1"
_WITHIN = 0.95
_MOST = 4000  # photos to compare with: 10 MB in 16 bits for 1,280 features, 0.1 ms per photo
_GOLDEN = 0.6180339887498949
_ROWS = 1024  # of photos that are compared at a time: 16 MB
_ASKED = 1000  # of them are compared with all others to find the limit

Rows = NDArray[np.float16] | NDArray[np.float32]


@dataclass(frozen=True)
class Familiar:
    """Training photos to compare with.

    Attributes:
        model: Which model's features they are, as :func:`tl_app.engine.checkpoints.model_id` has it.
        rows: float32 (M, D), of length 1.
        limit: The distance, 0 to 2, that 95 % of familiar photos are within.
    """

    model: str
    rows: NDArray[np.float32]
    limit: float

    def distances(self, features: Rows) -> NDArray[np.float32]:
        """From photos (B, D) to the nearest training photo: (B,), 0 (the same direction) to 2."""
        return _nearest(features, self.rows)


def spread_evenly(labels: Labels, most: int = _MOST) -> NDArray[np.int64]:
    """The places of at most ``most`` photos, as many of each class as can be; in order."""
    turns = np.empty(len(labels), np.int64)  # when a photo's class gets to it
    for label in sorted(set(labels.tolist())):  # np.unique imports numpy.ma, for 12 ms
        mine = np.flatnonzero(labels == label)
        # Multiples of the golden ratio are spread evenly at any number: a burst of one scene is not all of a class.
        turns[mine[np.argsort(np.arange(len(mine)) * _GOLDEN % 1.0)]] = np.arange(len(mine))
    found: NDArray[np.int64] = np.sort(np.lexsort((labels, turns))[:most])
    return found


def familiar_with(model: str, train: Rows, val: Rows) -> Familiar:
    """What a model is familiar with.

    Args:
        model: Which one.
        train: Features of training photos (M, D), at least two.
        val: Of photos that it was not trained on (N, D): a tuned model's features of training photos lie closer
            together than those of new ones, so the limit is that of whichever are further away.
    """
    rows = _directions(train)
    asked = np.linspace(0, len(rows) - 1, min(_ASKED, len(rows))).astype(np.int64)
    own = _nearest(rows[asked], rows, without=asked)
    limits = [np.quantile(distances, _WITHIN) for distances in (own, _nearest(val, rows))]
    return Familiar(model, rows, float(max(limits)))


def write(folder: Path, familiar: Familiar) -> None:
    """Keeps it in a run's ``analysis`` folder.

    Raises:
        OSError: It cannot be written.
    """
    folder.mkdir(exist_ok=True)
    about = {"format": _FORMAT, "model": familiar.model, "limit": repr(familiar.limit)}
    rows = torch.from_numpy(familiar.rows.astype(np.float16))
    write_tensors(folder / FILE, {"rows": rows}, about)


def read(folder: Path, model: str) -> Familiar | None:
    """What is kept for a model; None when nothing is, or only that of an earlier one."""
    try:
        with safe_open(folder / FILE, framework="pt") as file:
            about = file.metadata()
            if about["format"] != _FORMAT or about["model"] != model:
                return None
            return Familiar(model, file.get_tensor("rows").float().numpy(), float(about["limit"]))
    except (OSError, SafetensorError, KeyError, ValueError):  # none yet, or spoilt: it can be made again
        return None


def _nearest(
    asked: Rows, rows: NDArray[np.float32], without: NDArray[np.int64] | None = None
) -> NDArray[np.float32]:
    """Distances to the nearest row; ``without`` are the places of the asked ones themselves."""
    found = np.empty(len(asked), np.float32)
    for start in range(0, len(asked), _ROWS):
        part = slice(start, start + _ROWS)
        cosines = _directions(asked[part]) @ rows.T  # (B, M)
        if without is not None:
            cosines[np.arange(len(cosines)), without[part]] = -1.0
        found[part] = np.sqrt(np.maximum(0.0, 2.0 - 2.0 * cosines.max(1)))
    return found


def _directions(features: Rows) -> NDArray[np.float32]:
    exact = features.astype(np.float32)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    found: NDArray[np.float32] = exact / np.maximum(lengths, 1e-12)
    return found
