from __future__ import annotations

import math

import pytest
import torch

from tl_app.transfer.losses import CROSS_ENTROPY, LabelLoss, balance_of, class_weights, right_answers

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 1.0]])
LABELS = torch.tensor([0, 1])


def _logs(row: list[float]) -> list[float]:
    total = math.log(sum(math.exp(value) for value in row))
    return [value - total for value in row]


def test_plain_it_is_the_cross_entropy_to_the_bit() -> None:
    expected = torch.nn.functional.cross_entropy(LOGITS, LABELS, reduction="sum")
    assert torch.equal(CROSS_ENTROPY(LOGITS, LABELS), expected)


def test_smoothing_by_hand() -> None:
    by_hand = 0.0
    for row, label in zip(LOGITS.tolist(), LABELS.tolist(), strict=True):
        logs = _logs(row)
        by_hand -= 0.9 * logs[label] + 0.1 * sum(logs) / 3
    assert LabelLoss(0.1)(LOGITS, LABELS).item() == pytest.approx(by_hand, rel=1e-6)


def test_weights_by_hand_for_plain_and_mixed_labels() -> None:
    weights, logs = torch.tensor([0.5, 2.0, 4.0]), [_logs(row) for row in LOGITS.tolist()]
    loss = LabelLoss(weights=weights)
    assert loss(LOGITS, LABELS).item() == pytest.approx(-0.5 * logs[0][0] - 2.0 * logs[1][1], rel=1e-6)
    shares = torch.tensor([[0.75, 0.0, 0.25], [0.0, 1.0, 0.0]])
    by_hand = -(0.75 * 0.5 * logs[0][0] + 0.25 * 4.0 * logs[0][2]) - 2.0 * logs[1][1]
    assert loss(LOGITS, shares).item() == pytest.approx(by_hand, rel=1e-6)


def test_class_weights_by_hand() -> None:
    weights = class_weights([30, 10, 20])  # 60 photos, 3 classes: 60 / (3 · n)
    assert weights.tolist() == pytest.approx([2 / 3, 2.0, 1.0])
    assert (30 * weights[0] + 10 * weights[1] + 20 * weights[2]).item() / 60 == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("asked", "counts", "balance", "said"),
    [
        ("auto", [30, 10], "none", ""),
        ("auto", [31, 10], "loss", "3.1 times the photos of the smallest"),
        ("auto", [5, 60, 20], "loss", "12.0 times"),
        ("none", [100, 1], "none", ""),
        ("sampling", [10, 10], "sampling", ""),
        ("loss", [10, 10], "loss", ""),
    ],
)
def test_auto_weighs_beyond_three_to_one(asked: str, counts: list[int], balance: str, said: str) -> None:
    found, why = balance_of(asked, counts)
    assert found == balance and (said in why) and bool(why) == bool(said)


def test_right_is_the_class_with_the_larger_share() -> None:
    assert right_answers(LOGITS, LABELS).item() == 1
    assert right_answers(LOGITS, torch.tensor([[0.6, 0.4, 0.0], [0.1, 0.3, 0.6]])).item() == 2
    assert right_answers(LOGITS, torch.tensor([[0.4, 0.6, 0.0], [0.1, 0.3, 0.6]])).item() == 1
