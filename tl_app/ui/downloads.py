"""Files made for a download, in gradio's own folder: it serves nothing from the user's."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

_KEPT_SECONDS = 3600


def made(kind: str, name: str, text: str) -> str:
    """Writes a file to download, and removes those of the same kind that are old.

    Args:
        kind: The folder's name.
        name: With its ending; what is no usual character becomes a dash.
        text: What is in it.

    Returns:
        Its path.
    """
    folder = Path(os.environ["GRADIO_TEMP_DIR"]) / kind
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if time.time() - old.stat().st_mtime > _KEPT_SECONDS:
            old.unlink(missing_ok=True)
    file = folder / re.sub(r"[^A-Za-z0-9_.-]+", "-", name)
    file.write_text(text, encoding="utf-8", newline="")
    return str(file)
