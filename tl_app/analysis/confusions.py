"""Which classes are taken for which: an order that puts confused classes side by side, pages of the matrix, pairs.

Knows counts only, not photos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
ELSEWHERE = -1  # stands for all classes that a page does not show


@dataclass(frozen=True)
class MatrixPage:
    """A part of the confusion matrix, with what lies outside of it summed up, so that nothing is hidden.

    Attributes:
        classes: Numbers of the K classes shown, both down and across.
        counts: (K + 1, K + 1); rows are true classes, and the last row and column all classes not shown. Their corner
            is 0: those photos belong to other pages.
        totals: (K,), photos of each class.
    """

    classes: tuple[int, ...]
    counts: Counts
    totals: Counts


def pairs(counts: Counts, most: int) -> list[tuple[int, int, int]]:
    """The most frequent confusions as (true class, said class, photos), the most frequent first.

    Args:
        counts: (C, C), rows are true classes.
        most: How many at the most.
    """
    wrong = _errors(counts)
    found = np.flatnonzero(wrong)
    best = found[np.argsort(-wrong.ravel()[found], kind="stable")[:most]]
    return [(int(at) // len(counts), int(at) % len(counts), int(wrong.ravel()[at])) for at in best]


def arranged(counts: Counts) -> list[int]:
    """All classes, the most confused first and each beside the one that it is confused with most."""
    wrong = _errors(counts)
    both = wrong + wrong.T
    found = np.flatnonzero(np.triu(both))
    order: dict[int, None] = {}
    for at in found[np.argsort(-both.ravel()[found], kind="stable")]:
        order.setdefault(int(at) // len(counts))
        order.setdefault(int(at) % len(counts))
    order.update(dict.fromkeys(range(len(counts))))
    return list(order)


def page_of(counts: Counts, shown: Sequence[int]) -> MatrixPage:
    """The part of the matrix of these classes."""
    picked = np.asarray(shown, np.int64)
    inner = counts[np.ix_(picked, picked)]
    part = np.zeros((len(picked) + 1, len(picked) + 1), np.int64)
    part[:-1, :-1] = inner
    part[:-1, -1] = counts[picked].sum(1) - inner.sum(1)
    part[-1, :-1] = counts[:, picked].sum(0) - inner.sum(0)
    return MatrixPage(tuple(int(each) for each in picked), part, counts[picked].sum(1))


def photos_of(
    labels: NDArray[np.int64], said: NDArray[np.int64], true: int, taken_for: int, shown: Sequence[int]
) -> NDArray[np.int64]:
    """The photos of one cell.

    Args:
        labels: (N,), true classes.
        said: (N,), what was said.
        true: The row's class; ``ELSEWHERE`` for all but those shown.
        taken_for: The column's class; likewise.
        shown: The page's classes.
    """
    rows, columns = (
        ~np.isin(values, shown) if wanted == ELSEWHERE else values == wanted
        for values, wanted in ((labels, true), (said, taken_for))
    )
    return np.flatnonzero(rows & columns)


def _errors(counts: Counts) -> Counts:
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    return wrong
