"""Suites that train: head only, last stage unfrozen, everything; the sides are run one after the other."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import machine, photos
from tests.benchmarks.measure import environment, run
from tests.benchmarks.results import Results, Row
from tests.benchmarks.sides import BY_DEFAULT, ROOT, Comparison, Side, sides

Say = Callable[[str], None]

# Seconds a photo and epoch, head only, on two cores with avx512_bf16, and the other sides' multiples of that.
_TUTORIAL_SECONDS = {"resnet18": 0.031, "mobilenet_v3_small": 0.008}
_MULTIPLES = {"floor": 0.1, "ours": 0.5}
_DEARER = {"head": 1.0, "partial": 1.3, "full": 3.0}


@dataclass(frozen=True)
class Plan:
    """What a suite is run with.

    Attributes:
        photos: How many, both splits together.
        backbones: Torchvision's names.
        only: The groups of sides to run; empty for the suite's own choice.
        repeat: How often what takes seconds is run; medians are reported.
        work: Where photos are kept; runs and caches are made below it and removed.
    """

    suite: str
    photos: int
    epochs: int
    more_epochs: int
    backbones: tuple[str, ...]
    only: tuple[str, ...]
    repeat: int
    peer_python: str
    work: Path

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups of sides that are run."""
        return self.only or BY_DEFAULT[self.suite]


def estimate(plan: Plan) -> float:
    """About how many seconds a plan takes here; a backbone we have no figure for is taken for a ResNet-18."""
    multiples = sum(_MULTIPLES.get(group, 1.0) for group in plan.groups)
    passes = plan.photos * plan.epochs * _DEARER[plan.suite] * 2 / machine.cores()
    return sum(_TUTORIAL_SECONDS.get(name, 0.031) * passes * multiples + 60 for name in plan.backbones)


def measure(plan: Plan, results: Results, say: Say) -> None:
    """Runs one suite; the results are saved after each program."""
    data = photos.make(plan.work, plan.photos)
    for backbone in plan.backbones:
        on = Comparison(plan.suite, data, backbone, plan.epochs, plan.more_epochs, plan.peer_python)
        with tempfile.TemporaryDirectory(prefix="homes-", dir=plan.work) as homes:
            _Runner(plan, on, results, say, Path(homes)).run()


class _Runner:
    """Runs the sides of one comparison, each in a home folder of its own."""

    def __init__(self, plan: Plan, on: Comparison, results: Results, say: Say, homes: Path) -> None:
        self._plan, self._on, self._results, self._say, self._homes = plan, on, results, say, homes

    def run(self) -> None:
        """What is measured once, then what is repeated, in turn, so that a slow minute meets all of it."""
        chosen = [side for side in sides(self._on) if side.group in self._plan.groups]
        rows = {side.name: self._begin(side) for side in chosen}
        for warm in (False, True):
            those = [side for side in chosen if side.warm == warm]
            in_turn = [side for side in those if side.repeated] * self._plan.repeat
            for side in [*(side for side in those if not side.repeated), *in_turn]:
                if not rows[side.name].note:
                    self._take(side, rows[side.name])

    def _begin(self, side: Side) -> Row:
        row = Row(
            self._on.suite, self._on.backbone, side.name, side.label, self._plan.photos, self._on.epochs
        )
        row.note = self._missing(side)
        if row.note:
            self._say(f"{side.label}: {row.note}")
        return self._results.begin(row)

    def _missing(self, side: Side) -> str:
        """Why a side cannot run. A first import also writes byte code, which then is no part of a measurement."""
        module, package = side.needs
        if not module:
            return ""
        error = run([side.command[0], "-c", f"import {module}"], environment(self._homes / "none")).error
        if "No module named" in error:
            peer = "" if side.group == "ours" else ", or name an interpreter that has it: --peer-python"
            return f"not installed; pip install {package}{peer} ({error.split(': ', 2)[-1]})"
        return error and f"cannot be imported, {error}"

    def _take(self, side: Side, row: Row) -> None:
        home = self._homes / ("ours" if side.warm else side.name)
        if not side.warm:
            shutil.rmtree(home, ignore_errors=True)
        photos.warm(self._on.data)
        measured = run(side.command, environment(home, PYTHONPATH=str(ROOT)))
        row.take(measured)
        self._say(f"{side.label}: {measured.seconds:.1f} s {measured.error}".rstrip())
        self._results.save()
