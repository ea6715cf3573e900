from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from tl_app.engine.joined import Joined


class Slow:
    """Doubles rows; its first call waits until it is told to go on."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self, rows: Tensor) -> Tensor:
        self.calls.append(len(rows))
        self.begun.set()
        assert self.go_on.wait(10)
        if (rows < 0).any():
            raise ValueError("a negative row")
        return rows.flatten(1).sum(1, keepdim=True) * 2


def _waiting(joined: Joined, count: int) -> None:
    """Returns when so many requests wait for their turn."""
    for _ in range(1000):
        if len(joined._waiting) >= count:
            return
        threading.Event().wait(0.01)
    raise AssertionError(f"{len(joined._waiting)} requests wait, not {count}")


def test_a_lone_call_is_answered_at_once() -> None:
    slow = Slow()
    slow.go_on.set()
    assert Joined(slow, 4)(torch.tensor([[1.0], [2.0]])).tolist() == [[2.0], [4.0]]
    assert slow.calls == [2]


def test_calls_that_come_meanwhile_share_a_batch() -> None:
    slow = Slow()
    joined = Joined(slow, 8)
    with ThreadPoolExecutor(10) as pool:
        first = pool.submit(joined, torch.tensor([[0.0]]))
        assert slow.begun.wait(10)
        others = [pool.submit(joined, torch.tensor([[float(n)], [-0.0]])) for n in range(1, 6)]
        _waiting(joined, 5)
        slow.go_on.set()
        assert first.result().tolist() == [[0.0]]
        assert [other.result().tolist() for other in others] == [[[2.0 * n], [0.0]] for n in range(1, 6)]
    assert slow.calls == [1, 8, 2]  # four requests of two rows are a full batch


def test_one_that_fails_takes_nobody_along() -> None:
    slow = Slow()
    joined = Joined(slow, 8)
    with ThreadPoolExecutor(10) as pool:
        first = pool.submit(joined, torch.tensor([[0.0]]))
        assert slow.begun.wait(10)
        good = [pool.submit(joined, torch.tensor([[float(n)]])) for n in (1, 2)]
        bad = pool.submit(joined, torch.tensor([[-1.0]]))
        other_shape = pool.submit(joined, torch.tensor([[1.0, 1.0]]))
        _waiting(joined, 4)
        slow.go_on.set()
        assert [each.result().item() for each in (first, *good, other_shape)] == [0.0, 2.0, 4.0, 4.0]
        with pytest.raises(ValueError, match="a negative row"):
            bad.result()
    assert sorted(slow.calls) == [1, 1, 1, 1, 1, 3]  # the three of a shape together, then one by one
    assert joined(torch.tensor([[3.0]])).item() == 6.0


def test_more_rows_than_a_batch_are_cut() -> None:
    slow = Slow()
    slow.go_on.set()
    rows = torch.arange(10.0)[:, None]
    assert torch.equal(Joined(slow, 4)(rows), 2 * rows)
    assert slow.calls == [4, 4, 2]


def test_an_interrupted_thread_leaves_the_others_requests() -> None:
    slow = Slow()

    def run(rows: Tensor) -> Tensor:
        result = slow(rows)
        if slow.calls == [1, 2]:
            raise KeyboardInterrupt
        return result

    joined = Joined(run, 8)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(joined, torch.tensor([[1.0]]))
        assert slow.begun.wait(10)
        others = [pool.submit(joined, torch.tensor([[n]])) for n in (2.0, 3.0)]
        _waiting(joined, 2)
        slow.go_on.set()
        assert first.result().item() == 2.0
        failed = [other.exception() for other in others]
    assert sorted(type(error) for error in failed if error) == [KeyboardInterrupt]
    (answered,) = (n for n, error in enumerate(failed) if not error)
    assert others[answered].result().item() == (4.0, 6.0)[answered]
