from __future__ import annotations

import numpy as np
import pytest

from tl_app.analysis import projection
from tl_app.analysis.neighbours import nearest
from tl_app.errors import ResourceError


def test_pca_finds_the_two_directions_of_most_variance() -> None:
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(200, 40)) * np.linspace(4, 0.5, 40) + 7).astype(np.float16)
    points, held = projection.pca(features)
    exact = features.astype(np.float64) - features.astype(np.float64).mean(0)
    values = np.linalg.svd(exact, full_matrices=False)[1]
    np.testing.assert_allclose(np.linalg.norm(points, axis=0), values[:2], rtol=0.01)
    assert held == pytest.approx((values[:2] ** 2).sum() / (values**2).sum(), rel=0.02)
    assert np.array_equal(points, projection.pca(features)[0]), "the same photos lie in the same places"


@pytest.mark.parametrize("photos", [1, 2, 3])
def test_few_photos_and_photos_all_alike_have_a_plane(photos: int) -> None:
    points, held = projection.pca(np.ones((photos, 8), np.float16))
    assert points.shape == (photos, 2) and not points.any() and held == 1.0


def test_a_missing_umap_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "has_umap", lambda: False)
    with pytest.raises(ResourceError, match=r"pip install 'tl-app\[umap\]'"):
        projection.umap(np.zeros((9, 3), np.float16))


def test_umap_needs_some_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "has_umap", lambda: True)
    with pytest.raises(ResourceError, match="at least 5 photos"):
        projection.umap(np.zeros((4, 3), np.float16))


def test_the_nearest_point_the_same_way() -> None:
    features = np.array([[1, 0], [0, 1], [9, 9], [0, 0], [-1, 0]], np.float16)
    places, likeness = nearest(features, np.array([3, 2.9], np.float16), 3)
    assert places.tolist() == [2, 0, 1]
    np.testing.assert_allclose(likeness, [0.9999, 0.719, 0.695], atol=2e-3)
    assert nearest(features, features[3], 9)[1].tolist() == [0.0] * 5, "no features, no likeness"
