"""The report of a run: one HTML file that needs nothing else, to keep, print or send.

Knows nothing of the page or the command line; its layout is ``assets/report.html``.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from PIL import Image

from tl_app import plots, reproduce, resources, words
from tl_app.analysis import confusions, mistakes, reading
from tl_app.analysis.diagnosis import diagnose_run
from tl_app.analysis.examined import Examined
from tl_app.analysis.explaining import explain_photo
from tl_app.errors import PhotoError, ResourceError, UsageError
from tl_app.evaluation import EvaluationResult, evaluate_run
from tl_app.files import write_atomically
from tl_app.predictor import Predictor, load_run
from tl_app.runs import RunInfo
from tl_app.snapshot import snapshot_of

FILE = "report.html"  # in the run folder
_MISTAKES = 12  # with pictures
_MATRIX = 30  # classes across
_SIDE = 320  # of a picture, in pixels


def evaluate_and_report(
    info: RunInfo,
    file: Path | None,
    data: str | Path | None,
    split: str | None,
    device: str,
    on_progress: Callable[[int, int], None] | None = None,
) -> EvaluationResult:
    """Measures a run and writes its report; arguments as for :func:`tl_app.insights.evaluate`.

    Args:
        info: The run.
        file: A file that is not there yet; None for one in the run folder, which is made anew.
        data: Other photos; None for the run's own.
        split: Of the photos.
        device: Where to compute.
        on_progress: Called with photos done and photos in all.

    Raises:
        UserError: There is no model or no such split, photos are gone, the file is there already, or the folder cannot
            be written.
    """
    target = file or info.path / (FILE if data is None else f"report-{Path(data).stem}.html")
    if file is not None:
        _take(file)  # at once: it takes a while until there is something to write
    try:
        result, examined = evaluate_run(info, data, split, device, on_progress)
        content = report_of(examined, load_run(info, device))
    except BaseException:
        if file is not None:
            file.unlink(missing_ok=True)
        raise
    try:
        write_atomically(target, content.encode())
    except OSError as error:
        raise ResourceError(f"{target} could not be written: {error.strerror or error}.") from error
    return dataclasses.replace(result, report=str(target))


def _take(file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(f"The folder {file.parent} cannot be made: {error.strerror or error}.") from error
    try:
        file.touch(exist_ok=False)
    except FileExistsError as error:
        raise UsageError(
            f"{file} is there already, and nothing is overwritten.", remedy="Choose another name."
        ) from error
    except OSError as error:
        raise ResourceError(f"{file} could not be written: {error.strerror or error}.") from error


def report_of(examined: Examined, predictor: Predictor) -> str:
    """The report as HTML, about 5 MB, most of which is plotly's drawing code.

    Args:
        examined: The run on one split.
        predictor: The same run, for what spoke for its mistakes.
    """
    info, snapshot = examined.info, snapshot_of(examined.info)
    curve, told = reading.coverage(examined)
    accuracy, span = reading.headline(examined)
    figures = {"reliability": reading.reliability(examined), "coverage": curve}
    if snapshot.epoch_rows:
        figures["curves"] = plots.curves(snapshot)
    diagnosis = diagnose_run(info, snapshot)
    left = len(examined.answers.left_out)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    layout = (resources.assets_dir() / FILE).read_text(encoding="utf-8")
    html = environment.from_string(layout).render(
        name=info.name,
        made_of=_made_of(info),
        accuracy=accuracy,
        span=span,
        caution=reading.caution(examined),
        left_out=f"{words.plural(left, 'photo')} could not be read and do not count." if left else "",
        facts=reading.facts(examined),
        summary=diagnosis.summary,
        findings=diagnosis.findings,
        how_sure=reading.HOW_SURE,
        coverage_told=told,
        classes=[(name, _in_words(values)) for name, values in reading.classes(examined)],
        **_matrix(examined),
        **_mistakes(examined, predictor),
        settings=reproduce.settings_of(info),
        command=reproduce.command_of(info),
        drawing_code=Markup(plots.drawing_code().read_text(encoding="utf-8")),
        figures=Markup(_for_script(figures)),
    )
    # A file's name may hold bytes that are no text.
    return html.encode("utf-8", "backslashreplace").decode()


def _made_of(info: RunInfo) -> str:
    photos = Path(info.config.data).name
    return f"{info.config.backbone}, recipe {info.config.recipe}, on {photos}; {words.moment(info.created)}"


def _in_words(values: dict[str, Any]) -> dict[str, str]:
    shares = {name: words.percent(values[name]) for name in ("precision", "recall", "f1")}
    return {**shares, "support": f"{values['support']:,}"}


def _matrix(examined: Examined) -> dict[str, Any]:
    """The confusion matrix, or its most confused part."""
    classes, counts = examined.answers.classes, examined.metrics.confusion
    shown = confusions.arranged(counts)[:_MATRIX]
    if len(classes) <= _MATRIX:
        shown = sorted(shown)
    page = confusions.page_of(counts, shown)
    heads = [classes[number] for number in shown]
    told = "Rows are what photos are, columns what the run says. Shades are shares of a row."
    if len(shown) < len(classes):
        told += f" Of {len(classes):,} classes these are the {len(shown)} most confused ones."
        heads.append("others")
    rows = []
    for place, number in enumerate(shown):
        cells = []
        for column in range(len(heads)):
            count, total = int(page.counts[place, column]), max(1, int(page.totals[place]))
            cells.append({"count": count, "share": round(0.75 * count / total, 3), "right": column == place})
        rows.append({"name": classes[number], "cells": cells})
    return {"matrix_heads": heads, "matrix_rows": rows, "matrix_told": told}


def _mistakes(examined: Examined, predictor: Predictor) -> dict[str, Any]:
    """The worst mistakes, each with its picture and what spoke for what was said."""
    wrong = mistakes.ordered(examined.judged, "worst")
    shown = [photo for number in wrong[:_MISTAKES] if (photo := _mistake(examined, predictor, int(number)))]
    title = f"Its worst mistakes: {len(shown)} of {len(wrong):,}" if len(wrong) else "No mistakes"
    told = (
        "The square that the network sees, and what in it spoke for the wrong class, in warm colours."
        if shown
        else "Every one of these photos is classified right."
        if not len(wrong)
        else "Their photos cannot be read any more."
    )
    return {"mistakes": shown, "mistakes_title": title, "mistakes_told": told}


def _mistake(examined: Examined, predictor: Predictor, number: int) -> dict[str, str] | None:
    answers, judged = examined.answers, examined.judged
    said = answers.classes[judged.said[number]]
    file, steps = answers.root / answers.paths[number], predictor.preprocessing
    overlay = ""
    try:
        pixels = steps.center(steps.load(file)).permute(1, 2, 0).numpy()
        with contextlib.suppress(UsageError):  # of two networks fused there is no map
            overlay = _uri("png", explain_photo(predictor, file, said).overlay)
    except PhotoError:  # it was there when it was classified
        return None
    return {
        "name": answers.paths[number],
        "said": said,
        "true": answers.classes[judged.labels[number]],
        "confidence": words.percent(float(judged.confidence[number])),
        "picture": _uri("jpeg", _jpeg(pixels)),
        "overlay": overlay,
    }


def _jpeg(pixels: np.ndarray) -> bytes:
    image, stored = Image.fromarray(pixels), io.BytesIO()
    image.resize((_SIDE, _SIDE)).save(stored, "JPEG", quality=85)
    return stored.getvalue()


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _for_script(value: Any) -> str:
    """JSON that cannot end the script it stands in, whatever a class or a file is called."""
    return json.dumps(value).replace("<", "\\u003c")
