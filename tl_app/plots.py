"""Plotly figures as plain dictionaries: the curves of a run, the photos per class.

Imports neither torch, gradio nor plotly: a figure is data, and whoever shows it (page, notebook, file) brings
the drawing code. Backgrounds are transparent and the greys are middle greys, so that a figure can be read on
light and on dark; the page puts its own text colour in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tl_app.events import EpochDone

MAX_POINTS = 2000  # per trace; more cannot be told apart on a screen and slow the browser down

# Blue, vermilion and green of Okabe and Ito's palette, which stay apart for colour-blind readers; the blue is
# lightened a little for dark pages. Line style and marker differ as well.
TRAIN, VALIDATION, BEST = "#2f86d1", "#e0701a", "#0aa574"
_TEXT, _GRID = "#7b8794", "rgba(128,140,155,0.22)"
_SPLIT_COLOURS = {"train": TRAIN, "val": VALIDATION, "test": "#b06fa8"}
_SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test"}


EpochAxis = Callable[[Sequence[float]], list[float]]


class Curves(Protocol):
    """What of a run's snapshot is drawn."""

    @property
    def run(self) -> str: ...  # noqa: D102
    @property
    def step_points(self) -> Sequence[tuple[int, float]]: ...  # noqa: D102
    @property
    def epoch_rows(self) -> Sequence[EpochDone]: ...  # noqa: D102
    @property
    def best_epoch(self) -> int: ...  # noqa: D102
    @property
    def steps(self) -> int: ...  # noqa: D102
    @property
    def epochs(self) -> int: ...  # noqa: D102
    @property
    def phase_starts(self) -> Sequence[tuple[int, int]]: ...  # noqa: D102
    @property
    def extended_after(self) -> Sequence[int]: ...  # noqa: D102


class Counted(Protocol):
    """What of a dataset index is drawn."""

    def counts(self) -> dict[str, dict[str, int]]: ...  # noqa: D102


def curves(snapshot: Curves, *, height: int = 520) -> dict[str, Any]:
    """Loss over accuracy on one time axis, counted in epochs.

    Args:
        snapshot: Of a running or a finished run.
        height: Of both plots together, in pixels.

    Returns:
        A figure with ``data`` and ``layout``. The zoom that a reader chose survives redrawing as long as the
        figure is of the same run.
    """
    rows = list(snapshot.epoch_rows)
    epoch_of = _epoch_axis(rows, snapshot.steps, snapshot.epochs)
    data = [
        *_step_traces(snapshot.step_points, epoch_of),
        *_epoch_traces(rows),
        *_best_traces(rows, snapshot.best_epoch),
    ]
    layout = plain_layout(height, uirevision=snapshot.run)
    layout["xaxis"] |= {"anchor": "y2", "title": {"text": "Epoch", "standoff": 8}, "rangemode": "tozero"}
    layout["yaxis"] = plain_axis(title="Loss", domain=[0.54, 1.0], rangemode="tozero")
    layout["yaxis2"] = plain_axis(title="Accuracy", domain=[0.0, 0.46], tickformat=".0%")
    if not rows:
        layout["yaxis2"]["range"] = [0, 1]
    marks = _boundaries(snapshot)
    layout["shapes"] = [_boundary_line(x) for x, _ in marks]
    layout["annotations"] = [_boundary_label(x, text) for x, text in marks]
    return {"data": data, "layout": layout}


def class_counts(index: Counted) -> dict[str, Any]:
    """One bar per class, stacked by split, in the order of the classes from top to bottom."""
    counts = index.counts()
    classes = list(counts)
    totals = [sum(row.values()) for row in counts.values()]
    splits = [s for s in _SPLIT_COLOURS if any(row.get(s) for row in counts.values())]
    data = [*(_split_bars(counts, classes, split) for split in splits), _bar_ends(totals)]
    layout = plain_layout(height=56 + 26 * max(2, len(classes)), uirevision="classes")
    layout |= {"barmode": "stack", "bargap": 0.4, "hovermode": "closest", "dragmode": False}
    layout["margin"] = {"l": 8, "r": 8, "t": 36, "b": 12}
    layout["legend"] |= {"traceorder": "normal", "y": 1.0}
    # Every bar ends in its number; the list may be longer than the screen, and an axis at its end is of no use.
    layout["xaxis"] = {"visible": False, "range": [0, 1.18 * max(totals, default=1)], "fixedrange": True}
    layout["yaxis"] = plain_axis() | {
        "range": [len(classes) - 0.5, -0.5],
        "fixedrange": True,
        "showgrid": False,
        "tickmode": "array",
        "tickvals": list(range(len(classes))),
        "ticktext": [shortened(name) for name in classes],
    }
    return {"data": data, "layout": layout}


