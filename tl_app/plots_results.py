"""Figures of one run's answers, as plain dictionaries: reliability, coverage, and a map of the photos.

As :mod:`tl_app.plots`, imports neither torch, gradio nor plotly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl_app import words
from tl_app.plots import BEST, TRAIN, VALIDATION, finite, plain_axis, plain_layout, shortened

LEGEND = 12  # classes that still get a name, a colour and a shape of their own
_COLOURS = ("#2f86d1", "#e0701a", "#0aa574", "#b06fa8", "#8a8f98", "#56b4e9")  # Okabe and Ito's, as elsewhere
_SHAPES = ("circle", "diamond", "square")
_FAINT = {"color": "#8a8f98", "width": 1.5, "dash": "dot"}
_GOLDEN = 137.508  # degrees: hues of neighbouring numbers lie far apart


def reliability(
    confidence: Sequence[float], accuracy: Sequence[float], photos: Sequence[int], *, height: int = 300
) -> dict[str, Any]:
    """How often answers of each confidence are right; on the dotted line confidence can be taken at its word.

    Args:
        confidence: Mean of each bin, 0 to 1.
        accuracy: Of each bin, 0 to 1.
        photos: In each bin.
        height: In pixels.
    """
    sizes = [8 + 22 * (count / max(photos, default=1)) ** 0.5 for count in photos]
    data = [
        {"type": "scatter", "mode": "lines", "name": "ideal", "x": [0, 1], "y": [0, 1]}
        | {"line": _FAINT, "hoverinfo": "skip"},
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": "this run",
            "line": {"color": TRAIN, "width": 1.5},
        }
        | {"x": finite(confidence), "y": finite(accuracy), "customdata": list(photos)}
        | {"marker": {"size": sizes, "color": TRAIN, "opacity": 0.8}, "cliponaxis": False}
        | {"hovertemplate": "sure %{x:.1%}, right %{y:.1%}, %{customdata} photos<extra></extra>"},
    ]
    layout = plain_layout(height, uirevision="reliability") | {"hovermode": "closest", "showlegend": False}
    layout["xaxis"] = plain_axis(title="Confidence", tickformat=".0%", range=[0, 1.03])
    layout["yaxis"] = plain_axis(title="Right", tickformat=".0%", range=[0, 1.06])
    return {"data": data, "layout": layout}


def coverage(
    covered: Sequence[float],
    accuracy: Sequence[float],
    confidence: Sequence[float],
    suggested: tuple[float, float] | None,
    *,
    height: int = 300,
) -> dict[str, Any]:
    """What answering only when sure costs, and what it brings.

    Args:
        covered: Shares of photos that are answered, 0 to 1.
        accuracy: Of those answers, 0 to 1.
        confidence: From which they are given.
        suggested: Coverage and accuracy at the suggested confidence.
        height: In pixels.
    """
    data: list[dict[str, Any]] = [
        {"type": "scatter", "mode": "lines", "name": "accuracy", "line": {"color": TRAIN, "width": 2.5}}
        | {"x": finite(covered), "y": finite(accuracy), "customdata": finite(confidence)}
        | {"hovertemplate": "%{x:.0%} answered, %{y:.1%} right, from %{customdata:.1%} on<extra></extra>"}
    ]
    if suggested is not None:
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": "suggested",
                "x": [suggested[0]],
                "y": [suggested[1]],
            }
            | {"marker": {"color": BEST, "symbol": "star", "size": 15}}
            | {"hovertemplate": "suggested: %{x:.0%} answered, %{y:.1%} right<extra></extra>"}
        )
    layout = plain_layout(height, uirevision="coverage") | {"hovermode": "closest", "showlegend": False}
    layout["xaxis"] = plain_axis(title="Photos answered", tickformat=".0%", range=[0, 1.03])
    lowest = max(0.0, min(accuracy, default=0.0) - 0.05)
    layout["yaxis"] = plain_axis(title="Right", tickformat=".0%", range=[lowest, 1 + 0.06 * (1 - lowest)])
    return {"data": data, "layout": layout}


def photo_map(
    points: NDArray[np.float32],
    numbers: NDArray[np.int64],
    labels: NDArray[np.int64],
    said: NDArray[np.int64],
    classes: Sequence[str],
    *,
    by_error: bool,
    revision: str,
    height: int = 520,
) -> dict[str, Any]:
    """Photos on a plane; each point knows its photo's number.

    Args:
        points: (N, 2).
        numbers: (N,), of the photos.
        labels: (N,), their true classes.
        said: (N,), what was said.
        classes: Names.
        by_error: Colour right and wrong answers instead of classes.
        revision: Names what a reader's zoom belongs to.
        height: In pixels.
    """
    if by_error:
        wrong = labels != said
        groups = [
            (f"right ({np.count_nonzero(~wrong):,})", ~wrong, {"color": TRAIN, "opacity": 0.45, "size": 6}),
            (f"wrong ({np.count_nonzero(wrong):,})", wrong, {"color": VALIDATION, "symbol": "x", "size": 9}),
        ]
    elif len(classes) <= LEGEND:
        groups = [(shortened(name), labels == number, _marker(number)) for number, name in enumerate(classes)]
    else:
        hues = [f"hsl({round(label * _GOLDEN) % 360},60%,52%)" for label in labels.tolist()]
        groups = [("", np.ones(len(labels), bool), {"color": hues, "size": 6, "opacity": 0.8})]
    data = [_cloud(name, points[of], numbers[of], marker) for name, of, marker in groups if of.any()]
    layout = plain_layout(height, uirevision=revision)
    layout |= {"hovermode": "closest", "showlegend": bool(groups[0][0])}
    bare = {"showticklabels": False, "ticks": "", "zeroline": False}
    layout["xaxis"], layout["yaxis"] = plain_axis() | bare, plain_axis() | bare
    layout["margin"] = {"l": 8, "r": 8, "t": 8, "b": 8}
    return {"data": data, "layout": layout}


def hidden_names(classes: Sequence[str]) -> str:
    """Why a map has no legend; empty when it has one."""
    if len(classes) <= LEGEND:
        return ""
    return f"{words.plural(len(classes), 'class', 'classes')} are too many for a legend: point at a photo for its name."


def _marker(number: int) -> dict[str, Any]:
    shape = _SHAPES[number // len(_COLOURS) % len(_SHAPES)]
    return {"color": _COLOURS[number % len(_COLOURS)], "symbol": shape, "size": 7, "opacity": 0.8}


def _cloud(
    name: str, points: NDArray[np.float32], numbers: NDArray[np.int64], marker: dict[str, Any]
) -> dict[str, Any]:
    x, y = (_rounded(points[:, axis]) for axis in (0, 1))
    return {
        **{"type": "scatter", "mode": "markers", "name": name, "x": x, "y": y, "marker": marker},
        **{"customdata": numbers.tolist(), "hoverinfo": "none"},  # the page shows the photo itself
    }


def _rounded(values: NDArray[np.float32]) -> list[float]:
    """To a thousandth of their range: finer cannot be seen, and costs bytes."""
    reach = float(np.abs(values).max(initial=0.0)) or 1.0
    digits = max(0, 3 - int(np.floor(np.log10(reach))))
    rounded: list[float] = [round(value, digits) for value in values.tolist()]
    return rounded
