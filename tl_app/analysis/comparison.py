"""Runs side by side: what they are, what they cost, where their settings differ, and whether one is really better.

The last is asked of the same photos: McNemar's test on validation photos that neither of two runs was trained on. Knows
nothing of how it is shown.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tl_app import plots_runs, words
from tl_app.analysis.certainty import mcnemar, share_interval
from tl_app.analysis.learned import learned_from
from tl_app.analysis.pairs import Answers, Pair, corrected, paired
from tl_app.config import TrainConfig
from tl_app.data.index import DatasetIndex
from tl_app.errors import UsageError, UserError
from tl_app.runs import RunInfo
from tl_app.snapshot import Snapshot, snapshot_of

Report = Callable[[int, int], None]

_MOST = 8  # more cannot be told apart in a figure, and each pair more makes every p-value larger


@dataclass(frozen=True)
class ComparedRun:
    """One run's row.

    Attributes:
        accuracy: Of its best model on its validation photos, 0 to 1; ``accuracy_low`` and ``accuracy_high`` are the
            ends of the 95 % interval.
        val_images: How many validation photos that is.
        seconds: Training time.
        images_per_second: Training photos per second of it.
        gflops: A photo, as torchvision counts.
        model_bytes: Its weights as they are stored.
        cpu_seconds: One photo's answer on this CPU, measured just now, without decoding.
    """

    run: str
    name: str
    recipe: str
    frozen_stages: int
    stages: int
    backbone: str
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    val_images: int
    seconds: float
    images_per_second: float
    trainable_parameters: int
    total_parameters: int
    gflops: float
    model_bytes: int
    cpu_seconds: float


@dataclass(frozen=True)
class Difference:
    """A setting that is not the same everywhere.

    Attributes:
        setting: The field's name, or what it is called where it is none.
        label: For people.
        values: As text, in the order of the runs.
    """

    setting: str
    label: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes:
        runs: A row each, in the order that was asked for.
        differences: Settings that are not the same.
        pairs: Every two of them.
        curves: A plotly figure as plain dictionaries.
    """

    runs: tuple[ComparedRun, ...]
    differences: tuple[Difference, ...]
    pairs: tuple[Pair, ...]
    curves: dict[str, Any]


def compare_runs(infos: Sequence[RunInfo], report: Report = lambda done, total: None) -> Comparison:
    """Puts runs side by side, which measures each on the CPU and has each answer its validation photos.

    Args:
        infos: Two to eight runs with a model each.
        report: Told how many runs are done, of how many.

    Raises:
        UserError: There are too few or too many, one is named twice, or one has no model yet.
    """
    _check(infos)
    report(0, len(infos))
    snapshots = [snapshot_of(info) for info in infos]
    rows, answers = [], []
    for number, (info, snapshot) in enumerate(zip(infos, snapshots, strict=True), 1):
        rows.append(_row(info, snapshot))
        answers.append(_asked(info))
        report(number, len(infos))
    return Comparison(
        runs=tuple(rows),
        differences=differences(infos),
        pairs=_pairs(infos, answers),
        curves=plots_runs.overlaid(
            {info.name: snapshot.epoch_rows for info, snapshot in zip(infos, snapshots, strict=True)}
        ),
    )


def differences(infos: Sequence[RunInfo]) -> tuple[Difference, ...]:
    """Settings, as they were used, that are not the same in all runs."""
    found = []
    for spec in dataclasses.fields(TrainConfig):
        values = tuple(_text(getattr(info.config, spec.name)) for info in infos)
        found.append(Difference(spec.name, str(spec.metadata["label"]), values))
    more = tuple(words.plural(len(info.extensions), "time") if info.extensions else "no" for info in infos)
    blends = tuple(f"{info.blended[0]}, α = {info.blended[1]:g}" if info.blended else "no" for info in infos)
    found += [Difference("extensions", "Extended", more), Difference("blended", "Blend", blends)]
    return tuple(each for each in found if len(set(each.values)) > 1)


