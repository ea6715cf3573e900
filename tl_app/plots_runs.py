"""Figures of several runs, as plain dictionaries: their curves over one another, and accuracy against photos.

As :mod:`tl_app.plots`, imports neither torch, gradio nor plotly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tl_app import words
from tl_app.events import EpochDone
from tl_app.plots import finite, plain_axis, plain_layout, shortened

# Okabe and Ito's palette for colour-blind readers without its yellow, which white pages swallow; blue and black changed
# so that both are seen on dark pages. Dash and marker differ as well.
COLOURS = ("#2f86d1", "#e0701a", "#0aa574", "#b06fa8", "#8a8f98", "#56b4e9", "#a8761c")
_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x", "star", "cross")


@dataclass(frozen=True)
class Point:
    """One training of a study.

    Attributes:
        photos: That it was trained on.
        accuracy: On the validation photos, 0 to 1.
        low: Lower end of its 95 % interval.
        high: Upper end.
        seconds: Training time.
        trained: Parameters that moved.
    """

    photos: int
    accuracy: float
    low: float
    high: float
    seconds: float
    trained: int


def overlaid(runs: Mapping[str, Sequence[EpochDone]], *, height: int = 520) -> dict[str, Any]:
    """Loss over accuracy of several runs on one axis of epochs, one colour a run.

    Args:
        runs: The epochs of each by its name.
        height: Of both plots together, in pixels.
    """
    data: list[dict[str, Any]] = []
    for number, (name, rows) in enumerate(runs.items()):
        x = [row.epoch for row in rows]
        val = {
            "legendgroup": name,
            "name": shortened(name, 32),
            "line": {"color": _colour(number), "width": 2},
        }
        train = val | {"line": {"color": _colour(number), "width": 1.5, "dash": "dot"}, "showlegend": False}
        marker = {"color": _colour(number), "symbol": _SYMBOLS[number % len(_SYMBOLS)], "size": 6}
        dots = {"mode": "lines+markers", "marker": marker}
        plain, below = {"type": "scatter", "x": x, "mode": "lines"}, {"yaxis": "y2", "showlegend": False}
        tip = f"{shortened(name, 32)}, %s: %%{{y:%s}}<extra></extra>"
        losses, shares = (
            {"hovertemplate": tip % ("validation", ".4f")},
            {"hovertemplate": tip % ("validation", ".1%")},
        )
        seen = {"hovertemplate": tip % ("training", ".4f")}
        data += [
            plain | train | seen | {"y": finite([row.train_loss for row in rows])},
            plain | val | dots | losses | {"y": finite([row.val_loss for row in rows])},
            plain | val | dots | shares | below | {"y": finite([row.val_accuracy for row in rows])},
        ]
    layout = plain_layout(height, uirevision=" ".join(runs))
    layout["hovermode"] = "closest"
    layout["xaxis"] |= {"anchor": "y2", "title": {"text": "Epoch", "standoff": 8}, "rangemode": "tozero"}
    layout["yaxis"] = plain_axis(title="Loss", domain=[0.54, 1.0], rangemode="tozero")
    layout["yaxis2"] = plain_axis(title="Val. accuracy", domain=[0.0, 0.46], tickformat=".0%")
    return {"data": data, "layout": layout}


def against_photos(lines: Mapping[str, Sequence[Point]], *, height: int = 380) -> dict[str, Any]:
    """Accuracy against the number of training photos, one line per recipe, with 95 % intervals.

    Args:
        lines: The points of each recipe, by the words for it.
        height: In pixels.
    """
    data = []
    for number, (name, points) in enumerate(lines.items()):
        points = sorted(points, key=lambda point: point.photos)
        about = [
            f"{words.duration(point.seconds)}, {words.count(point.trained)} parameters trained"
            for point in points
        ]
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "x": [point.photos for point in points],
                "y": finite([point.accuracy for point in points]),
                "customdata": about,
                "line": {"color": _colour(number), "width": 2},
                "marker": {"color": _colour(number), "symbol": _SYMBOLS[number % len(_SYMBOLS)], "size": 8},
                "error_y": {
                    "type": "data",
                    "symmetric": False,
                    "array": finite([point.high - point.accuracy for point in points]),
                    "arrayminus": finite([point.accuracy - point.low for point in points]),
                    "thickness": 1,
                    "width": 4,
                },
                "hovertemplate": f"{name}, %{{x}} photos: %{{y:.1%}}<br>%{{customdata}}<extra></extra>",
            }
        )
    layout = plain_layout(height, uirevision="photos")
    layout["hovermode"] = "closest"
    layout["xaxis"] |= {"title": {"text": "Training photos", "standoff": 8}, "rangemode": "tozero"}
    layout["yaxis"] = plain_axis(title="Validation accuracy", tickformat=".0%")
    return {"data": data, "layout": layout}


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]
