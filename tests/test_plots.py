from __future__ import annotations

import json
import math
from dataclasses import dataclass

import pytest

from tl_app import plots
from tl_app.events import EpochDone
from tl_app.snapshot import Snapshot


def _epoch(number: int, *, steps: int = 10, accuracy: float = 0.9, best: bool = False) -> EpochDone:
    return EpochDone(number, number * steps, 0.5, accuracy, 0.4, accuracy, best, 1.0, 100.0, 1)


def _snapshot(points: int, rows: int = 0, best: int = 0) -> Snapshot:
    snapshot = Snapshot(run="r", epochs=10, steps=100, best_epoch=best)
    snapshot.step_points = [(step, 1 / step) for step in range(1, points + 1)]
    snapshot.epoch_rows = [_epoch(number) for number in range(1, rows + 1)]
    return snapshot


def _trace(figure: dict, name: str, axis: str | None = None) -> dict:
    return next(t for t in figure["data"] if t["name"] == name and t.get("yaxis") == axis)


def test_an_epoch_ends_where_its_number_is():
    figure = plots.curves(_snapshot(20, rows=2, best=2))
    assert _trace(figure, "training, step")["x"][9] == 1.0
    assert _trace(figure, "training, step")["x"][19] == 2.0
    assert _trace(figure, "validation")["x"] == [1.0, 2.0]


def test_steps_after_the_last_epoch_go_on_towards_the_next():
    figure = plots.curves(_snapshot(15, rows=1))
    assert _trace(figure, "training, step")["x"][-1] == pytest.approx(1.5)


def test_the_best_epoch_is_marked_in_both_plots():
    snapshot = _snapshot(20, rows=3, best=2)
    assert _trace(plots.curves(snapshot), "best epoch")["x"] == [2.0]
    assert _trace(plots.curves(snapshot), "best epoch", "y2")["y"] == [0.9]


def test_a_long_run_is_thinned_out_with_its_peaks_kept():
    snapshot = Snapshot(run="r", epochs=1, steps=20_000)
    snapshot.step_points = [(step, 0.1) for step in range(1, 20_001)]
    snapshot.step_points[7777] = (7778, 9.0)
    snapshot.step_points[12_345] = (12_346, -1.0)
    figure = plots.curves(snapshot)
    losses = _trace(figure, "training, step")["y"]
    assert len(losses) <= plots.MAX_POINTS
    assert max(losses) == 9.0 and min(losses) == -1.0
    assert all(len(trace["x"]) <= plots.MAX_POINTS for trace in figure["data"])


def test_a_loss_that_is_no_number_becomes_a_gap():
    snapshot = _snapshot(3)
    snapshot.step_points[1] = (2, math.nan)
    figure = plots.curves(snapshot)
    assert _trace(figure, "training, step")["y"] == [1.0, None, pytest.approx(0.3333, abs=1e-4)]
    json.dumps(figure, allow_nan=False)


@pytest.mark.parametrize(("points", "rows"), [(0, 0), (1, 0), (1, 1)])
def test_the_first_moments_of_a_run_can_be_drawn(points: int, rows: int):
    json.dumps(plots.curves(_snapshot(points, rows)), allow_nan=False)


def test_phases_after_the_first_are_marked_where_they_begin():
    snapshot = _snapshot(40, rows=4)
    snapshot.phase_starts = [(0, 9), (2, 5)]
    layout = plots.curves(snapshot)["layout"]
    assert [shape["x0"] for shape in layout["shapes"]] == [2]
    assert [note["text"] for note in layout["annotations"]] == ["freezing depth 5"]


def test_the_zoom_belongs_to_the_run():
    assert plots.curves(_snapshot(5))["layout"]["uirevision"] == "r"


def test_smoothing_starts_at_the_first_value_and_passes_over_gaps():
    assert plots.smooth([2.0, math.nan, 2.0], span=5) == [2.0, 2.0, 2.0]
    assert math.isnan(plots.smooth([math.nan], span=5)[0])


@dataclass
class _Index:
    rows: dict[str, dict[str, int]]

    def counts(self) -> dict[str, dict[str, int]]:
        return self.rows


def test_bars_per_class_and_split():
    figure = plots.class_counts(_Index({"ants": {"train": 3, "val": 1}, "bees": {"train": 2, "val": 2}}))
    bars = [trace for trace in figure["data"] if trace["type"] == "bar"]
    assert {t["name"]: t["x"] for t in bars} == {"training": [3, 2], "validation": [1, 2]}
    assert figure["data"][-1]["text"] == [" 4", " 4"]
    assert figure["layout"]["yaxis"]["ticktext"] == ["ants", "bees"]


def test_a_class_name_is_text_not_markup():
    name = "<img src=x onerror=alert(1)>" + "y" * 40
    figure = plots.class_counts(_Index({name: {"train": 1}}))
    assert "<" not in json.dumps(figure)
    assert len(figure["layout"]["yaxis"]["ticktext"][0]) < 40


def test_a_class_name_with_stray_bytes_can_be_sent():
    json.dumps(plots.class_counts(_Index({"a\udcff": {"train": 1}}))).encode()