def in_words(run: ComparedRun) -> list[tuple[str, str]]:
    """What a run is and costs, in words; the same names in the same order for every run."""
    accuracy = (
        f"{words.percent(run.accuracy)} ({100 * run.accuracy_low:.0f}–{100 * run.accuracy_high:.0f} %, "
        f"{words.plural(run.val_images, 'photo')})"
    )
    return [
        ("Recipe", run.recipe),
        ("Depth", f"{run.frozen_stages} of {run.stages}"),
        ("Backbone", run.backbone),
        ("Accuracy", accuracy),
        ("Time", words.duration(run.seconds)),
        ("Photos a second", f"{run.images_per_second:,.0f}"),
        ("Trained", words.count(run.trainable_parameters)),
        ("Parameters", words.count(run.total_parameters)),
        ("GFLOPs a photo", f"{run.gflops:.2g}"),
        ("Size", words.size(run.model_bytes)),
        ("Answer on CPU", words.milliseconds(run.cpu_seconds)),
    ]


def _check(infos: Sequence[RunInfo]) -> None:
    if not 2 <= len(infos) <= _MOST:
        raise UsageError(
            f"{words.plural(len(infos), 'run')} cannot be compared.",
            f"Allowed: 2 to {_MOST}.",
            "Name others.",
        )
    twice = [info.name for number, info in enumerate(infos) if info.path in {i.path for i in infos[:number]}]
    if twice:
        raise UsageError(f"Run '{twice[0]}' is named twice.", remedy="Name each run once.")
    empty = [info.name for info in infos if not info.best_epoch or info.val_accuracy is None]
    if empty:
        raise UsageError(
            f"Run '{empty[0]}' has no finished epoch yet, so there is no model to compare.",
            remedy="Let it train for at least one epoch, or leave it out.",
        )


def _row(info: RunInfo, snapshot: Snapshot) -> ComparedRun:
    from tl_app.analysis.footprint import footprint

    cost = footprint(info)
    photos = len(DatasetIndex.read_manifest(info.path / "manifest.csv").used("val"))
    assert info.val_accuracy is not None
    low, high = share_interval(info.val_accuracy, photos)
    return ComparedRun(
        run=str(info.path),
        name=info.name,
        recipe=info.config.recipe,
        frozen_stages=snapshot.frozen_stages,
        stages=len(info.stages),
        backbone=info.config.backbone,
        accuracy=info.val_accuracy,
        accuracy_low=low,
        accuracy_high=high,
        val_images=photos,
        seconds=info.seconds,
        images_per_second=snapshot.images_per_second,
        trainable_parameters=snapshot.trainable_parameters,
        total_parameters=snapshot.total_parameters,
        gflops=cost.gflops,
        model_bytes=cost.model_bytes,
        cpu_seconds=cost.cpu_seconds,
    )


def _asked(info: RunInfo) -> Answers | str:
    """What a run says of its validation photos, or why it cannot be asked."""
    try:
        return _answers(info)
    except UserError as error:  # photos that moved away cost the test, not the table
        return str(error)


def _answers(info: RunInfo) -> Answers:
    from tl_app.analysis.answers import answers_of

    found = answers_of(info)
    return (
        list(found.contents),
        [info.classes[number] for number in found.labels.tolist()],
        [info.classes[number] for number in found.logits.argmax(1).tolist()],
    )


def _pairs(infos: Sequence[RunInfo], answers: Sequence[Answers | str]) -> tuple[Pair, ...]:
    trained = [learned_from(info) for info in infos]
    found: list[Pair] = []
    for a, b in itertools.combinations(range(len(infos)), 2):
        one, two = answers[a], answers[b]
        names = infos[a].name, infos[b].name
        if isinstance(one, str) or isinstance(two, str):
            why = one if isinstance(one, str) else str(two)
            found.append(Pair(*names, 0, 0, 0, 0, None, None, why))
            continue
        common, left_out, only_one, only_two = paired(one, two, [trained[a], trained[b]])
        p_value = mcnemar(only_one, only_two) if common else None
        found.append(Pair(*names, common, left_out, only_one, only_two, p_value, None, ""))
    return corrected(found)


def _text(value: Any) -> str:
    return (
        "automatic" if value is None else f"{value:g}" if isinstance(value, float) else str(value) or "none"
    )