def rate_curve(
    rates: Sequence[float], losses: Sequence[float], smoothed: Sequence[float], suggestion: float | None
) -> dict[str, Any]:
    """The loss while the learning rate rose, on a logarithmic axis, with the suggested rate marked."""
    line = {"type": "scatter", "mode": "lines", "hovertemplate": "%{y:.3f} at %{x:.1e}<extra></extra>"}
    faint, strong = {"color": TRAIN, "width": 1}, {"color": TRAIN, "width": 2.5}
    data: list[dict[str, Any]] = [
        line | {"x": list(rates), "y": list(losses), "name": "each batch", "line": faint, "opacity": 0.4},
        line | {"x": list(rates), "y": list(smoothed), "name": "smoothed", "line": strong},
    ]
    if suggestion is not None:
        nearest = min(range(len(rates)), key=lambda index: abs(math.log(rates[index] / suggestion)))
        data.append(
            {
                **{"type": "scatter", "mode": "markers", "name": "suggestion"},
                **{"x": [suggestion], "y": [smoothed[nearest]], "marker": {"color": BEST, "size": 11}},
                "hovertemplate": "%{x:.1e}<extra></extra>",
            }
        )
    layout = plain_layout(height=280, uirevision="rates")
    layout["xaxis"] |= {
        "type": "log",
        "title": {"text": "Learning rate, head", "standoff": 8},
        "exponentformat": "e",
    }
    # An exploded loss at the right end would press everything else flat.
    layout["yaxis"] = plain_axis(title="Loss", range=[0, 1.3 * max(smoothed[: len(smoothed) // 2 + 1])])
    return {"data": data, "layout": layout}


def thin_out(
    x: Sequence[float], y: Sequence[float], most: int = MAX_POINTS
) -> tuple[list[float], list[float]]:
    """At most ``most`` of the points, with every peak and every dip kept.

    Each of ``most // 2`` equal stretches gives its lowest and its highest point, in their order.

    Returns:
        The kept ``x`` and ``y``.
    """
    if len(x) <= most:
        return list(x), list(y)
    values = np.asarray(y, dtype=float)
    edges = np.linspace(0, len(values), max(1, most // 2) + 1).astype(int)
    kept: list[int] = []
    for start, end in zip(edges[:-1], edges[1:], strict=True):
        piece = values[start:end]
        if not np.isfinite(piece).any():
            kept.append(int(start))
            continue
        low, high = int(np.nanargmin(piece)), int(np.nanargmax(piece))
        kept.extend(int(start) + i for i in sorted({low, high}))
    return [x[i] for i in kept], [y[i] for i in kept]


def smooth(values: Sequence[float], span: int) -> list[float]:
    """Exponential moving average over about ``span`` values, corrected for its start as in Adam.

    A value that is not finite leaves the average where it was.
    """
    decay, average, weight = 1 - 1 / max(1, span), 0.0, 0.0
    out = []
    for value in values:
        if math.isfinite(value):
            average = decay * average + (1 - decay) * value
            weight = decay * weight + (1 - decay)
        out.append(average / weight if weight else math.nan)
    return out


def _epoch_axis(rows: Sequence[EpochDone], steps: int, epochs: int) -> EpochAxis:
    """Maps steps to epochs: exact at each epoch's end, straight between and after."""
    known_steps, known_epochs = [0.0], [0.0]
    for row in rows:
        if row.step > known_steps[-1]:
            known_steps.append(float(row.step))
            known_epochs.append(float(row.epoch))
    left = steps - known_steps[-1]
    if left > 0 and epochs > known_epochs[-1]:
        slope = (epochs - known_epochs[-1]) / left
    else:
        slope = known_epochs[-1] / known_steps[-1] if known_steps[-1] else 1.0

    def to_epochs(at: Sequence[float]) -> list[float]:
        beyond = np.maximum(0.0, np.asarray(at, dtype=float) - known_steps[-1]) * slope
        between: list[float] = (np.interp(at, known_steps, known_epochs) + beyond).round(4).tolist()
        return between

    return to_epochs


def _step_traces(points: Sequence[tuple[int, float]], epoch_of: EpochAxis) -> list[dict[str, Any]]:
    steps = [float(step) for step, _ in points]
    losses = [float(loss) for _, loss in points]
    raw_steps, raw = thin_out(steps, losses)
    line = smooth(losses, span=max(5, len(losses) // 40))
    kept = _evenly(len(steps), most=500)
    each = _line("training, step", epoch_of(raw_steps), raw, width=1) | {"opacity": 0.42}
    each |= {"customdata": [int(s) for s in raw_steps], "hovertemplate": "step %{customdata}: %{y:.4f}"}
    average = _line(
        "training, smoothed", epoch_of([steps[i] for i in kept]), [line[i] for i in kept], width=2.5
    )
    return [each, average | {"hoverinfo": "skip"}]


def _epoch_traces(rows: Sequence[EpochDone]) -> list[dict[str, Any]]:
    x = [float(row.epoch) for row in rows]
    accuracy = {"yaxis": "y2", "showlegend": False, "hovertemplate": "%{y:.1%}"}
    dots = {"mode": "markers"}  # over the smoothed line of the steps, which shows the way between
    return [
        _points("training, epoch", x, [r.train_loss for r in rows], TRAIN, "circle-open") | dots,
        _points("validation", x, [r.val_loss for r in rows], VALIDATION, "diamond"),
        _points("training, epoch", x, [r.train_accuracy for r in rows], TRAIN, "circle-open") | accuracy,
        _points("validation", x, [r.val_accuracy for r in rows], VALIDATION, "diamond") | accuracy,
    ]


def _best_traces(rows: Sequence[EpochDone], best_epoch: int) -> list[dict[str, Any]]:
    best = [row for row in rows if row.epoch == best_epoch][-1:]
    x = [float(row.epoch) for row in best]
    star = {"mode": "markers", "marker": {"color": BEST, "symbol": "star", "size": 14}}
    accuracy = {"yaxis": "y2", "showlegend": False, "hovertemplate": "%{y:.1%}"}
    return [
        _points("best epoch", x, [r.val_loss for r in best], BEST, "star") | star,
        _points("best epoch", x, [r.val_accuracy for r in best], BEST, "star") | star | accuracy,
    ]


def _line(name: str, x: Sequence[float], y: Sequence[float], *, width: float) -> dict[str, Any]:
    line = {"color": TRAIN, "width": width}
    return {"type": "scatter", "mode": "lines", "name": name, "x": list(x), "y": finite(y), "line": line}


def _points(name: str, x: Sequence[float], y: Sequence[float], colour: str, symbol: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "legendgroup": name,
        "x": list(x),
        "y": finite(y),
        "line": {"color": colour, "width": 2},
        "marker": {"color": colour, "symbol": symbol, "size": 7},
        "hovertemplate": "%{y:.4f}",
    }


def _evenly(number: int, most: int) -> list[int]:
    """At most ``most`` of the places 0 to ``number - 1``, the first and the last among them."""
    if number <= most:
        return list(range(number))
    return [i * (number - 1) // (most - 1) for i in range(most)]


def _split_bars(counts: dict[str, dict[str, int]], classes: list[str], split: str) -> dict[str, Any]:
    return {
        "type": "bar",
        "orientation": "h",
        "name": _SPLIT_NAMES[split],
        "x": [counts[name].get(split, 0) for name in classes],
        "y": list(range(len(classes))),  # numbers: two long names may shorten to the same text
        "customdata": [escaped(name) for name in classes],
        "marker": {"color": _SPLIT_COLOURS[split]},
        "hovertemplate": "%{customdata}: %{x}",
    }


def _bar_ends(totals: list[int]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "text",
        "x": totals,
        "y": list(range(len(totals))),
        "text": [f" {total:,}" for total in totals],
        "textposition": "middle right",
        "cliponaxis": False,
        "hoverinfo": "skip",
        "showlegend": False,
    }


def finite(values: Sequence[float]) -> list[float | None]:
    """Rounded for the wire; NaN and infinity become gaps, since JSON has neither."""
    return [round(v, 5) if math.isfinite(v) else None for v in values]


def _boundaries(snapshot: Curves) -> list[tuple[int, str]]:
    """Where a new phase began: (epochs done before it, what it froze); none for runs of one phase."""
    return [
        (done, "more epochs" if done in snapshot.extended_after else f"freezing depth {depth}")
        for done, depth in snapshot.phase_starts
        if done > 0
    ]


def _boundary_line(x: float) -> dict[str, Any]:
    line = {"color": _TEXT, "width": 1, "dash": "dash"}
    return {"type": "line", "xref": "x", "yref": "paper", "x0": x, "x1": x, "y0": 0, "y1": 1, "line": line}


def _boundary_label(x: float, text: str) -> dict[str, Any]:
    place = {"x": x, "xref": "x", "y": 0.5, "yref": "paper", "xanchor": "left", "yanchor": "middle"}
    return place | {"text": escaped(text), "showarrow": False, "font": {"size": 11}}


def plain_layout(height: int, *, uirevision: str) -> dict[str, Any]:
    """What all figures have in common; ``uirevision`` names what a reader's zoom belongs to."""
    return {
        "height": height,
        "autosize": True,
        "uirevision": uirevision,
        "margin": {"l": 56, "r": 12, "t": 8, "b": 44},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {
            "color": _TEXT,
            "size": 12,
            "family": "system-ui, Segoe UI, Roboto, sans-serif",
        },
        "hovermode": "x unified",
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom"},
        "xaxis": plain_axis(),
    }


def plain_axis(*, title: str = "", **extra: Any) -> dict[str, Any]:
    """An axis without a line at zero, with more of plotly's properties where they are given."""
    axis = {"gridcolor": _GRID, "zeroline": False, "automargin": True}
    return axis | ({"title": {"text": title, "standoff": 8}} if title else {}) | extra


def shortened(name: str, most: int = 24) -> str:
    """A name that a legend or an axis has room for, escaped."""
    return escaped(name if len(name) <= most else name[: most - 1] + "…")


def drawing_code() -> Path:
    """Plotly's own drawing code for browsers, a file of the installed package."""
    import plotly

    return Path(plotly.__file__).parent / "package_data" / "plotly.min.js"


def escaped(text: str) -> str:
    """Plotly reads a little HTML in its texts; a folder's name must not become a tag."""
    text = text.encode("utf-8", "replace").decode()  # a file name may hold bytes that are no characters
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
