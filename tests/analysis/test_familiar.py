from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tl_app.analysis import familiar
from tl_app.analysis.familiar import familiar_with, spread_evenly


def _around(direction: int, images: int, seed: int, spread: float = 0.3) -> NDArray[np.float32]:
    """Features (images, 32) scattered around one axis, of any length."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(images, 32)) * spread / np.sqrt(32)
    rows[:, direction] += 1
    return (rows * rng.uniform(0.5, 5, (images, 1))).astype(np.float32)


def test_what_lies_elsewhere_is_unfamiliar() -> None:
    known = familiar_with("a", _around(0, 200, 1), _around(0, 100, 2))
    strange, usual = known.distances(_around(1, 300, 3)), known.distances(_around(0, 2000, 4))
    assert (strange > known.limit).all()
    assert 0.02 < (usual > known.limit).mean() < 0.1  # about one in twenty


def test_new_photos_that_lie_further_out_than_those_trained_on_are_allowed_for() -> None:
    """As after tuning, which draws training photos together."""
    known = familiar_with("a", _around(0, 200, 1, spread=0.05), _around(0, 200, 2))
    assert (known.distances(_around(0, 1000, 3)) > known.limit).mean() < 0.1


def test_a_photo_is_not_its_own_neighbour() -> None:
    rows = _around(0, 50, 1)
    known = familiar_with("a", rows, rows)
    assert known.limit > 0.1 and known.distances(rows).max() < 1e-3


def test_features_without_any_length_are_no_numbers_gone_wrong() -> None:
    known = familiar_with("a", np.zeros((3, 8), np.float16), np.zeros((2, 8), np.float16))
    assert np.isfinite(known.distances(np.ones((2, 8), np.float32))).all() and np.isfinite(known.limit)


def test_each_class_gets_its_share() -> None:
    labels = np.array([0] * 500 + [1] * 30 + [2] * 5)
    taken = spread_evenly(labels, most=60)
    assert np.bincount(labels[taken]).tolist() == [28, 27, 5] and len(set(taken.tolist())) == 60
    first = taken[labels[taken] == 0]
    assert first.max() > 400 and first.min() < 100  # not all from one end
    assert spread_evenly(labels).tolist() == list(range(535))


def test_it_is_kept_for_the_model_that_it_is_of(tmp_path: Path) -> None:
    made = familiar_with("a", _around(0, 20, 1), _around(0, 10, 2))
    assert familiar.read(tmp_path, "a") is None
    familiar.write(tmp_path, made)
    found = familiar.read(tmp_path, "a")
    assert found is not None and found.limit == made.limit and familiar.read(tmp_path, "b") is None
    np.testing.assert_allclose(found.rows, made.rows, atol=1e-3)
    (tmp_path / "familiar.safetensors").write_bytes(b"{")
    assert familiar.read(tmp_path, "a") is None


def test_many_photos_are_compared_in_parts() -> None:
    known = familiar.familiar_with("m", _around(0, 40, 0), _around(0, 40, 1))
    many = _around(1, 2500, 2)
    np.testing.assert_allclose(known.distances(many)[-3:], known.distances(many[-3:]), rtol=1e-5)
