from __future__ import annotations

import json

import numpy as np

from tl_app import plots_results as plots


def test_reliability_draws_every_bin_with_its_photos() -> None:
    figure = plots.reliability([0.6, 0.95], [0.5, 0.97], [4, 100])
    drawn = figure["data"][1]
    assert (drawn["x"], drawn["y"], drawn["customdata"]) == ([0.6, 0.95], [0.5, 0.97], [4, 100])
    assert drawn["marker"]["size"][0] < drawn["marker"]["size"][1]
    json.dumps(plots.reliability([], [], []), allow_nan=False)


def test_coverage_marks_what_is_suggested_or_nothing() -> None:
    figure = plots.coverage([0.5, 1.0], [1.0, 0.9], [0.9, 0.4], (0.5, 1.0))
    assert figure["data"][1]["x"] == [0.5] and "suggested" in figure["data"][1]["name"]
    assert len(plots.coverage([1.0], [0.5], [0.4], None)["data"]) == 1


def test_the_map_knows_each_points_photo_in_both_colourings() -> None:
    points = np.array([[0, 1], [2, 3], [4, 5]], np.float32)
    numbers, labels, said = np.array([7, 8, 9]), np.array([0, 1, 1]), np.array([0, 1, 0])
    for by_error, names in ((False, ["<a>", "b"]), (True, ["right (2)", "wrong (1)"])):
        figure = plots.photo_map(
            points, numbers, labels, said, ["<a>", "b"], by_error=by_error, revision="one"
        )
        assert [trace["name"].replace("&lt;", "<").replace("&gt;", ">") for trace in figure["data"]] == names
        assert sorted(n for trace in figure["data"] for n in trace["customdata"]) == [7, 8, 9]
        json.dumps(figure, allow_nan=False)
    assert figure["data"][1]["customdata"] == [9]


def test_many_classes_have_colours_and_a_sentence_in_place_of_a_legend() -> None:
    labels = np.arange(40)
    figure = plots.photo_map(
        np.zeros((40, 2), np.float32), labels, labels, labels, ["x"] * 40, by_error=False, revision="one"
    )
    assert len(figure["data"]) == 1 and not figure["layout"]["showlegend"]
    assert len(set(figure["data"][0]["marker"]["color"])) == 40
    assert "40 classes are too many" in plots.hidden_names(["x"] * 40) and not plots.hidden_names(["x"] * 3)
