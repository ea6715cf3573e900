"""The instant probe: how well a backbone as it is tells the user's classes apart, before any training.

A logistic regression on the backbone's features, its strength chosen by cross-validation on the training photos. The
features are those that a head-only run starts from. Knows nothing of the page.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tl_app.config import TrainConfig
from tl_app.data.index import DatasetIndex
from tl_app.errors import Interrupted
from tl_app.events import Event

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

# scikit-learn's C: higher follows the photos more closely. The middle first, so that its neighbours start close to it.
STRENGTHS = (0.01, 0.1, 1.0, 0.001)
_FOLDS = 5
# photos x features x classes: an iteration takes 30 ms for 5,000 x 1,280 x 100 on one core, a fit 15 to 30 of them.
_MOST_WORK = 700_000_000
_LEAST_PER_CLASS = 5
_ALL_FOLDS_WORK = 60_000_000  # up to here every strength is tried on every fold, past it on two of them
_TOLERANCE = 1e-3  # 1e-2 is twice as fast, but cost a point of accuracy on Caltech-101; 1e-4 gained nothing


@dataclass(frozen=True)
class ProbeResult:
    """How many photos are classified right without any training of the network.

    Attributes:
        data: The photos.
        backbone: Whose features were used.
        weights: Which of its weights.
        accuracy: Share of training photos classified right by classifiers that had not seen them, 0 to 1; the mean
            over the folds.
        spread: Standard deviation of that share over the folds.
        folds: How many there were.
        strength: The best of :data:`STRENGTHS`.
        largest_share: What always naming the largest class would get.
        val_accuracy: Share of validation photos classified right; None without any.
        val_images: How many validation photos there are.
        train_images: How many training photos there are.
        probed_images: How many of them were used, which are fewer only where all would take too long.
        per_class: For each class its probed photos and the share of them classified right.
        feature_seconds: Time until the features were there.
        seconds: Time in all.
    """

    data: str
    backbone: str
    weights: str
    accuracy: float
    spread: float
    folds: int
    strength: float
    largest_share: float
    val_accuracy: float | None
    val_images: int
    train_images: int
    probed_images: int
    per_class: dict[str, dict[str, float]]
    feature_seconds: float
    seconds: float


def probe(
    config: TrainConfig, index: DatasetIndex, stop: Callable[[], bool]
) -> Generator[Event, None, ProbeResult]:
    """Computes features, or finds them in the cache, and measures how far they tell the classes apart.

    Args:
        config: Backbone, weights, image size, device and precision are used.
        index: The photos.
        stop: Asked many times a second.

    Returns:
        The result (use ``yield from``).

    Raises:
        UserError: Settings, photos or machine do not fit.
        Interrupted: ``stop`` said so.
    """
    from tl_app.engine.background import with_progress
    from tl_app.engine.features import pooled_features
    from tl_app.engine.source import source_of

    started, start = time.perf_counter(), source_of(config)
    found = yield from pooled_features(config, index, stop)
    feature_seconds = time.perf_counter() - started
    shown = _sample(found.train_labels, found.train.shape[1], config.seed)
    scale = _scale(found.train)
    train, labels = scale(found.train[shown]), found.train_labels[shown]
    fold_of = _folds(labels, config.seed)
    strength, predicted = yield from with_progress(
        "cross-validating", "fits", lambda report: _cross_validate(train, labels, fold_of, report, stop)
    )
    right = predicted == labels
    shares = [float(right[fold_of == fold].mean()) for fold in range(fold_of.max() + 1)]
    return ProbeResult(
        data=index.source,
        backbone=start.backbone if start else config.backbone,
        weights=start.name if start else "random",
        accuracy=float(np.mean(shares)),
        spread=float(np.std(shares, ddof=1)),
        folds=len(shares),
        strength=strength,
        largest_share=float(np.bincount(found.train_labels).max() / len(found.train_labels)),
        val_accuracy=_val_accuracy(train, labels, strength, scale(found.val), found.val_labels),
        val_images=len(found.val_labels),
        train_images=len(found.train_labels),
        probed_images=len(labels),
        per_class={name: _share(right[labels == number]) for number, name in enumerate(index.classes)},
        feature_seconds=feature_seconds,
        seconds=time.perf_counter() - started,
    )


def _sample(labels: Labels, features: int, seed: int) -> NDArray[np.intp]:
    """Positions of the photos to use: all, or as many of each class in proportion as fit into some seconds."""
    classes = int(labels.max()) + 1
    most = max(_MOST_WORK // (features * classes), _LEAST_PER_CLASS * classes)
    order = _by_class(labels, seed)
    if len(order) <= most:
        return np.arange(len(order))
    return np.sort(order[np.linspace(0, len(order) - 1, most).astype(np.intp)])


def _folds(labels: Labels, seed: int) -> NDArray[np.intp]:
    """The fold of each photo (N,): folds of one size, the photos of each class spread evenly over them."""
    counts = np.bincount(labels)
    folds = int(min(_FOLDS, max(2, np.median(counts[counts > 0]))))
    fold_of = np.empty(len(labels), np.intp)
    fold_of[_by_class(labels, seed)] = np.arange(len(labels)) % folds
    return fold_of


def _by_class(labels: Labels, seed: int) -> NDArray[np.intp]:
    """Positions sorted by class, in random order within each."""
    return np.lexsort((np.random.default_rng(seed).random(len(labels)), labels))


def _scale(features: Floats) -> Callable[[Floats], Floats]:
    """Brings every feature to mean 0 and deviation 1; those that do not vary stay near 0."""
    mean, deviation = features.mean(0), features.std(0)
    deviation[deviation <= 1e-6 * (1 + np.abs(mean))] = 1.0
    return lambda values: (values - mean) / deviation


def _cross_validate(
    features: Floats,
    labels: Labels,
    fold_of: NDArray[np.intp],
    report: Callable[[int, int], None],
    stop: Callable[[], bool],
) -> tuple[float, Labels]:
    """The best strength, and for every photo (N,) what a classifier that had not seen it says with that strength."""
    from threadpoolctl import threadpool_limits

    folds = range(int(fold_of.max()) + 1)
    work = features.size * (int(labels.max()) + 1)
    first = folds if work <= _ALL_FOLDS_WORK else folds[:2]
    total, done = len(first) * len(STRENGTHS) + len(folds) - len(first), iter(range(1, 1 << 30))

    def tried(fold: int, strengths: Sequence[float]) -> list[Labels]:
        """What is said of the fold's photos with each strength; each fit starts from the last one's."""
        seen, model, said = fold_of != fold, None, []
        if len(set(labels[seen])) == 1:  # all of a tiny second class is in this fold
            return [np.full(int(np.sum(~seen)), labels[seen][0])] * len(strengths)
        for strength in strengths:
            if stop():
                raise Interrupted("The probe was stopped.")
            model = _fit(features[seen], labels[seen], strength, model)
            said.append(model.predict(features[~seen]))
            report(next(done), total)
        return said

    # A thread per fold, and one for each fit's matrix products: several that wait for one another are up to 30 times
    # slower where other work keeps the cores busy.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(min(len(folds), os.cpu_count() or 1)) as pool:
        choices = list(pool.map(lambda fold: tried(fold, STRENGTHS), first))
        right = [
            [np.mean(said == labels[fold_of == f]) for said in c] for f, c in zip(first, choices, strict=True)
        ]
        best = int(np.argmax(np.mean(right, axis=0)))
        rest = list(pool.map(lambda fold: tried(fold, STRENGTHS[best : best + 1]), folds[len(first) :]))
    predicted = np.empty_like(labels)
    for fold, said in zip(folds, [*(c[best] for c in choices), *(r[0] for r in rest)], strict=True):
        predicted[fold_of == fold] = said
    return STRENGTHS[best], predicted


def _fit(
    features: Floats, labels: Labels, strength: float, start: LogisticRegression | None = None
) -> LogisticRegression:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    warnings.filterwarnings("ignore", category=ConvergenceWarning)  # close enough is what is asked for
    model = start or LogisticRegression(tol=_TOLERANCE, warm_start=True)
    return model.set_params(C=strength).fit(features, labels)


def _val_accuracy(
    features: Floats, labels: Labels, strength: float, val: Floats, val_labels: Labels
) -> float | None:
    if not len(val_labels):
        return None
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):
        return float(np.mean(_fit(features, labels, strength).predict(val) == val_labels))


def _share(right: NDArray[Any]) -> dict[str, float]:
    return {"images": len(right), "accuracy": float(right.mean()) if len(right) else 0.0}
