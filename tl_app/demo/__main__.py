"""The demo's process: loads one run, builds its page, serves it. Settings come in on standard input.

The only module of the demo that knows runs; everything that it needs of one is in memory before the first visitor.
"""

from __future__ import annotations

import collections
import io
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from tl_app import compiler
from tl_app.demo.protocol import Settings, Status, settings_of, to_line
from tl_app.errors import UsageError, UserError
from tl_app.memory import without_collector

_LAST_SECONDS = 5.0  # after which a stop is no longer polite


def main() -> int:
    """Serves until standard input ends; the exit code."""
    out, sys.stdout = sys.stdout, sys.stderr  # the pipe is for statuses alone, whatever libraries print
    assert isinstance(out, io.TextIOWrapper)
    out.reconfigure(encoding="utf-8", errors="replace")
    settings = settings_of(sys.stdin.readline())
    # Of this process alone, whatever else was left there by one that was killed.
    with tempfile.TemporaryDirectory(prefix="tl-app-demo-", ignore_cleanup_errors=True) as folder:
        stops: list[Callable[[], None]] = []
        ends = (sys.stdin, Path(folder), stops)
        threading.Thread(target=_end_with, args=ends, name="demo end", daemon=True).start()
        try:
            serve(settings, Path(folder), out, stops)
        except UserError as error:
            _say(out, Status(state="failed", note=str(error), exit_code=error.exit_code))
            return error.exit_code
    return 0


def serve(settings: Settings, folder: Path, out: TextIO, stops: list[Callable[[], None]]) -> None:
    """Loads the run, then serves it.

    Args:
        settings: What to serve.
        folder: Empty; for uploads and for what the tunnel writes.
        out: Where statuses go.
        stops: Gets what ends it.

    Raises:
        UserError: There is no such run, it has no model yet, an example cannot be read, or the port is taken.
    """
    uploads = folder.resolve() / "uploads"
    uploads.mkdir()
    _set_up(uploads)
    compiler.load_later()
    from tl_app.runs import open_run

    path = Path(settings.run)
    info = open_run(path, path.parent)
    with without_collector():
        from tl_app.demo.answering import Answering
        from tl_app.demo.page import About, build_demo
        from tl_app.demo.server import Server, free_socket
        from tl_app.predictor import load_run

    listener = free_socket(settings.port)  # before the seconds that loading takes
    predictor = load_run(info, settings.device)
    predictor.expect()  # visitors come for as long as it runs
    examples = [_content(Path(photo)) for photo in settings.examples]
    about = About(settings.title or info.name, tuple(predictor.labels), _quality(info.val_accuracy))
    os.chdir(folder)  # the tunnel writes a certificate there; and no name leads anywhere else by chance
    arrived: collections.Counter[str] = collections.Counter()
    answering = Answering(predictor, uploads, examples, arrived=arrived)
    demo = build_demo(answering, about, examples)
    # Gradio's own memory of uploads would grow for ever, and would not know how often each came.
    demo.upload_file_set = arrived
    served = (demo, settings, uploads, listener, answering.counts)
    server = Server(*served, lambda status: _say(out, status), arrived)
    stops.append(server.stop)
    server.run()


def _set_up(uploads: Path) -> None:
    """What gradio reads from the environment, before it is imported."""
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    # Statistics of past requests are made anew after each, from up to 10,000 of them; nobody looks at them here.
    os.environ["GRADIO_ANALYTICS_MAX_EVENTS"] = "1"
    os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = str(10**9)
    for name in ("GRADIO_ROOT_PATH", "GRADIO_ALLOWED_PATHS", "GRADIO_SHARE"):
        os.environ.pop(name, None)


def _content(photo: Path) -> bytes:
    from tl_app.demo.answering import MAX_BYTES

    try:
        content = photo.read_bytes()
    except OSError as error:
        raise UsageError(f"The example photo {photo} cannot be read: {error.strerror or error}.") from error
    if len(content) > MAX_BYTES:
        raise UsageError(f"The example photo {photo} is larger than {MAX_BYTES // 1_000_000} MB.")
    return content


def _quality(accuracy: float | None) -> str:
    from tl_app import words

    if accuracy is None:
        return ""
    return f"It was right on {words.percent(accuracy, 0)} of photos that it had not been trained on."


def _end_with(stream: TextIO, folder: Path, stops: list[Callable[[], None]]) -> None:
    """Ends the process when nobody holds the other end of the pipe any more."""
    while stream.read(1):
        pass
    for stop in stops:
        stop()
    if stops:
        threading.Event().wait(_LAST_SECONDS)  # within which it has ended by itself
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def _say(out: TextIO, status: Status) -> None:
    try:
        out.write(to_line(status))
        out.flush()
    except (OSError, ValueError):
        return  # whoever started it is gone; its end of the other pipe tells us to stop


if __name__ == "__main__":
    sys.exit(main())
