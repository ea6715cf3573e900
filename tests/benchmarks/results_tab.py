"""``python -m tests.benchmarks.results_tab``: the Results tab on a made-up run of many photos and classes.

Says how long the server takes for each part, how many bytes it sends, and how much memory it has taken in the end.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.benchmarks import machine
from tests.synthetic_runs import make_many_photos, make_run


def main(arguments: Sequence[str]) -> int:
    """Makes the run, opens it, prints a table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--photos", type=int, default=10_000, help="Validation photos; four times as many train."
    )
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--features", type=int, default=1280)
    args = parser.parse_args(arguments)
    print(machine.busy_warning() or "The machine is idle.", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TL_APP_HOME"] = folder
        per_class = 5 * args.photos // args.classes
        photos = make_many_photos(Path(folder) / "photos", args.classes, per_class, side=32)
        if os.fork() == 0:  # made in a process of its own, whose memory does not count
            make_run(Path(folder) / "runs", "many", photos, features=args.features)
            os._exit(0)
        os.wait()
        _measure(Path(folder) / "runs")
    return 0


def _measure(runs_dir: Path) -> None:
    import tl_app.analysis.examined  # noqa: F401  # the page has loaded it behind the first tab
    from tl_app.ui import confusion_card, map_card, mistakes_card, photo_card, results_tab
    from tl_app.ui.workspace import Workspace

    work = Workspace(runs_dir)
    before = _peak()
    tab = results_tab.Acts(work)

    def opened() -> tuple[Any, ...]:
        listed = tab.refresh(None, "val", None, False, "worst")
        while listed[2] is not None:
            time.sleep(0.05)
            listed = (*listed[:2], *tab.tick(listed[2], False, "worst"))
        return listed

    first = _timed("open the tab", opened)
    shown = first[3]
    view, event = confusion_card.View(), SimpleNamespace(_data={"pick": "cell:0,0"})
    confusions, mistakes = confusion_card.Acts(work), mistakes_card.Acts(work)
    _timed("open it again", lambda: tab.refresh("many", "val", shown, False, "worst"))
    _timed("a cell's photos", lambda: confusions.pick(shown, view, False, event)[3:])
    turned = SimpleNamespace(_data={"pick": "classes:1"})
    _timed("the matrix's next page", lambda: confusions.pick(shown, view, False, turned)[1:])
    _timed("mistakes in another order", lambda: mistakes.redraw(shown, "sure", None))
    _timed("the map, PCA", lambda: map_card.Acts(work).draw(shown, None, "pca", "class")[1:])
    _timed("the map by error", lambda: map_card.Acts(work).draw(shown, None, "pca", "error")[1:])
    _timed("training photos, kept", lambda: work.examiner.ask("many", "train", 600).state)
    picked = SimpleNamespace(_data={"pick": "photo:7"})
    _timed("a photo, its neighbours", lambda: photo_card.Acts(work).open(shown, picked)[2:])
    print(f"peak memory: {before:,.0f} MB with torch loaded, {_peak():,.0f} MB in the end")


def _timed(what: str, act: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    found = act()
    seconds = time.perf_counter() - start
    sent = len(json.dumps(found, default=lambda each: getattr(each, "__dict__", None) and str(each)))
    print(f"{what:28} {seconds:6.2f} s  {sent / 1000:8,.0f} kB", flush=True)
    return found


def _peak() -> float:
    """Megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
