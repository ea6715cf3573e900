"""What was measured on this machine, remembered, so that short tests of speed run once and decide the same again.

Clearing the cache has all of it measured again, say after a first time on a machine that was busy.
Knows nothing of what is measured.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tl_app import caches, resources
from tl_app.files import write_json


def remembered(what: str, device: torch.device, measure: Callable[[], Any]) -> Any:
    """What ``measure`` said of ``what`` the last time, or says now.

    Args:
        what: Names it, with everything that it depends on apart from the machine.
        device: What it was measured on.
        measure: Returns a JSON value.
    """
    path = _file(what, device)
    try:
        return json.loads(path.read_bytes())["measured"]
    except (OSError, ValueError, KeyError, TypeError):
        value = measure()
    with contextlib.suppress(OSError):  # a full or read-only disk: it is measured again the next time
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"what": what, "measured": value})
    return value


def _file(what: str, device: torch.device) -> Path:
    key = hashlib.sha256(f"{_machine(device)}\n{what}".encode()).hexdigest()[:32]
    return resources.cache_dir() / caches.SPEEDS / "measured" / f"{key}.json"


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.__version__} {torch.cuda.get_device_name(device)}"
    return f"{torch.__version__} {device.type} {platform.node()} {_processor()} {torch.get_num_threads()} threads"


def _processor() -> str:
    """The processor's name; Python itself does not know it on Linux."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
