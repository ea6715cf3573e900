"""What was promised, held against what was measured."""

from __future__ import annotations

from tests.benchmarks.figures import duration, epoch_seconds, faster, megabytes, over_floor, times
from tests.benchmarks.results import Results, Row

_PHOTOS, _EPOCHS = 2000, 10  # what the goals of training suites were set for

# Suite, backbone, our side, the side it is held against: at least so many times faster, as a whole process.
_RATIOS = (
    ("head", "resnet18", "ours", "tutorial", 25),
    ("head", "mobilenet_v3_small", "ours", "tutorial", 18),
    ("head", "resnet18", "ours", "fastai", 25),
    ("head", "mobilenet_v3_small", "ours", "fastai", 25),
    ("head", "resnet18", "ours-openvino", "tutorial", 45),
    ("head", "mobilenet_v3_small", "ours-openvino", "tutorial", 28),
    ("head", "resnet18", "ours-views", "tutorial", 5),
    ("head", "mobilenet_v3_small", "ours-views", "tutorial", 8),
    ("head", "resnet18", "ours-views-openvino", "tutorial", 7),
    ("head", "mobilenet_v3_small", "ours-views-openvino", "tutorial", 12),
    ("partial", "resnet18", "ours", "tutorial", 5),
    ("partial", "mobilenet_v3_small", "ours", "tutorial", 2),
    ("partial", "resnet18", "ours-views", "tutorial", 5),
    ("partial", "mobilenet_v3_small", "ours-views", "tutorial", 2),
)
# Suite, backbone: an epoch at least so many times cheaper than the loop's.
_EPOCH_RATIOS = (
    ("head", "resnet18", 1000),
    ("head", "mobilenet_v3_small", 150),
    ("full", "resnet18", 2.5),
    ("full", "mobilenet_v3_small", 1.8),
)
_FLOOR, _SECOND_RUN, _PAGE = 1.5, 0.35, 1.3  # at most so many times
_HELP_SECONDS, _REQUEST_SECONDS = 0.5, 0.05
_PHOTO_SECONDS = (("mobilenet_v3_small", 0.015), ("resnet18", 0.040))
_MANY, _MANY_BYTES = 20_000, 4e9


def goals(results: Results) -> list[list[str]]:
    """Goals that there are figures for."""
    lines: list[list[str]] = []
    for suite, backbone, side, other, least in _RATIOS:
        row = _comparable(results, suite, backbone, side)
        if row is not None:
            name = "the tutorial loop" if other == "tutorial" else other
            what = f"{backbone}: {row.label} faster than {name}"
            lines += _goal(what, faster(results, row, other), least, at_least=True)
    for suite, backbone, least in _EPOCH_RATIOS:
        theirs, row = (_comparable(results, suite, backbone, side) for side in ("tutorial", "ours-further"))
        if theirs is not None and row is not None:
            ours, loop = epoch_seconds(results, row), epoch_seconds(results, theirs)
            what = f"{backbone}, {suite}: one more epoch cheaper than the loop's"
            lines += _goal(what, loop / ours if ours and loop else None, least, at_least=True)
    for backbone in results.groups("head"):
        lines += _head_shares(results, backbone)
    return [*lines, *_page_goals(results), *_photo_goals(results)]


def _head_shares(results: Results, backbone: str) -> list[list[str]]:
    lines = []
    for side in ("ours", "ours-openvino"):
        row = _comparable(results, "head", backbone, side)
        if row is not None:
            lines += _goal(
                f"{backbone}: {row.label} over the floor", over_floor(results, row), _FLOOR, at_least=False
            )
    first, again = (_comparable(results, "head", backbone, side) for side in ("ours", "ours-again"))
    if first is not None and again is not None and first.median_seconds and again.median_seconds:
        share = again.median_seconds / first.median_seconds
        lines += _goal(f"{backbone}: second run over the first", share, _SECOND_RUN, at_least=False)
    return lines


def _page_goals(results: Results) -> list[list[str]]:
    bare, page, said = (results.find("startup", "", side) for side in ("bare", "ours", "help"))
    lines = []
    if bare is not None and page is not None and bare.median_seconds and page.median_seconds:
        ratio = page.median_seconds / bare.median_seconds
        lines += _goal("the page's first answer over a bare one's", ratio, _PAGE, at_least=False)
    if said is not None and said.median_seconds is not None:
        lines += _limit("`tl-app --help`", said.median_seconds, _HELP_SECONDS)
    for row in results.of("latency", ""):
        if row.side.startswith("training") and "p95" in row.said:
            lines += _limit(f"p95, {row.label}", row.said["p95"], _REQUEST_SECONDS)
    return lines


def _photo_goals(results: Results) -> list[list[str]]:
    lines = []
    for backbone, most in _PHOTO_SECONDS:
        row = results.find("predict", backbone, "ours")
        if row is not None:
            lines += _limit(f"{backbone}: p50 of one photo", row.said["p50"], most)
    for row in results.of("big", ""):
        if not row.note and row.photos >= _MANY:
            peak, most = row.memory_bytes, _MANY_BYTES
            what = f"{row.photos:,} photos, {row.label}: memory"
            lines.append([what, f"≤ {megabytes(most)}", megabytes(peak), _holds(peak <= most)])
    return lines


def _comparable(results: Results, suite: str, backbone: str, side: str) -> Row | None:
    """A row with a figure, of the size the goals were set for."""
    row = results.find(suite, backbone, side)
    if row is None or row.photos != _PHOTOS or (row.epochs != _EPOCHS and suite != "full"):
        return None
    return row


def _goal(what: str, ratio: float | None, bound: float, *, at_least: bool) -> list[list[str]]:
    if ratio is None:
        return []
    held = ratio >= bound if at_least else ratio <= bound
    shown = times(ratio, digits=1 if at_least else 2)
    return [[what, f"{'≥' if at_least else '≤'} {bound:g}×", shown, _holds(held)]]


def _limit(what: str, seconds: float, most: float) -> list[list[str]]:
    return [[what, f"≤ {duration(most)}", duration(seconds), _holds(seconds <= most)]]


def _holds(held: bool) -> str:
    return "yes" if held else "no"
