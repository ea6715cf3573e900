"""Our page, and on a word from standard input a training in its background thread, as its Start button begins one.

Says ``training`` when the job runs, and how it ended.
"""

import argparse
import sys
import threading

from tl_app.config import TrainConfig
from tl_app.contradictions import depth_settings
from tl_app.ui import app
from tl_app.ui.workspace import Workspace

_HOST = "127.0.0.1"


class Remembered(Workspace):
    """The page's own memory, which the training is started from."""

    last: "Remembered"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        Remembered.last = self


def train(args):
    """Waits for a line, then trains."""
    sys.stdin.readline()
    depth = depth_settings(None, args.freeze)
    settings = {"backbone": args.backbone, "weights": "random", "epochs": args.epochs, **depth}
    work = Remembered.last
    work.start(TrainConfig.from_dict({"data": args.data, **settings}))
    print("training", flush=True)
    job = work.worker.job
    job.wait()
    print(f"failed: {job.error}" if job.error else "done", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--freeze", required=True)
    parser.add_argument("--epochs", type=int, required=True)
    args = parser.parse_args()
    app.Workspace = Remembered
    threading.Thread(target=train, args=[args], daemon=True).start()
    app.launch(host=_HOST, port=args.port, open_browser=False, data=args.data)


if __name__ == "__main__":
    main()
