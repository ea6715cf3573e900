"""Intervals and tests, held against figures from the literature and against simulation."""

from __future__ import annotations

import itertools

import pytest
from scipy.stats import binom

from tl_app.analysis import certainty


def test_an_interval_stays_between_nothing_and_everything() -> None:
    assert certainty.interval(0, 0) == (0.0, 1.0)
    low, high = certainty.interval(147, 153)
    assert low == pytest.approx(0.9169, abs=2e-4) and high == pytest.approx(0.9819, abs=2e-4)
    assert certainty.interval(20, 20) == pytest.approx((20 / (20 + 1.959964**2), 1.0))
    assert certainty.share_interval(147 / 153, 153) == certainty.interval(147, 153)


def test_the_interval_of_a_difference_is_newcombes() -> None:
    low, high = certainty.difference(0.60, 0.80, 100)
    assert low == pytest.approx(0.0731, abs=1e-3) and high == pytest.approx(0.3180, abs=1e-3)
    flipped = certainty.difference(0.80, 0.60, 100)
    assert flipped == pytest.approx((-high, -low))
    assert certainty.difference(0.9, 0.9, 50)[0] < 0 < certainty.difference(0.9, 0.9, 50)[1]


def test_mcnemar_is_the_mid_p_of_the_paper() -> None:
    """Fagerland et al. 2013, table 1: 1 against 7 gives an exact p of 0.070 and a mid-p of 0.039."""
    assert certainty.mcnemar(1, 7) == pytest.approx(0.0391, abs=1e-4)
    assert certainty.mcnemar(7, 1) == certainty.mcnemar(1, 7)
    assert certainty.mcnemar(0, 0) == 1.0 and certainty.mcnemar(1, 1) == pytest.approx(0.75)


def test_equal_models_are_rarely_told_apart() -> None:
    for photos in (10, 30, 100):
        chances = binom.pmf(range(photos + 1), photos, 0.5)
        called = [certainty.mcnemar(first, photos - first) < 0.05 for first in range(photos + 1)]
        assert 0.01 < chances[called].sum() < 0.06


def test_holm_steps_down() -> None:
    assert certainty.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert certainty.holm([0.5, 0.9]) == [1.0, 1.0] and certainty.holm([]) == []
    for order in itertools.permutations([0.001, 0.02, 0.2]):
        found = dict(zip(order, certainty.holm(order), strict=True))
        assert found == pytest.approx({0.001: 0.003, 0.02: 0.04, 0.2: 0.2})
