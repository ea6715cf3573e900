"""``python -m tests.benchmarks``: one command per suite; see ``--help``."""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks import machine, pages, photos, single, training
from tests.benchmarks.report import render
from tests.benchmarks.results import Results, read
from tests.benchmarks.sides import GROUPS, SUITES

_BACKBONES = ("resnet18", "mobilenet_v3_small")
_EPOCHS = {"head": 10, "partial": 10, "full": 2}
_MORE_EPOCHS = {"head": 100, "partial": 0, "full": 2}


def main(arguments: Sequence[str]) -> int:
    """Runs one command and prints its tables; returns the exit code."""
    args = _parser().parse_args(arguments)
    if args.suite == "report":
        print(render(read(args.files)))
        return 0
    if args.suite == "photos":
        print(photos.make(args.work, args.photos))
        return 0
    results = Results(machine.describe(getattr(args, "peer_python", sys.executable)), args.out)
    for path in args.merge:
        results.merge(path)
    results.commands.append(_command(arguments))
    warning = machine.busy_warning()
    if warning:
        results.warnings.append(warning)
        _say(warning)
    args.work.mkdir(parents=True, exist_ok=True)
    _measure(args, results)
    results.save()
    print(render(results))
    return 0


def _measure(args: argparse.Namespace, results: Results) -> None:
    common = {"work": args.work, "results": results, "say": _say}
    if args.suite in SUITES:
        plan = training.Plan(
            suite=args.suite,
            photos=args.photos,
            epochs=args.epochs,
            more_epochs=args.more_epochs,
            backbones=tuple(args.backbones),
            only=tuple(args.only),
            repeat=args.repeat,
            peer_python=args.peer_python,
            work=args.work,
        )
        _tell_time(training.estimate(plan))
        training.measure(plan, results, _say)
    elif args.suite == "startup":
        _tell_time(2 * args.repeat * (args.idle_seconds + 4) + 20)
        pages.startup(args.repeat, args.idle_seconds, **common)
    elif args.suite == "latency":
        _tell_time(args.photos * 0.03 + 90)
        pages.latency(args.photos, args.epochs, args.backbones[0], **common)
    elif args.suite == "predict":
        _tell_time(60 * len(args.backbones))
        single.predict(args.backbones, args.calls, **common)
    else:
        _tell_time(args.photos * 0.02 + 60)
        more = ["--views", str(args.views)] if args.views else []
        single.big(args.photos, args.epochs, args.backbones[0], more, args.stop_after, **common)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description="Measures whole programs."
    )
    suites = parser.add_subparsers(dest="suite", required=True, metavar="SUITE")
    help_of = {
        "head": "the head alone is trained: ours, the peers and the floor",
        "partial": "the last stage is unfrozen: ours and the tutorial's loop",
        "full": "everything is trained: ours and the tutorial's loop, per epoch",
    }
    for suite in SUITES:
        _training_options(suites.add_parser(suite, help=help_of[suite]), suite)
    startup = suites.add_parser("startup", help="our page and a bare one: first answer, idle memory")
    startup.add_argument("--repeat", type=int, default=5)
    startup.add_argument("--idle-seconds", type=float, default=15.0)
    predict = suites.add_parser("predict", help="one photo at a time on one core")
    predict.add_argument("--backbones", nargs="+", default=_BACKBONES)
    predict.add_argument("--calls", type=int, default=200)
    latency = suites.add_parser("latency", help="requests to the page while it trains")
    big = suites.add_parser("big", help="many photos: memory, Ctrl-C, going on")
    big.add_argument("--views", type=int, help="augmented views a photo; default: what tl-app chooses")
    big.add_argument("--stop-after", type=float, default=0.4, help="share of the time until Ctrl-C")
    for parser_of, count in ((latency, 2000), (big, 20_000)):
        parser_of.add_argument("--photos", type=int, default=count)
        parser_of.add_argument("--epochs", type=int, default=10)
        parser_of.add_argument("--backbones", nargs=1, default=["mobilenet_v3_small"])
    for each in (*map(suites.choices.get, SUITES), startup, predict, latency, big):
        assert each is not None
        each.add_argument("--out", type=Path, help="JSON file for the results; saved after each program")
        each.add_argument("--merge", type=Path, nargs="+", default=[], help="earlier results to print along")
        _work_option(each)
    made = suites.add_parser("photos", help="only make a folder of photos, and print where it is")
    made.add_argument("--photos", type=int, default=2000)
    _work_option(made)
    report = suites.add_parser("report", help="print the tables of earlier results, joined")
    report.add_argument("files", type=Path, nargs="+")
    return parser


def _training_options(parser: argparse.ArgumentParser, suite: str) -> None:
    parser.add_argument("--photos", type=int, default=2000, help="in all; one in five is for validation")
    parser.add_argument("--epochs", type=int, default=_EPOCHS[suite])
    parser.add_argument("--backbones", nargs="+", default=_BACKBONES, help="torchvision's names")
    parser.add_argument(
        "--only", nargs="+", choices=GROUPS, default=[], help="measure in pieces; see --merge"
    )
    parser.add_argument("--repeat", type=int, default=3, help="runs of what takes seconds; medians count")
    parser.add_argument(
        "--more-epochs", type=int, default=_MORE_EPOCHS[suite], help="difference that prices one more epoch"
    )
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that has the peers")


def _work_option(parser: argparse.ArgumentParser) -> None:
    default = Path(tempfile.gettempdir()) / "tl-app-benchmarks"
    parser.add_argument("--work", type=Path, default=default, help="where photos are kept between calls")


def _command(arguments: Sequence[str]) -> str:
    """The command as others would type it: without this machine's paths."""
    kept: list[str] = []
    hidden = 0
    for argument in arguments:
        if argument.startswith("--"):
            hidden = {"--work": 1, "--out": 1, "--merge": len(arguments), "--peer-python": 1}.get(argument, 0)
            if argument == "--peer-python":
                kept += [argument, "PATH"]
        if hidden == 0:
            kept.append(argument)
        elif not argument.startswith("--"):
            hidden -= 1
    return " ".join(["python -m tests.benchmarks", *kept])


def _tell_time(seconds: float) -> None:
    minutes = math.ceil(seconds / 60)
    _say(f"This takes about {minutes} minute{'s' if minutes > 1 else ''}, once the photos are made.")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
