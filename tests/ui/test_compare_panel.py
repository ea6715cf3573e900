from __future__ import annotations

from pathlib import Path

import gradio as gr
import pytest

import tl_app
from tl_app.analysis.pairs import Pair
from tl_app.ui import compare_panel
from tl_app.ui.workspace import Workspace


@pytest.fixture
def acts(home: Path, photos: Path) -> compare_panel.Acts:
    for name, recipe in (("first", "head"), ("second", "partial")):
        tl_app.train(
            photos,
            name=name,
            runs_dir=home / "runs",
            recipe=recipe,
            **{
                "backbone": "mobilenet_v3_small",
                "weights": "random",
                "image_size": 32,
                "epochs": 1,
                "views": 1,
            },
        )
    return compare_panel.Acts(Workspace(home / "runs"))


def test_two_runs_side_by_side(acts: compare_panel.Acts) -> None:
    verdict, table, curves, differences = acts.compare(["first", "second"])
    assert "too close to call" in verdict and "tl-close" in verdict
    assert table.count('class="tl-row"') == 2 and 'data-label="Answer on CPU"' in table
    assert [trace["name"] for trace in curves["data"]][::3] == ["first", "second"]
    assert "<td>Recipe</td><td>head</td><td>partial</td>" in differences
    with pytest.raises(gr.Error, match="1 run cannot be compared"):
        acts.compare(["first"])
    with pytest.raises(gr.Error, match="0 runs cannot be compared"):
        acts.compare(None)


def test_a_verdict_stands_out_when_there_is_one() -> None:
    better = Pair("a", "b", 9, 0, 0, 8, 0.004, 0.004, "b is better than <a>")
    none = Pair("a", "b", 0, 0, 0, 0, None, None, "nothing in common")
    assert "tl-info" in compare_panel.verdict([better]) and "&lt;a&gt;" in compare_panel.verdict([better])
    assert "tl-warning" in compare_panel.verdict([none])


def test_chosen_runs_stay_chosen_while_they_are_there() -> None:
    assert compare_panel.choices(["a", "b"], ["b", "gone"])["value"] == ["b"]
