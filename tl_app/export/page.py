"""One HTML file that classifies photos in a browser, offline, also opened from a disk or a phone's storage.

It carries the network, ONNX Runtime Web and its own page, compressed; it can neither fetch nor send anything. Knows
ONNX files that tl-app exported, not runs.
"""

from __future__ import annotations

import base64
import gzip
import html
import json
import lzma
import re
from pathlib import Path

from tl_app import resources
from tl_app.errors import ResourceError, UsageError
from tl_app.export.described import Described, figures
from tl_app.export.guarded import read_onnx
from tl_app.export.templates import filled
from tl_app.files import write_atomically

MOST_BYTES = 300 * 2**20  # of the network; a browser tab on a phone holds no larger page
_CARRIED = re.compile(r'id="model-data">([A-Za-z0-9+/=]+)<')
_RUNTIME = "ort.wasm.bundle.min.mjs"
_WASM = "ort-wasm-simd-threaded.wasm.xz"


def write_page(model: Path, page: Path) -> Path:
    """Makes the file in one step; one that is there already is replaced.

    Args:
        model: An ONNX file that tl-app exported; an INT8 one makes a page of a quarter of the size.
        page: The file to make.

    Returns:
        ``page``.

    Raises:
        UsageError: The file is none of ours, or too large for a browser.
        ResourceError: The page cannot be written.
    """
    graph = read_onnx(model)
    if len(graph.content) > MOST_BYTES:
        raise UsageError(
            f"{model.name} has {len(graph.content) / 1e6:,.0f} MB, which no phone's browser can hold.",
            f"Allowed: up to {MOST_BYTES / 1e6:,.0f} MB.",
            "Export it as INT8, or distil it into a smaller backbone first.",
        )
    folder = resources.assets_dir() / "export"
    runtime = folder / "onnxruntime-web"
    content = filled(
        (folder / "page.html").read_text("utf-8"),
        {
            "NOTICE": (runtime / "LICENSE").read_text("utf-8").replace("--", "- -"),
            "TITLE": html.escape(graph.about.name),
            "STYLE": (folder / "page.css").read_text("utf-8"),
            "SCRIPT": (folder / "page.js").read_text("utf-8"),
            "ABOUT": _in_script(_about(graph.about)),
            "MODEL": _packed(graph.content),
            "WASM": _packed(lzma.decompress((runtime / _WASM).read_bytes())),
            "RUNTIME": _packed((runtime / _RUNTIME).read_bytes()),
        },
    )
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(page, content.encode())
    except OSError as error:
        raise ResourceError(
            f"{page} cannot be written: {error.strerror or error}.", remedy="Choose another folder."
        ) from error
    return page


def carried_network(page: Path) -> bytes:
    """The ONNX file that a page carries, as it was.

    Raises:
        UsageError: It is no such page.
    """
    found = _CARRIED.search(page.read_text("utf-8"))
    if found is None:
        raise UsageError(f"{page.name} is no page that tl-app exported.")
    return gzip.decompress(base64.b64decode(found[1]))


def _about(model: Described) -> dict[str, object]:
    """What the page's script knows of the model."""
    facts = [
        figures(model),
        f"Made with tl-app {model.version}, {model.created[:10]}, from {model.backbone}.",
    ]
    if model.licence:
        facts.append(f"Weights: {model.licence}")
    return {
        "classes": list(model.classes),
        "preprocessing": model.preprocessing.to_dict(),
        "sure_threshold": model.sure_threshold,
        "calibrated": model.is_calibrated,
        "figures": " ".join(filter(None, facts)),
    }


def _in_script(values: object) -> str:
    """JSON that cannot end the element it stands in."""
    return json.dumps(values).replace("<", "\\u003c")


def _packed(content: bytes) -> str:
    """Compressed as browsers can undo it, as text; the same content gives the same text."""
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()
