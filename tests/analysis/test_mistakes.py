from __future__ import annotations

import numpy as np
import torch

from tl_app.analysis.mistakes import judged, log_probabilities, ordered

LOGITS = np.array([[3, 0, 0], [0, 2, 1], [4, 0, 0], [0.3, 0.2, 0.1], [0, 9, 0]], np.float32)
LABELS = np.array([0, 2, 1, 0, 2])


def test_figures_of_each_photo_are_torchs() -> None:
    found = judged(LABELS, LOGITS, temperature=2.0)
    logits, labels = torch.from_numpy(LOGITS) / 2, torch.from_numpy(LABELS)
    np.testing.assert_allclose(found.confidence, logits.softmax(1).amax(1), rtol=1e-6)
    np.testing.assert_allclose(
        found.loss, torch.nn.functional.cross_entropy(logits, labels, reduction="none"), rtol=1e-5
    )
    assert found.said.tolist() == [0, 1, 0, 0, 1]
    assert found.wrong.tolist() == [False, True, True, False, True]
    np.testing.assert_allclose(np.exp(log_probabilities(LOGITS)).sum(1), 1)


def test_photos_come_in_the_order_asked_for() -> None:
    found = judged(LABELS, LOGITS)
    assert ordered(found, "worst").tolist() == [4, 2, 1]
    assert ordered(found, "sure").tolist() == [4, 2, 1]
    assert ordered(found, "unsure").tolist() == [3, 1, 0, 2, 4], "right ones too"
    assert ordered(found, "worst", 2).tolist() == [4, 1]
    assert not len(ordered(found, "worst", 0))


def test_the_worst_is_not_always_the_surest() -> None:
    logits = np.array(
        [[5, 4, -9], [3, 0, 0]], np.float32
    )  # the first is less sure, and further from its truth
    found = judged(np.array([2, 1]), logits)
    assert ordered(found, "worst").tolist() == [0, 1] and ordered(found, "sure").tolist() == [1, 0]
