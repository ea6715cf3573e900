"""Threads that compute on one core each."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from tl_app.cores import one_core_pool, take_one_core


@pytest.fixture
def two_cores() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def _seen_by_a_new_thread() -> int:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(torch.get_num_threads).result()


@pytest.mark.usefixtures("two_cores")
def test_the_threads_of_a_pool_compute_on_one_core_and_others_as_before() -> None:
    together = threading.Barrier(3)  # all three take part

    def cores() -> int:
        together.wait(30)
        return torch.get_num_threads()

    with one_core_pool(3, "few") as pool:
        assert [each.result() for each in [pool.submit(cores) for _ in range(3)]] == [1, 1, 1]
        assert torch.get_num_threads() == 2
        assert _seen_by_a_new_thread() == 2
    assert _seen_by_a_new_thread() == 2


@pytest.mark.usefixtures("two_cores")
def test_a_thread_that_takes_one_core_says_how_many_it_had() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert [pool.submit(take_one_core).result() for _ in range(2)] == [2, 1]
    assert _seen_by_a_new_thread() == 2


@pytest.mark.usefixtures("two_cores")
def test_photos_are_loaded_by_threads_of_one_core() -> None:
    from tl_app.engine.views import assembled, stacked

    def load(number: int) -> torch.Tensor:
        return torch.tensor([number, torch.get_num_threads()])

    batches = list(assembled([[1, 2], [3]], load, stacked))
    assert [rows.tolist() for _, rows in batches] == [[[1, 1], [2, 1]], [[3, 1]]]
    assert torch.get_num_threads() == 2
