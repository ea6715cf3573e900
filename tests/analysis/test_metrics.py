"""Figures are scikit-learn's, and where that gives none, what is said instead."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as sk

from tl_app.analysis import certainty, metrics
from tl_app.analysis.metrics import measured

Case = tuple[NDArray[np.int64], NDArray[np.float32], int]


def _case(seed: int, images: int, classes: int, missing: int = 0, ties: bool = False) -> Case:
    """Labels, logits and the number of classes; ``missing`` classes have no photos."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes - missing, images)
    logits = rng.normal(size=(images, classes)) * 2
    logits[np.arange(images), labels] += 1.5
    if ties:  # all that is asked of ranks must hold with equal scores too
        logits = np.round(logits)
    return labels, logits.astype(np.float32), classes


CASES = {
    "two classes": _case(0, 60, 2),
    "two classes, few photos": _case(1, 4, 2),
    "five classes": _case(2, 200, 5),
    "nine classes, three without photos": _case(3, 150, 9, missing=3),
    "one class only": _case(4, 20, 4, missing=3),
    "more classes than photos": _case(5, 30, 80),
    "one photo": _case(6, 1, 3),
    "a thousand classes": _case(7, 1500, 1000),
}
TIES = _case(8, 90, 4, ties=True)


@pytest.mark.parametrize("case", [*CASES.values(), TIES], ids=[*CASES, "with ties"])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_figures_are_those_of_scikit_learn(case: Case, temperature: float) -> None:
    labels, logits, count = case
    every = range(count)
    said = logits.argmax(1)
    found = measured(labels, logits, [str(each) for each in every], temperature)
    scaled = logits.astype(np.float64) / temperature
    probabilities = np.exp(scaled - scaled.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    assert found.images == len(labels)
    assert found.accuracy == pytest.approx(sk.accuracy_score(labels, said))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on classes that were said of no photo
        assert found.balanced_accuracy == pytest.approx(sk.balanced_accuracy_score(labels, said))
    for name, average in (("macro_f1", "macro"), ("weighted_f1", "weighted")):
        expected = sk.f1_score(labels, said, average=average, zero_division=0)
        assert getattr(found, name) == pytest.approx(expected), name
    assert np.array_equal(found.confusion, sk.confusion_matrix(labels, said, labels=every))
    rows = sk.precision_recall_fscore_support(labels, said, labels=every, zero_division=0)
    for name, values in zip(("precision", "recall", "f1", "support"), rows, strict=True):
        assert [row[name] for row in found.per_class.values()] == pytest.approx(list(values)), name
    loss = sk.log_loss(labels, probabilities, labels=every)
    assert found.confidence.log_loss == pytest.approx(loss, rel=1e-6)
    scores = probabilities[:, 1] if count == 2 else probabilities
    brier = sk.brier_score_loss(labels, scores, labels=every)
    assert found.confidence.brier == pytest.approx(brier)
    if found.top_k is None:
        assert count == 2 and "top_k" in found.undefined
    else:
        assert found.top_k["k"] == min(5, count - 1)
        expected = sk.top_k_accuracy_score(labels, logits, k=found.top_k["k"], labels=every)
        assert found.top_k["accuracy"] == pytest.approx(expected)


@pytest.mark.parametrize("case", [*CASES.values(), TIES], ids=[*CASES, "with ties"])
def test_one_against_the_rest_is_as_in_scikit_learn(case: Case) -> None:
    labels, logits, count = case
    found = metrics.ranked(labels, logits)
    exact = logits.astype(np.float64)
    scores = exact - metrics._norms(exact)[:, None]  # to the last bit: ties are to be the same
    aucs, precisions = [], []
    for number, (area, precision) in enumerate(found.per_class):
        mine = labels == number
        if mine.all() or not mine.any():
            assert area is precision is None
            continue
        aucs.append(sk.roc_auc_score(mine, scores[:, number]))
        precisions.append(sk.average_precision_score(mine, scores[:, number]))
        assert area == pytest.approx(aucs[-1])
        assert precision == pytest.approx(precisions[-1])
    if aucs:
        assert found.roc_auc == pytest.approx(np.mean(aucs))
        assert found.average_precision == pytest.approx(np.mean(precisions))
    else:
        assert found.roc_auc is found.average_precision is None


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    """Ten photos at confidence 0.9 of which six are right, and ten at 0.6 of which six are."""
    logits = np.log(np.array([[0.9, 0.1]] * 10 + [[0.6, 0.4]] * 10, np.float32))
    labels = np.array(([0] * 6 + [1] * 4) * 2)
    found = measured(labels, logits, ["a", "b"]).confidence
    assert found.ece == pytest.approx(0.5 * 0.3 + 0.5 * 0.0, abs=1e-6)
    filled = [each for each in found.bins if each.images]
    assert len(found.bins) == 15 and len(filled) == 2
    assert [each.confidence for each in filled] == pytest.approx([0.6, 0.9])
    assert [each.accuracy for each in filled] == pytest.approx([0.6, 0.6])
    assert sum(each.images for each in found.bins) == 20
    assert all(each.accuracy is None for each in found.bins if not each.images)


def test_certainty_falls_into_the_last_bin() -> None:
    bins = metrics.reliability(np.array([1.0, 0.5, 1 / 15]), np.array([True, False, True]))
    assert [place for place, each in enumerate(bins) if each.images] == [0, 7, 14]


@pytest.mark.parametrize(
    ("images", "truth"),
    [(153, 0.94), (153, 0.8), (153, 0.9), (100, 0.7), (400, 0.94), (1000, 0.97), (2000, 0.85)],
)
def test_the_interval_holds_the_truth_in_95_of_100_draws(images: int, truth: float) -> None:
    """Ten times 2,000 draws, as many of 2,000 would be off by half a point by chance."""
    draws, counts = np.unique(np.random.default_rng(0).binomial(images, truth, 20_000), return_counts=True)
    found = [certainty.interval(right, images) for right in draws.tolist()]
    held = sum(count for count, (low, high) in zip(counts, found, strict=True) if low <= truth <= high)
    assert held / 20_000 == pytest.approx(0.95, abs=0.015)


def test_it_does_so_over_many_sizes_and_truths() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for images, truth in zip(
        rng.integers(30, 1000, 2000).tolist(), rng.uniform(0.5, 0.99, 2000), strict=True
    ):
        low, high = certainty.interval(int(rng.binomial(images, truth)), images)
        held += low <= truth <= high
    assert held / 2000 == pytest.approx(0.95, abs=0.015)


def test_the_interval_stays_within_0_and_1() -> None:
    assert certainty.interval(0, 5)[0] == 0.0 and certainty.interval(5, 5)[1] == 1.0
    assert certainty.interval(144, 153) == pytest.approx((0.8920, 0.9687), abs=2e-4)  # by hand


def test_huge_logits_give_figures_all_the_same() -> None:
    logits = np.array([[1e4, -1e4], [-3e4, 3e4], [1e4, 0]], np.float32)
    found = measured(np.array([0, 1, 1]), logits, ["a", "b"])
    assert found.confidence.log_loss == pytest.approx(1e4 / 3) and np.isfinite(found.confidence.brier)
