"""What the measurements were made on: processor, memory, versions, and how busy it was. No names, no paths."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

_OURS = ("torch", "torchvision", "gradio", "openvino", "opencv-python-headless", "pillow", "numpy")
PEERS = ("fastai", "ultralytics")
_UNITS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
_BUSY = 0.5  # load average from which others' work shows in the figures


def describe(peer_python: str) -> dict[str, Any]:
    """The machine as plain values; versions of peers are asked of their interpreter."""
    processor, flags = _processor()
    return {
        "processor": processor,
        "units": [unit for unit in _UNITS if unit in flags],
        "cores": cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "versions": {**_versions(_OURS), **_peer_versions(peer_python)},
    }


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load() -> float:
    """How many processes wanted to run in the last minute."""
    return os.getloadavg()[0]


def busy_warning() -> str:
    """A sentence when others are at work on this machine; empty when it is quiet."""
    now = load()
    return f"Others are at work here (load {now:.1f}): these figures are rough." if now > _BUSY else ""


def sentence(machine: dict[str, Any]) -> str:
    """The machine in one line."""
    units = "".join(f", {unit}" for unit in machine["units"])
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['processor']}{units}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['system']}, Python {machine['python']}; {versions}"
    )


def _processor() -> tuple[str, str]:
    """Name and feature flags; a name alone can say little, so family and model numbers follow it."""
    try:
        text = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return platform.processor() or platform.machine(), ""
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    entries = {name.strip(): value.strip() for name, value in pairs}
    flags = entries.get("flags", entries.get("Features", ""))
    name = entries.get("model name", platform.machine())
    if "cpu family" in entries:
        name += f" (family {entries['cpu family']}, model {entries['model']})"
    return name, flags


def _versions(names: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name).split("+")[0]
        except metadata.PackageNotFoundError:
            continue
    return found


def _peer_versions(python: str) -> dict[str, str]:
    code = (
        "import importlib.metadata as m, json\n"
        f"names = {PEERS!r}\n"
        "have = {d.metadata['Name'].lower(): d.version for d in m.distributions()}\n"
        "print(json.dumps({n: have[n] for n in names if n in have}))"
    )
    done = subprocess.run([python, "-P", "-c", code], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found
