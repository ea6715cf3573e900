"""Features laid out on a plane, so that like photos lie side by side. Knows no photos and no figures."""

from __future__ import annotations

import importlib.util

import numpy as np
from numpy.typing import NDArray

from tl_app.errors import ResourceError

Plane = NDArray[np.float32]  # (N, 2)

MOST = 3000  # points; more hide each other, and a browser draws them slowly
UMAP_HINT = "UMAP is not installed: pip install 'tl-app[umap]'"

_SKETCH = 10  # directions that the two wanted ones are picked from
_ROUNDS = 6  # of power iteration


def pca(features: NDArray[np.float16], seed: int = 0) -> tuple[Plane, float]:
    """The plane on which photos differ most.

    Source: Halko, Martinsson and Tropp 2011 (arXiv:0909.4061), algorithms 4.4 and 5.1; computed here because importing
    scikit-learn takes longer than this.

    Args:
        features: (N, D).
        seed: Of the first directions.

    Returns:
        The points, and the share of all variance that the plane holds, 0 to 1.
    """
    centred = features.astype(np.float32)
    centred -= centred.mean(0)
    start = np.random.default_rng(seed).standard_normal((centred.shape[1], _SKETCH)).astype(np.float32)
    basis = np.linalg.qr(centred @ start)[0]
    for _ in range(_ROUNDS):
        basis = np.linalg.qr(centred @ np.linalg.qr(centred.T @ basis)[0])[0]
    _, _, axes = np.linalg.svd(basis.T @ centred, full_matrices=False)
    axes = (
        axes[:2] * np.where(np.abs(axes[:2]).max(1) == axes[:2].max(1), 1, -1)[:, None]
    )  # a sign that stays
    points = np.zeros((len(centred), 2), np.float32)
    points[:, : len(axes)] = centred @ axes.T
    total = float((centred**2).sum())
    return points, float((points**2).sum()) / total if total else 1.0


def has_umap() -> bool:
    """Whether the library is installed."""
    return importlib.util.find_spec("umap") is not None


def umap(features: NDArray[np.float16], seed: int = 0) -> Plane:
    """A plane on which neighbours stay neighbours; distances between groups mean little.

    Source: McInnes, Healy and Melville 2018 (arXiv:1802.03426), its library's defaults with cosine distance.

    Args:
        features: (N, D).
        seed: The same one gives the same plane.

    Raises:
        ResourceError: The library is not installed, or there are too few photos for it.
    """
    if not has_umap():
        raise ResourceError(f"{UMAP_HINT}.", remedy="PCA needs nothing more.")
    if len(features) < 5:
        raise ResourceError("UMAP needs at least 5 photos.", remedy="PCA shows any number.")
    from umap import UMAP

    neighbours = min(15, len(features) - 1)
    fitted = UMAP(n_neighbors=neighbours, metric="cosine", init="pca", random_state=seed, n_jobs=1)
    return np.asarray(fitted.fit_transform(features.astype(np.float32)), np.float32)
