"""WiSE-FT on a run that trained its head first: models between the source with that head and the tuned network.

θ = (1 − α) · probe + α · tuned, weight by weight, BatchNorm's statistics included. Each α is measured on the run's
validation photos once, and what was predicted is kept in the run's folder (``blend.safetensors``); between two of
them an estimate costs nothing. Source: Wortsman et al. 2022, "Robust fine-tuning of zero-shot models"
(arXiv:2109.01903). Knows nothing of how training is done.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tl_app.analysis.labelled import open_photos
from tl_app.data.index import DatasetIndex, relocate
from tl_app.data.preprocessing import Preprocessing
from tl_app.engine import checkpoints, setup
from tl_app.engine.batches import eval_batches
from tl_app.engine.checkpoints import LAST
from tl_app.engine.device import move, resolve_device
from tl_app.engine.evaluate import evaluate, to_input
from tl_app.errors import ResourceError, UsageError
from tl_app.results import TrainResult
from tl_app.runs import RunInfo
from tl_app.tensors import write_tensors
from tl_app.transfer.averages import blended

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)  # measured when none is asked for
_FILE = "blend.safetensors"
_BATCH = 32

Weights = dict[str, Tensor]
Report = Callable[[int, int], None]


@dataclass(frozen=True)
class BlendPoint:
    """How a blend does on the validation photos: the share right, 0 to 1, and the mean cross entropy, in nats."""

    alpha: float
    accuracy: float
    loss: float


@dataclass(frozen=True)
class BlendResult:
    """Models between a run's probe and its tuned network.

    Attributes:
        run: The run folder's path.
        tuned: Which of its models stands at α = 1: its best one, unless the probe itself is that.
        images: Validation photos that each point was measured on.
        left_out: Others, which were there when the run was trained and could not be read any more.
        points: By α, from 0, the source with the probe's head, to 1, the tuned model. Choosing the best of them by
            the same photos is a little optimistic.
        alpha: The one that was asked for; else the most accurate, of equals the one with the smallest loss.
        kept: The run that was made of it; None when none was asked for.
    """

    run: str
    tuned: str
    images: int
    points: list[BlendPoint]
    alpha: float
    kept: TrainResult | None = None
    left_out: int = 0


@dataclass
class Measured:
    """What was predicted along the way: probabilities (N, C) by α, and the points that they make.

    Attributes:
        model: Names the two ends; after more training they are others, and nothing of this holds.
        photos: Names those that could be read; points that were measured on others cannot be compared with these.
        labels: int64, (N,).
    """

    model: str
    photos: str
    labels: Tensor
    probabilities: dict[float, Tensor] = field(default_factory=dict)
    points: dict[float, BlendPoint] = field(default_factory=dict)

    def estimate(self, alpha: float) -> BlendPoint:
        """The point at any α, from the predictions at the two measured ones beside it.

        In between, logits are interpolated, which comes close where the two models lie in one basin (section 6 of
        Wortsman et al.); logarithms of probabilities serve as well, since softmax takes no notice of a constant.
        """
        if alpha in self.points:
            return self.points[alpha]
        low = max(known for known in self.points if known < alpha)
        high = min(known for known in self.points if known > alpha)
        one, other = (self.probabilities[at].clamp_min(1e-38).log() for at in (low, high))
        logits = torch.lerp(one, other, (alpha - low) / (high - low))
        right = (logits.argmax(1) == self.labels).double().mean().item()
        return BlendPoint(alpha, right, torch.nn.functional.cross_entropy(logits, self.labels).item())


@dataclass(frozen=True)
class Ends:
    """The two models: all weights by name, and what the tuned one is, for people."""

    probe: Weights
    tuned: Weights
    name: str


def blend_run(
    info: RunInfo, alphas: Sequence[float] = ALPHAS, device: str = "auto", report: Report = lambda *_: None
) -> BlendResult:
    """Measures blends of a run.

    Args:
        info: A run that :attr:`~tl_app.runs.RunInfo.has_probe`.
        alphas: Which, 0 to 1; those measured before are not measured again as long as the same photos can be read, but
            all are in the result.
        device: Where to compute.
        report: Called with blends done and blends in all.

    Raises:
        UsageError: The run has no two ends, or an α is outside 0 to 1.
        DataError: Its photos cannot be read any more.
        ResourceError: Its folder cannot be written.
    """
    for alpha in alphas:
        if not 0 <= alpha <= 1:
            raise UsageError(
                f"α is {alpha:g}.", "Allowed: 0 (source with the probe's head) to 1 (tuned model)."
            )
    ends = read_ends(info)
    known = measured(info)
    if _unknown(known, alphas):
        with _turn(info):  # two at once would each write what it found over what the other did
            known = measured(info)
            if todo := _unknown(known, alphas):
                known = _measure(info, ends, known, todo, device, report)
    assert known is not None
    points = [known.points[alpha] for alpha in sorted(known.points)]
    best = max(points, key=lambda point: (point.accuracy, -point.loss))
    alpha = alphas[0] if len(alphas) == 1 else best.alpha
    images = len(known.labels)
    val = DatasetIndex.read_manifest(info.path / "manifest.csv").used("val")
    return BlendResult(str(info.path), ends.name, images, points, alpha, left_out=len(val) - images)


def read_ends(info: RunInfo) -> Ends:
    """The two models of a run, on the CPU.

    Raises:
        UsageError: It trained no head alone first, or nothing after that, or is being trained.
        ResourceError: A checkpoint is missing or damaged.
    """
    if info.is_running:
        raise UsageError(f"Run '{info.name}' is being trained.", remedy="Wait until it is done, or stop it.")
    if not info.has_probe:
        raise UsageError(
            f"Run '{info.name}' has nothing to blend its model with: it did not train the head alone first.",
            remedy="Train with recipe lp-ft or gradual, or with recipe head and unfreeze stages afterwards.",
        )
    folder, network = info.path / "checkpoints", setup.empty_network(info.config, len(info.classes))
    probe_epoch = checkpoints.load_probe(folder, network)
    probe = _copied(network)
    position = checkpoints.read_position(folder / LAST)
    if position is None or position.epoch <= probe_epoch:
        raise UsageError(
            f"Run '{info.name}' has trained its head alone so far, so there is no tuned model to blend with.",
            remedy="Resume it, and let it train at least one epoch more.",
        )
    if max(position.soup or [position.best_epoch]) > probe_epoch:
        checkpoints.load_best(folder, network)
        name = f"the soup of {len(position.soup)} epochs" if position.soup else f"epoch {position.best_epoch}"
    else:  # the probe was never beaten: what came of tuning may still be of use in part
        checkpoints.load_end(folder, network)
        name = f"epoch {position.epoch}, the last one"
    return Ends(probe, _copied(network), name)


def measured(info: RunInfo) -> Measured | None:
    """What was predicted before; None when nothing was, or the run was trained further since."""
    try:
        with safe_open(info.path / _FILE, framework="pt") as file:
            values = file.metadata()
            if values["model"] != _model(info):
                return None
            points = [BlendPoint(*point) for point in json.loads(values["points"])]
            found = Measured(values["model"], values["photos"], file.get_tensor("labels").clone())
            for point in points:
                found.points[point.alpha] = point
                found.probabilities[point.alpha] = file.get_tensor(repr(point.alpha)).clone()
            return found
    except (OSError, SafetensorError, KeyError, ValueError):  # none yet, or spoilt: it can be made again
        return None


def _unknown(known: Measured | None, alphas: Sequence[float]) -> list[float]:
    return [alpha for alpha in dict.fromkeys(alphas) if known is None or alpha not in known.points]


def _turn(info: RunInfo) -> AbstractContextManager[object]:
    """Waits for whoever measures blends of the same run, in this process or another, and keeps others waiting."""
    try:
        return FileLock(info.path / "blend.lock", thread_local=False).acquire()
    except OSError as error:
        raise _unwritten(info, error) from error


def _unwritten(info: RunInfo, error: OSError) -> ResourceError:
    return ResourceError(
        f"Blends of run '{info.name}' cannot be kept in its folder: {error.strerror or error}.",
        remedy="Free some space, or see to it that the folder can be written.",
    )


def _measure(
    info: RunInfo, ends: Ends, known: Measured | None, todo: Sequence[float], device: str, report: Report
) -> Measured:
    index = relocate(DatasetIndex.read_manifest(info.path / "manifest.csv"))
    preprocessing, target = Preprocessing.from_dict(info.preprocessing), resolve_device(device)
    store, items, _ = open_photos(index, index.used("val"), preprocessing, info.classes)
    photos = hashlib.sha256(json.dumps(items).encode()).hexdigest()
    if known is not None and known.photos != photos:
        todo, known = sorted({*known.points, *todo}), None
    network = setup.empty_network(info.config, len(info.classes))
    network.eval()
    move(network, target)
    live = checkpoints.weights(network)

    def classify(images: Tensor) -> Tensor:
        return network(to_input(images, preprocessing, target)).float()  # type: ignore[no-any-return]

    report(0, len(todo))
    for number, alpha in enumerate(todo, 1):
        for name, value in blend_of(ends, alpha).items():
            live[name].copy_(value)
        result = evaluate(classify, eval_batches(store, items, _BATCH), device=target, stop=lambda: False)
        assert result is not None
        if known is None:
            known = Measured(_model(info), photos, result.labels)
        known.probabilities[alpha] = result.probabilities
        known.points[alpha] = BlendPoint(alpha, result.accuracy, result.loss)
        report(number, len(todo))
    assert known is not None
    tensors = {repr(alpha): rows.contiguous() for alpha, rows in known.probabilities.items()}
    points = json.dumps([dataclasses.astuple(point) for point in known.points.values()])
    said = {"model": known.model, "photos": known.photos, "points": points}
    try:
        write_tensors(info.path / _FILE, {"labels": known.labels, **tensors}, said)
    except OSError as error:
        raise _unwritten(info, error) from error
    return known


def blend_of(ends: Ends, alpha: float) -> Weights:
    """All weights of the model at an α."""
    return blended(ends.probe, ends.tuned, alpha)


def _model(info: RunInfo) -> str:
    position = checkpoints.read_position(info.path / "checkpoints" / LAST)
    assert position is not None
    return json.dumps([position.step, position.best_epoch, position.soup])


def _copied(network: torch.nn.Module) -> Weights:
    return {name: value.clone() for name, value in checkpoints.weights(network).items()}  # type: ignore[arg-type]
