"""How long one photo takes on one core: our predictor, the same network as torchvision has it, and from file to answer.

The predictor is ready for no end of photos, as in the demo: with OpenVINO where that extra is there. ``--without NAME``
hides a module, as if it were not installed.
"""

import argparse
import json
import os
import sys
import time

_WARM_UP = 20


def percentiles(work, calls):
    """Median and 95th percentile of ``calls`` calls, in seconds."""
    for _ in range(_WARM_UP):
        work()
    seconds = []
    for _ in range(calls):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    seconds.sort()
    return {"p50": seconds[calls // 2], "p95": seconds[int(0.95 * calls)], "calls": calls}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("photo")
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument("--without", action="append", default=[])
    args = parser.parse_args()
    sys.modules.update(dict.fromkeys(args.without))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

    from pathlib import Path

    import torch
    from torchvision import models

    import tl_app

    torch.set_num_threads(1)
    predictor = tl_app.load_predictor(args.run, device="cpu")
    predictor.expect()
    preprocessing = predictor.preprocessing
    images = preprocessing.center(preprocessing.load(Path(args.photo)))[None]
    name = json.loads((Path(args.run) / "config.json").read_text())["config"]["backbone"]
    plain = models.get_model(name, weights=None).eval()
    inputs = torch.rand(1, 3, preprocessing.crop, preprocessing.crop)

    def eager():
        with torch.no_grad():
            plain(inputs).softmax(1)

    said = {
        "ours": percentiles(lambda: predictor.probabilities(images), args.calls),
        "file": percentiles(lambda: predictor.predict([args.photo]), args.calls),
        "eager": percentiles(eager, args.calls),
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main()
