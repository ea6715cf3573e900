"""Threads that compute on one core each."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from tl_app import cores
from tl_app.cores import bundles, one_core_pool, take_one_core


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

    def threads() -> int:
        together.wait(30)
        return torch.get_num_threads()

    with one_core_pool(3, "few") as pool:
        assert [each.result() for each in [pool.submit(threads) for _ in range(3)]] == [1, 1, 1]
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


def _bundlers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("bundler")]


def test_bundles_have_every_result_once() -> None:
    found = list(bundles(lambda number: number * number, range(1000), 3, "bundler"))
    assert sorted(itertools.chain.from_iterable(found)) == [number * number for number in range(1000)]
    assert all(found) and len(found) < 100  # handed over in bundles, none of them empty
    assert not _bundlers()
    assert list(bundles(str, [], 3, "bundler")) == []


def test_bundles_come_while_work_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "_HAND_OVER_SECONDS", 0.01)
    go_on = threading.Event()

    def work(number: int) -> int:
        assert number < 5 or go_on.wait(30)
        time.sleep(0.02)
        return number

    found = bundles(work, range(10), 1, "bundler")
    assert [next(found) for _ in range(5)] == [[0], [1], [2], [3], [4]]
    go_on.set()
    assert list(found) == [[5], [6], [7], [8], [9]]


@pytest.mark.parametrize("closed", [False, True])
def test_nothing_is_begun_after_an_error_or_the_end_of_interest(
    closed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "_HAND_OVER_SECONDS", 0.0)
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        time.sleep(0.01)
        return 1 // (number - 3) if not closed else number

    found = bundles(work, range(100), 2, "bundler")
    if closed:
        assert next(found)
        found.close()
    else:
        with pytest.raises(ZeroDivisionError):
            list(found)
    assert len(begun) < 20 and not _bundlers()
