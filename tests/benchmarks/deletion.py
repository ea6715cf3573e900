"""Whether a run's maps of reasons are right: ``python -m tests.benchmarks.deletion RUN``.

Blanks the hottest fifth of each validation photo, and as much of it elsewhere, and says how much less sure the run is.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from tl_app import resources, runs
from tl_app.analysis.deletion import Drops, deletion
from tl_app.analysis.saliency import saliency
from tl_app.data.index import DatasetIndex, relocate
from tl_app.predictor import load_run


def measure(run: str, *, blur: bool) -> Drops:
    """Over the run's validation photos."""
    info = runs.open_run(run, resources.runs_dir())
    predictor = load_run(info)
    steps = predictor.preprocessing
    index = relocate(DatasetIndex.read_manifest(info.path / "manifest.csv"))
    files = [Path(index.root) / photo.path for photo in index.used("val")]
    photos = torch.stack([steps.center(steps.load(file)) for file in files])
    return deletion(
        predictor.probabilities, lambda photo: saliency(predictor.network, steps, photo), photos, blur=blur
    )


def main() -> None:
    """Prints a row per way to blank."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.deletion", description=__doc__)
    parser.add_argument("run", help="name or path of a run that has validation photos")
    run = parser.parse_args().run
    for blur in (True, False):
        drops = measure(run, blur=blur)
        lost = {"hottest": drops.hottest, "random": drops.random, "another photo's": drops.swapped}
        print(
            f"{'Blurred' if blur else 'In the mean colour'}, {len(drops.hottest)} photos, points of confidence lost:"
        )
        print("; ".join(f"{name} fifth {100 * values.mean():.1f}" for name, values in lost.items()))
        share = (drops.hottest > drops.random).float().mean()
        print(f"The hottest fifth was missed more than a random one in {100 * share:.0f} % of photos.")


if __name__ == "__main__":
    main()
