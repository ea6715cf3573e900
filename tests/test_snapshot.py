from __future__ import annotations

import pytest

from tl_app import snapshot as module
from tl_app.events import PhaseStarted, Progress, StepDone
from tl_app.snapshot import Snapshot


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_an_activity_says_how_long_it_will_take(clock: list[float]) -> None:
    snapshot = Snapshot()
    snapshot.apply(Progress("reading photos", 500, 1000, "photos"))  # the first half was in the cache
    assert snapshot.eta_seconds is None
    clock[0] += 4
    snapshot.apply(Progress("reading photos", 600, 1000, "photos"))
    assert snapshot.eta_seconds == pytest.approx(16)
    snapshot.apply(Progress("computing frozen activations", 0, 1000, "photos"))
    assert snapshot.eta_seconds is None


def test_time_left_counts_steps_and_not_what_came_before_them() -> None:
    snapshot = Snapshot()
    snapshot.apply(PhaseStarted(0, 1, 5, 2, 10, 0, 2, 1e-3, 1e-4, 8, 10, 100, "cpu", "fp32"))
    snapshot.apply(StepDone(1, 1, 0.5, 1e-3, 100.0, 60.0))  # a minute went into frozen activations
    assert snapshot.eta_seconds is None
    snapshot.apply(StepDone(6, 1, 0.5, 1e-3, 100.0, 61.0))
    assert snapshot.eta_seconds == pytest.approx(0.2 * 14)
