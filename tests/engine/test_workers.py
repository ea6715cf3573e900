from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from tl_app.engine import workers
from tl_app.engine.workers import on_each_core, shared_out
from tl_app.ui.manners import step_aside


@pytest.fixture
def three_cores() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


class Seen:
    """Doubles rows, and notes in which thread and with how many cores."""

    def __init__(self) -> None:
        self.parts: list[tuple[int, bool, int]] = []
        self.together = threading.Barrier(3)

    def __call__(self, rows: Tensor) -> Tensor:
        elsewhere = threading.current_thread() is not threading.main_thread()
        self.parts.append((len(rows), elsewhere, torch.get_num_threads()))
        assert torch.is_inference_mode_enabled() or not elsewhere
        if len(rows) > 10:
            self.together.wait(10)  # only passes when all three parts run at once
        if (rows == 99).any():
            raise torch.OutOfMemoryError("out of memory")
        return rows * 2


@pytest.mark.usefixtures("three_cores")
def test_a_batch_runs_on_all_cores_at_once() -> None:
    seen = Seen()
    rows = torch.arange(40.0)
    assert torch.equal(shared_out(seen, lone_on_all_cores=False)(rows), rows * 2)
    assert sorted(seen.parts) == [(13, True, 1), (13, True, 1), (14, True, 1)]
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_cores")
def test_threads_that_start_later_have_all_cores() -> None:
    shared_out(Seen(), lone_on_all_cores=False)
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert found == [3]


@pytest.mark.usefixtures("three_cores")
@pytest.mark.parametrize(
    ("lone_on_all_cores", "count", "expected"),
    [
        (False, 1, [(1, True, 1)]),
        (True, 1, [(1, False, 3)]),
        (True, 2, [(2, False, 3)]),
        (True, 3, [(1, True, 1)] * 3),
        (False, 2, [(1, True, 1)] * 2),
    ],
)
def test_fewer_rows_than_cores(
    lone_on_all_cores: bool, count: int, expected: list[tuple[int, bool, int]]
) -> None:
    seen = Seen()
    rows = torch.ones(count, 2)
    assert torch.equal(shared_out(seen, lone_on_all_cores=lone_on_all_cores)(rows), rows * 2)
    assert seen.parts == expected


@pytest.mark.usefixtures("three_cores")
def test_what_a_part_raises_is_raised() -> None:
    call = shared_out(Seen(), lone_on_all_cores=False)
    with pytest.raises(torch.OutOfMemoryError):
        call(torch.tensor([1.0, 2.0, 99.0]))
    assert call(torch.ones(3)).tolist() == [2, 2, 2]


@pytest.mark.skipif(sys.platform != "linux", reason="priorities of threads are a thing of Linux")
@pytest.mark.usefixtures("three_cores")
@pytest.mark.parametrize("training_first", [True, False])
def test_a_trainings_threads_step_aside_and_the_pages_do_not(training_first: bool) -> None:
    workers._pool.cache_clear()

    def niceness(_: object) -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    own, seen = niceness(None), {False: set[int](), True: set[int]()}
    run = shared_out(
        lambda rows: rows + niceness(None), lone_on_all_cores=False
    )  # of one predictor, used by both

    def work(training: bool) -> None:
        if training:
            step_aside()
        seen[training] |= set(on_each_core(niceness, lambda _, found: found, range(12), 3))
        seen[training] |= set(run(torch.zeros(12, dtype=torch.long)).tolist())

    for training in (training_first, not training_first):
        thread = threading.Thread(target=work, args=(training,))
        thread.start()
        thread.join()
    assert seen == {False: {own}, True: {max(own, 10)}}


def test_one_core_needs_no_threads() -> None:
    assert torch.get_num_threads() == 1
    seen = Seen()
    assert shared_out(seen, lone_on_all_cores=False) is seen


class Inside:
    """Counts who is in a stretch of work at a time."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._lock = threading.Lock()

    def stay(self, seconds: float) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(seconds)
        with self._lock:
            self.now -= 1


@pytest.mark.parametrize(("preparing", "computing", "most"), [(0.002, 0.03, 1), (0.03, 0.0005, 3)])
def test_as_few_prepare_at_a_time_as_keep_all_busy(preparing: float, computing: float, most: int) -> None:
    inside = Inside()

    def prepare(task: int) -> int:
        inside.stay(preparing)
        return 10 * task

    def compute(task: int, rows: int) -> tuple[int, int]:
        time.sleep(computing)
        return task, rows

    found = list(on_each_core(prepare, compute, range(20), 3))
    assert found == [(task, 10 * task) for task in range(20)]
    assert inside.most == most


@pytest.mark.parametrize("step", ["prepare", "compute"])
def test_what_fails_in_a_thread_is_raised_and_leaves_no_one_waiting(step: str) -> None:
    def fail(task: int) -> int:
        if task == 4:
            raise OSError("gone")
        return task

    def run(fails: bool) -> list[int]:
        prepare = fail if fails and step == "prepare" else lambda task: task
        compute = fail if fails and step == "compute" else lambda task: task
        return list(on_each_core(prepare, lambda _, rows: compute(rows), range(12), 3))

    with pytest.raises(OSError, match="gone"):
        run(True)
    assert run(False) == list(range(12))
