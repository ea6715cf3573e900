from __future__ import annotations

import threading

import pytest

from tl_app.engine import background
from tl_app.engine.background import Report, to_the_end, with_progress
from tl_app.errors import Interrupted, UsageError
from tl_app.events import Event, Progress


def test_progress_comes_out_and_so_does_the_result() -> None:
    heard: list[Event] = []

    def work(report: Report) -> str:
        report(1, 2)
        report(2, 2)
        return "done"

    assert to_the_end(with_progress("counting", "photos", work), heard.append) == "done"
    assert heard == [Progress("counting", 1, 2, "photos"), Progress("counting", 2, 2, "photos")]


def test_what_the_work_raises_is_raised() -> None:
    def work(report: Report) -> None:
        raise UsageError("It does not work.")

    with pytest.raises(UsageError, match="does not work"):
        to_the_end(with_progress("trying", "", work), None)


def test_closing_ends_the_work_at_its_next_report() -> None:
    began, ended, raised = threading.Event(), threading.Event(), threading.Event()

    def work(report: Report) -> None:
        report(1, 0)
        began.set()
        try:
            while not ended.wait(0.01):
                report(2, 0)
        except Interrupted:
            raised.set()
            raise

    steps = with_progress("checking", "photos", work)
    assert next(steps) == Progress("checking", 1, 0, "photos")
    assert began.wait(5) and not raised.is_set()
    steps.close()
    assert raised.is_set(), "closing waits until the work has ended"
    assert not [each for each in threading.enumerate() if each.name == "tl-app checking"]


def test_closing_does_not_wait_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "_PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(background, "_HEARTBEAT_SECONDS", 0.01)
    free = threading.Event()
    steps = with_progress("writing", "", lambda report: free.wait(30))
    next(steps)
    steps.close()
    assert [each for each in threading.enumerate() if each.name == "tl-app writing"]
    free.set()


def test_silent_work_says_again_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "_HEARTBEAT_SECONDS", 0.01)
    free = threading.Event()

    def work(report: Report) -> None:
        report(3, 9)
        assert free.wait(30)

    steps = with_progress("writing", "photos", work)
    heard = [next(steps) for _ in range(3)]
    free.set()
    assert set(heard) == {Progress("writing", 3, 9, "photos")}
    to_the_end(steps, None)
