"""A temperature never makes log loss larger, and sure answers are as right as was asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from tl_app.analysis import calibration
from tl_app.analysis.calibration import calibrated, fit_temperature, risk_coverage, suggested
from tl_app.analysis.metrics import confidence_of


def _drawn(
    seed: int, images: int, classes: int, scale: float
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Labels drawn from the softmax of some logits, and those logits times ``scale``."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(images, classes)) * 2
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(1)  # the Gumbel-max trick draws from the softmax
    return labels, (logits * scale).astype(np.float32)


@pytest.mark.parametrize("scale", [0.25, 1.0, 4.0])
def test_the_temperature_undoes_what_was_overdone(scale: float) -> None:
    labels, logits = _drawn(0, 20_000, 5, scale)
    temperature = fit_temperature(labels, logits)
    assert temperature == pytest.approx(scale, rel=0.05)
    best = minimize_scalar(lambda t: confidence_of(labels, logits, t).log_loss, (scale / 2, scale))
    assert confidence_of(labels, logits, temperature).log_loss == pytest.approx(best.fun, abs=1e-4)
    assert confidence_of(labels, logits, temperature).ece < 0.02


@pytest.mark.parametrize("seed", range(40))
def test_it_is_never_worse_than_none(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images, classes = int(rng.integers(1, 40)), int(rng.integers(1, 6))
    labels = rng.integers(0, classes, images)
    logits = (rng.normal(size=(images, classes)) * rng.choice([0, 0.1, 1, 30, 1e4])).astype(np.float32)
    temperature = fit_temperature(labels, logits)
    assert 0 < temperature < 1000
    before, after = confidence_of(labels, logits), confidence_of(labels, logits, temperature)
    assert after.log_loss <= before.log_loss


@pytest.mark.parametrize(("images", "least", "most"), [(8, 0.88, 0.99), (100, 0.95, 0.9999)])
def test_a_few_photos_all_right_do_not_make_certain(images: int, least: float, most: float) -> None:
    logits = np.tile(np.array([[2.0, 0.0]], np.float32), (images, 1))
    temperature = fit_temperature(np.zeros(images, np.int64), logits)
    assert least < 1 / (1 + np.exp(-2 / temperature)) < most


def test_answers_are_withheld_until_the_rest_is_right_enough() -> None:
    confidences = np.array([0.99, 0.9, 0.9, 0.8, 0.7, 0.6, 0.4])
    right = np.array([True, True, True, True, False, True, False])
    curve = risk_coverage(confidences, right)
    assert [point.confidence for point in curve] == [0.99, 0.9, 0.8, 0.7, 0.6, 0.4]
    assert [point.coverage for point in curve] == pytest.approx([1 / 7, 3 / 7, 4 / 7, 5 / 7, 6 / 7, 1])
    assert [point.accuracy for point in curve] == pytest.approx([1, 1, 1, 4 / 5, 5 / 6, 5 / 7])
    chosen = suggested(curve, 0.95)
    assert chosen is not None and chosen.confidence == 0.8
    assert suggested(risk_coverage(confidences, ~right), 0.95) is None
    below_even = suggested(risk_coverage(np.array([0.4, 0.3]), np.array([True, True])), 0.95)
    assert below_even is None  # right by chance: what is more likely wrong than right is not sure


@pytest.mark.parametrize(("accuracy", "wanted"), [(0.6, 0.95), (0.9, 0.95), (0.94, 0.97), (1.0, 1.0)])
def test_sure_answers_are_to_be_better_than_the_rest(accuracy: float, wanted: float) -> None:
    assert calibration.wanted_accuracy(accuracy) == pytest.approx(wanted)


def test_it_is_kept_for_the_model_that_it_is_of(tmp_path: Path) -> None:
    labels, logits = _drawn(1, 300, 4, 3.0)
    made = calibrated("model 1", labels, logits)
    assert made.log_loss < made.log_loss_before and made.ece < made.ece_before
    assert made.accuracy is None or made.accuracy >= made.target
    assert len(made.curve) <= 101 and made.curve[-1].coverage == 1
    assert calibration.read(tmp_path, "model 1") is None
    calibration.write(tmp_path, made)
    assert calibration.read(tmp_path, "model 1") == made
    assert calibration.read(tmp_path, "model 2") is None
    (tmp_path / "calibration.json").write_text("{")
    assert calibration.read(tmp_path, "model 1") is None
