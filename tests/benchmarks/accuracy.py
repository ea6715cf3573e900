"""``python -m tests.benchmarks.accuracy PHOTOS``: recipes and settings against photos per class, accuracy and time.

From a folder of classes: some photos of each to train on, 10 others to validate on, and a run per row, number of
photos and seed. The seed chooses photos and chance alike; the table shows medians. Every run is saved as it ends, and
one that is saved is not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tl_app
from tl_app import caches

VAL_PER_CLASS = 10
ROWS: dict[str, dict[str, Any]] = {
    "head only": {"recipe": "head"},
    "probe, then fine-tune": {"recipe": "lp-ft"},
    "full": {"recipe": "full"},
    "from scratch": {"recipe": "scratch"},
    "gradual unfreezing": {"recipe": "gradual"},
    "auto": {"recipe": "auto"},
    "full + L2-SP": {"recipe": "full", "l2_sp": 1.0},
    "full + layer decay 0.7": {"recipe": "full", "layer_decay": 0.7},
    "full + MixUp 0.2": {"recipe": "full", "mixup": 0.2},
    "full + EMA 0.99": {"recipe": "full", "ema": 0.99},
    "full + soup of 5": {"recipe": "full", "soup": 5},
}
RECIPES = list(ROWS)[:4]


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains what is not in the file of results yet, and prints the table."""
    args = _parser().parse_args(arguments)
    for count in args.per_class:
        for seed in args.seeds:
            for row in args.rows:
                known = _read(args.out)
                if not any(_is(result, row, count, seed, args) for result in known):
                    found = _run(args, row, count, seed)
                    args.out.parent.mkdir(parents=True, exist_ok=True)
                    args.out.write_text(json.dumps([*known, found], indent=1) + "\n")
                    print(json.dumps(found), flush=True)
    print(table(_read(args.out), args.rows, args.per_class, args.backbone, args.image_size))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.accuracy", description=__doc__)
    parser.add_argument("photos", type=Path, help="folder with one folder of photos per class")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=RECIPES)
    parser.add_argument("--per-class", type=int, nargs="+", default=[3, 10, 30])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--image-size", type=int, default=160)
    work = Path(tempfile.gettempdir()) / "tl-app-accuracy"
    parser.add_argument("--out", type=Path, default=work / "results.json")
    parser.add_argument("--work", type=Path, default=work, help="where photos and runs are kept meanwhile")
    return parser


def _run(args: argparse.Namespace, row: str, count: int, seed: int) -> dict[str, Any]:
    folder = sampled(args.photos, args.work / f"{args.photos.name}-{count}-{seed}", count, seed)
    runs = args.work / "runs"
    caches.clear("boundary")  # else a row would find what another one computed, and look quicker
    result = tl_app.train(
        folder,
        backbone=args.backbone,
        image_size=args.image_size,
        seed=seed,
        runs_dir=runs,
        **ROWS[row],
    )
    shutil.rmtree(runs)
    return {
        "row": row,
        "per_class": count,
        "seed": seed,
        "backbone": args.backbone,
        "image_size": args.image_size,
        "val_accuracy": result.val_accuracy,
        "val_images": result.val_images,
        "train_images": result.train_images,
        "epochs": result.epochs,
        "seconds": round(result.seconds, 1),
    }


def sampled(photos: Path, folder: Path, per_class: int, seed: int) -> Path:
    """A folder with the splits train and val: ``per_class`` photos of each class, or all but those for validation.

    The photos to validate on are the same for every number of photos and every seed.
    """
    if folder.is_dir():
        return folder
    for label in sorted(path for path in photos.iterdir() if path.is_dir()):
        files = sorted(path for path in label.iterdir() if path.is_file())
        random.Random(label.name).shuffle(files)
        val, rest = files[:VAL_PER_CLASS], files[VAL_PER_CLASS:]
        random.Random(f"{label.name} {seed}").shuffle(rest)
        for split, chosen in (("train", rest[:per_class]), ("val", val)):
            target = folder / split / label.name
            target.mkdir(parents=True)
            for path in chosen:
                shutil.copy(path, target / path.name)
    return folder


def table(
    results: list[dict[str, Any]], rows: Sequence[str], counts: Sequence[int], backbone: str, size: int
) -> str:
    """A Markdown table: for each row and number of photos the median accuracy, its range, and the time."""
    heads = [f"{count} a class" for count in counts]
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for row in rows:
        cells = []
        for count in counts:
            own = [
                each
                for each in results
                if (each["row"], each["per_class"], each["backbone"], each["image_size"])
                == (row, count, backbone, size)
            ]
            cells.append(_cell(own))
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(results: list[dict[str, Any]]) -> str:
    if not results:
        return "–"
    shares = sorted(100 * each["val_accuracy"] for each in results)
    seconds = statistics.median(each["seconds"] for each in results)
    return f"**{statistics.median(shares):.1f} %** ({shares[0]:.1f}–{shares[-1]:.1f}), {seconds:.0f} s"


def _is(result: dict[str, Any], row: str, count: int, seed: int, args: argparse.Namespace) -> bool:
    own = [result[name] for name in ("row", "per_class", "seed", "backbone", "image_size")]
    return own == [row, count, seed, args.backbone, args.image_size]


def _read(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text()) if path.is_file() else []
    return found


if __name__ == "__main__":
    os.environ.setdefault("TL_APP_HOME", str(Path(tempfile.gettempdir()) / "tl-app-accuracy" / "home"))
    main()
