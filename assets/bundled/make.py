"""Makes the bundled backbone: pretrains it on a source task beside a teacher, and writes the files that ship.

    python assets/bundled/make.py PHOTOS                     # half an hour on two cores; run it again to go on
    python assets/bundled/make.py PHOTOS --measure FOLDER …  # also trains heads on folders it has never seen

``PHOTOS`` is Caltech-101's folder of class folders. The teacher's weights must be on disk or downloadable. All work is
done by ``tl_app.pretrain`` and ``tl-app train``; this file holds the settings and writes ``weights.safetensors`` and
``card.json``. Figures in ``README.md`` are copied by hand.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import tl_app
from tl_app import resources, runs
from tl_app.data.index import DatasetIndex
from tl_app.events import EpochDone, Notice
from tl_app.files import write_atomically
from tl_app.memory import keep_memory

HERE = Path(__file__).resolve().parent
NAME = "bundled-source"
ARCHITECTURE = "mobilenet_v2"
INPUT = 160  # pixels; decided before anything was measured, not to be chosen by what it is measured on
SETTINGS: dict[str, Any] = {
    "backbone": ARCHITECTURE,
    "teacher": "backbone:mobilenet_v2",
    "imitation": 50.0,
    "image_size": INPUT,
    "augmentation": "strong",
    "batch_size": 32,
    "lr_head": 2e-3,
    "lr_backbone": 1e-2,
    "weight_decay": 1e-3,
    "blockwise_epochs": 8,
    "epochs": 18,
}
GFLOPS = round(0.30 * (INPUT / 224) ** 2, 3)  # of a photo; torchvision has 0.30 at 224 pixels
LICENCE = "CC BY 4.0 (photos: Caltech-101), Apache-2.0 (teacher)"


def main() -> None:
    """Trains or goes on, then writes what ships."""
    keep_memory()  # before torch is imported: a third faster
    parser = argparse.ArgumentParser(description="Makes the bundled backbone.")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--measure", type=Path, nargs="*", default=[], help="folders to train a head on")
    args = parser.parse_args()
    run = source_model(args.photos)
    publish(run)
    figures = {"source": round(run.val_accuracy or 0.0, 4), "source_images": run_images(run)}
    figures["heads"] = {folder.name: measured(folder) for folder in args.measure}
    finish(run, figures)


def source_model(photos: Path) -> runs.RunInfo:
    """The run, complete: begun, gone on with, or found."""
    try:
        info = runs.open_run(NAME, resources.runs_dir())
    except tl_app.UsageError:
        tl_app.pretrain(photos, name=NAME, on_event=show, **SETTINGS)
    else:
        if info.resumable:
            tl_app.resume(NAME, on_event=show)
    return runs.open_run(NAME, resources.runs_dir())


def publish(info: runs.RunInfo) -> None:
    """The best model, under torchvision's own keys."""
    from safetensors.torch import save

    from tl_app.backbones.staged import build
    from tl_app.data.preprocessing import Preprocessing
    from tl_app.engine.checkpoints import load_best

    network = build(ARCHITECTURE, num_classes=len(info.classes), image_size=info.config.image_size)
    load_best(info.path / "checkpoints", network)
    state = {
        name: value.detach().contiguous().half() if value.ndim > 1 else value.detach().contiguous()
        for name, value in network.net.state_dict().items()
    }
    write_atomically(HERE / "weights.safetensors", save(state))
    card = {
        "architecture": ARCHITECTURE,
        "label": f"Bundled (MobileNetV2, {INPUT} px)",
        "stages": len(network.stages),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "gflops": GFLOPS,
        "preprocessing": Preprocessing.from_dict(info.preprocessing).at(INPUT).to_dict(),
        "categories": list(info.classes),
        "lineage": ["ImageNet-1K (teacher)", "Caltech-101"],
        "licence": LICENCE,
        "figures": {},
    }
    (HERE / "card.json").write_text(json.dumps(card, indent=1) + "\n")


def measured(folder: Path) -> dict[str, Any]:
    """Validation accuracies of heads with default settings, seeds 0, 1 and 2, as a user would get them."""
    found = []
    for seed in ("0", "1", "2"):
        words = ["train", str(folder), "--backbone", "bundled", "--freeze", "head", "--seed", seed, "--json"]
        done = subprocess.run([sys.executable, "-m", "tl_app", *words], check=True, stdout=subprocess.PIPE)
        found.append(json.loads(done.stdout)["val_accuracy"])
    return {"seeds": [round(value, 4) for value in found], "median": round(statistics.median(found), 4)}


def finish(info: runs.RunInfo, figures: dict[str, Any]) -> None:
    """Figures go into the card."""
    path = HERE / "card.json"
    card = json.loads(path.read_text())
    card["figures"] = {**figures, "seconds": round(info.seconds), "epochs": info.epochs_done}
    path.write_text(json.dumps(card, indent=1) + "\n")
    print(json.dumps(card["figures"], indent=1))
    assert (HERE / "weights.safetensors").stat().st_size < 7_000_000


def run_images(info: runs.RunInfo) -> int:
    """How many photos of the source task were kept out of training."""
    return len(DatasetIndex.read_manifest(info.path / "manifest.csv").used("val"))


def show(event: Any) -> None:
    """One line per epoch."""
    if isinstance(event, EpochDone):
        speed = f"{event.images_per_second:.0f} photos/s"
        print(
            f"epoch {event.epoch}: loss {event.train_loss:.3f}, val {event.val_accuracy:.3f}, {speed}",
            flush=True,
        )
    elif isinstance(event, Notice):
        print(event.text, flush=True)


if __name__ == "__main__":
    main()
