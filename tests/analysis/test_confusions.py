from __future__ import annotations

import numpy as np

from tl_app.analysis.confusions import ELSEWHERE, arranged, page_of, pairs, photos_of

COUNTS = np.array([[5, 0, 2, 0], [0, 7, 0, 1], [3, 0, 4, 0], [0, 0, 0, 9]])


def test_pairs_come_most_frequent_first_and_leave_the_diagonal_out() -> None:
    assert pairs(COUNTS, 10) == [(2, 0, 3), (0, 2, 2), (1, 3, 1)]
    assert pairs(COUNTS, 1) == [(2, 0, 3)]
    assert pairs(np.diag([3, 4]), 5) == []


def test_confused_classes_stand_side_by_side() -> None:
    assert arranged(COUNTS) == [0, 2, 1, 3]


def test_a_page_leaves_no_photo_out() -> None:
    page = page_of(COUNTS, [0, 1])
    assert page.classes == (0, 1) and page.totals.tolist() == [7, 8]
    assert page.counts.tolist() == [[5, 0, 2], [0, 7, 1], [3, 0, 0]]
    assert page.counts[:-1].sum(1).tolist() == page.totals.tolist()
    whole = page_of(COUNTS, range(4))
    assert whole.counts[:-1, :-1].tolist() == COUNTS.tolist() and not whole.counts[-1].any()


def test_the_photos_of_a_cell_are_as_many_as_it_says() -> None:
    labels, said = np.array([0, 0, 1, 2, 2, 3]), np.array([0, 2, 1, 0, 3, 3])
    assert photos_of(labels, said, 0, 2, range(4)).tolist() == [1]
    assert photos_of(labels, said, 0, ELSEWHERE, [0, 1]).tolist() == [1]
    assert photos_of(labels, said, ELSEWHERE, 0, [0, 1]).tolist() == [3]
