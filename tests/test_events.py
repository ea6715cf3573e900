from __future__ import annotations

import json

import pytest

from tl_app.events import EpochDone, Finished, Notice, RolledBack, StepDone, from_json, to_json


@pytest.mark.parametrize(
    "event",
    [
        StepDone(3, 1, 0.25, 1e-3, 120.5, 2.0),
        Notice("careful: «ü»", "warning"),
        Finished("stopped", 0, None, None, 1.5, 0.0),
        EpochDone(1, 8, 0.5, 0.75, 0.4, 0.9, True, 3.0, 80.0, 123),
    ],
)
def test_events_survive_a_round_trip(event: StepDone | Notice | Finished | EpochDone) -> None:
    assert from_json(to_json(event)) == event
    assert "\n" not in to_json(event)


@pytest.mark.parametrize("line", ["", "{", '{"event":"Nothing"}', "[]", '{"event":"RolledBack","step":1}'])
def test_a_torn_line_is_refused(line: str) -> None:
    with pytest.raises(ValueError):
        from_json(line)


def test_the_class_name_is_the_kind() -> None:
    assert json.loads(to_json(RolledBack(1, 0, "x")))["event"] == "RolledBack"
