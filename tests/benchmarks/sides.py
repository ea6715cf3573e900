"""The sides of a training suite as commands: the tutorial's loop, other trainers, the floor, and ours."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SUITES = ("head", "partial", "full")
# As `--only` names them. The last two are run only when they are named.
GROUPS = ("tutorial", "fastai", "ultralytics", "floor", "ours", "tutorial-32", "fastai-augmented")
BY_DEFAULT = {"head": GROUPS[:5], "partial": ("tutorial", "ours"), "full": ("tutorial", "ours")}
_OTHER_HEAD = ("--lr", "0.005", "--weight-decay", "0.1")


@dataclass(frozen=True)
class Comparison:
    """What all sides are given: the same photos, architecture, epochs and frozen stages.

    Attributes:
        suite: ``head``, ``partial`` or ``full``.
        data: The folder of photos.
        backbone: Torchvision's name.
        epochs: Of every side.
        more_epochs: By how many epochs two of our runs differ whose difference is the price of one.
        peer_python: The interpreter that has the peers.
    """

    suite: str
    data: Path
    backbone: str
    epochs: int
    more_epochs: int
    peer_python: str


@dataclass(frozen=True)
class Side:
    """One program to measure.

    Attributes:
        group: What ``--only`` calls it.
        name: What ratios look it up by.
        label: For people.
        command: The program and its arguments.
        needs: A module its interpreter must have, and what to install where it has not.
        repeated: Takes seconds: run several times, in turn with the others like it.
        warm: Runs after ``ours``, with the cache that left behind; any other run of ours has none.
    """

    group: str
    name: str
    label: str
    command: list[str]
    needs: tuple[str, str] = ("", "")
    repeated: bool = False
    warm: bool = False


def sides(comparison: Comparison) -> list[Side]:
    """All sides of a comparison, peers first."""
    found = [_tutorial(comparison, "tutorial", []), _tutorial(comparison, "tutorial-32", ["--batch", "32"])]
    if comparison.suite == "head":
        found += [*_peers(comparison), *_floors(comparison)]
    return [*found, *_ours(comparison)]


def script(python: str, name: str, *arguments: object) -> list[str]:
    """The command of a program of this folder; ``-P`` keeps the folder's other modules out of its sight."""
    return [python, "-P", str(HERE / f"side_{name}.py"), *map(str, arguments)]


def _tutorial(on: Comparison, name: str, more: list[str]) -> Side:
    label = f"PyTorch's tutorial loop, batches of {'32' if more else 4}"
    trained = {"head": "head", "partial": "part", "full": "all"}[on.suite]
    unfrozen = ["--unfrozen", *last_stage(on.backbone)[1]] if on.suite == "partial" else []
    settings = ["--backbone", on.backbone, "--epochs", on.epochs, "--train", trained, *more, *unfrozen]
    return Side(name, name, label, script(sys.executable, "tutorial", on.data, *settings))


def _peers(on: Comparison) -> list[Side]:
    settings = [on.data, "--backbone", on.backbone, "--epochs", on.epochs]
    fastai = script(on.peer_python, "fastai", *settings)
    other = script(on.peer_python, "ultralytics", *settings)
    module = ("fastai.vision.all", "fastai")
    label = "fastai, frozen `vision_learner`"
    return [
        Side("fastai", "fastai", label, fastai, module),
        Side("fastai-augmented", "fastai-augmented", f"{label}, augmented", [*fastai, "--augment"], module),
        Side("ultralytics", "ultralytics", "Ultralytics classify, frozen", other, ("ultralytics",) * 2),
    ]


def _floors(on: Comparison) -> list[Side]:
    command = script(sys.executable, "floor", on.data, "--backbone", on.backbone, "--engine")
    label = "floor: imports, decode once, one bf16 pass"
    return [
        Side("floor", "floor", label, [*command, "torch"], repeated=True),
        Side(
            "floor", "floor-openvino", f"{label} by OpenVINO", [*command, "openvino"], _EXTRA, repeated=True
        ),
    ]


def _ours(on: Comparison) -> list[Side]:
    if on.suite == "full":
        return [_our("ours", "tl-app", on), *_warm(on)]
    one, many = ["--views", "1"], ["--views", str(on.epochs)]
    with_one, with_many = "tl-app, one view a photo", f"tl-app, {on.epochs} augmented views a photo"
    found = [
        _our("ours", with_one, on, one, repeated=True),
        _our("ours-openvino", f"{with_one}, [openvino]", on, one, extra=True, repeated=True),
    ]
    if on.epochs > 1:
        found += [
            _our("ours-views", with_many, on, many),
            _our("ours-views-openvino", f"{with_many}, [openvino]", on, many, extra=True),
        ]
    return [*found, *(_warm(on, [*one, *_OTHER_HEAD]) if on.suite == "head" else [])]


def _warm(on: Comparison, more: list[str] | None = None) -> list[Side]:
    """Two runs from the cache, some epochs apart."""
    again = "tl-app again, other head settings" if more else "tl-app again"
    further, short = on.epochs + on.more_epochs, on.suite == "head"
    return [
        _our("ours-again", again, on, more, warm=True, repeated=short),
        _our(
            "ours-further",
            f"{again}, {further} epochs",
            on,
            more,
            warm=True,
            repeated=short,
            epochs=further,
        ),
    ]


_EXTRA = ("openvino", "'tl-app[openvino]'")


def _our(
    name: str,
    label: str,
    on: Comparison,
    more: list[str] | None = None,
    *,
    extra: bool = False,
    repeated: bool = False,
    warm: bool = False,
    epochs: int = 0,
) -> Side:
    freeze = "head" if on.suite == "head" else "none" if on.suite == "full" else last_stage(on.backbone)[0]
    command = script(sys.executable, "ours", *(() if extra else ("--without", _EXTRA[0])), "train", on.data)
    settings = ["--backbone", on.backbone, "--weights", "random", "--freeze", freeze]
    command += map(str, [*settings, "--epochs", epochs or on.epochs, *(more or []), "--json"])
    return Side("ours", name, label, command, _EXTRA if extra else ("", ""), repeated=repeated, warm=warm)


_LAST_STAGE = """
import json, sys
from tl_app.backbones.staged import build
network = build(sys.argv[1])
last = {id(parameter) for parameter in network.stages[-1].module.parameters()}
names = [name for name, parameter in network.net.named_parameters() if id(parameter) in last]
print(json.dumps([len(network.stages) - 1, names]))
"""


@functools.cache
def last_stage(backbone: str) -> tuple[int, list[str]]:
    """How many stages come before a backbone's last one, and the names of that one's parameters."""
    command = [sys.executable, "-c", _LAST_STAGE, backbone]
    said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    frozen, names = json.loads(said)
    return frozen, names
