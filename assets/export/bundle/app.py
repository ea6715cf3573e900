"""A photo classifier that runs by itself: gradio, ONNX Runtime, Pillow and NumPy, nothing else.

`python app.py` serves it on this machine only; on a Hugging Face Space it is served to whoever may see the Space.
The network, its classes and its figures are all in `model.onnx`.
"""

from __future__ import annotations

import csv
import json
import os
import re
import tempfile
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

HERE = Path(__file__).resolve().parent
MAX_BYTES, MAX_PIXELS, MAX_BATCH, MAX_WAITING, TOP = 10 * 2**20, 50_000_000, 20, 32, 5
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
EXTENSIONS = [f".{name.lower()}" for name in ("jpg", "mpo", "tif", *FORMATS)]
DRAFT_MARGIN = 4  # a huge JPEG is decoded at a fraction, never below this many times what is resized to
COLUMNS = ["file", "class", "confidence", "remark"]
NOT_SURE = "Not sure: answers like this one are wrong more often."
TIFF_PHOTOMETRIC = 262
MAX_SCANS = 40  # passes over a JPEG, which may have thousands in a small file; real photos have about 10
SCAN = re.compile(rb"\xff\xda\x00(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")  # the start of one

Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow refuses from twice this number
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class Unusable(Exception):
    """A photo that cannot be used; the message says why."""


@cache
def session() -> onnxruntime.InferenceSession:
    """The network, loaded once."""
    return onnxruntime.InferenceSession(HERE / "model.onnx", providers=["CPUExecutionProvider"])


@cache
def about() -> dict[str, Any]:
    """What the network says of itself: classes, preprocessing, the confidence of sure answers."""
    values: dict[str, Any] = json.loads(session().get_modelmeta().custom_metadata_map["tl_app"])
    return values


def pixels(path: str | Path) -> np.ndarray:
    """The photo as the network takes it: upright, RGB, transparency on white; uint8 (h, w, 3).

    Raises:
        Unusable: It is no photo, damaged or too large.
    """
    side = about()["preprocessing"]["resize"] * DRAFT_MARGIN
    try:
        if os.path.getsize(path) > MAX_BYTES:
            raise Unusable(f"It is larger than {MAX_BYTES // 2**20} MB.")
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Unusable(f"It has more than {MAX_PIXELS // 1_000_000} megapixels.")
            if image.format in ("JPEG", "MPO") and len(SCAN.findall(Path(path).read_bytes())) > MAX_SCANS:
                raise Unusable(f"It is a JPEG of more than {MAX_SCANS} layers.")
            image.draft(None, (side, side))
            image.load()
            return np.asarray(to_rgb(ImageOps.exif_transpose(image)))
    except Unusable:
        raise
    except Image.DecompressionBombError:
        raise Unusable(f"It has more than {MAX_PIXELS // 1_000_000} megapixels.") from None
    except Exception as error:  # decoders fail in every way there is
        raise Unusable("It is not a photo that can be read, or it is damaged.") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Three colours of 8 bits: 16 bits scaled down, transparency on white."""
    if image.mode.startswith("I;16"):
        grey = ((np.asarray(image).astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
        if getattr(image, "tag_v2", {}).get(TIFF_PHOTOMETRIC) == 0:  # 0 is white
            grey = 255 - grey
        return Image.fromarray(grey).convert("RGB")
    if image.mode in ("I", "F"):
        return from_wide(np.asarray(image, dtype=np.float64))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        return white
    return image.convert("RGB")


def from_wide(values: np.ndarray) -> Image.Image:
    """32-bit numbers (h, w) name no range: 0-1, 0-255 and 0-65535 are kept, anything else is stretched."""
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 1:
        values = values * 255
    elif low >= 0 and 255 < high <= 65535:
        values = values / 257
    elif low < 0 or high > 65535:
        values = (values - low) * (255 / max(high - low, 1e-12))
    return Image.fromarray(np.rint(values).astype(np.uint8)).convert("RGB")


def probabilities(path: str | Path) -> np.ndarray:
    """The probability of each class: float32 (classes,)."""
    found: np.ndarray = session().run(["probabilities"], {"photos": pixels(path)[None]})[0]
    return found[0]


def ranked(path: str | Path) -> list[tuple[str, float]]:
    """All classes with their probabilities, most likely first."""
    found, classes = probabilities(path), about()["classes"]
    return [(classes[index], float(found[index])) for index in np.argsort(-found, kind="stable")]


def is_sure(confidence: float) -> bool:
    """Whether nearly all answers of this confidence were right on photos that were not trained on."""
    threshold = about()["sure_threshold"]
    if threshold is None:  # no answer is sure, or nobody has measured it
        return bool(about()["temperature"] == 1)
    return bool(confidence >= threshold - 1e-6)


def one(path: str | None) -> tuple[dict[str, float] | None, str]:
    """A photo's most likely classes, and what speaks against them."""
    if path is None:
        return None, ""
    try:
        found = ranked(path)
    except Unusable as error:
        return None, f"**This photo cannot be used.** {error}"
    return dict(found[:TOP]), "" if is_sure(found[0][1]) else f"**{NOT_SURE}**"


def many(paths: Sequence[str] | None) -> tuple[list[list[str]], str | None, str]:
    """A row per photo (file, class, confidence, remark), the same as a CSV file, and a note."""
    paths = list(paths or [])
    if not paths:
        return [], None, ""
    note = f"The first {MAX_BATCH} of {len(paths)} photos." if len(paths) > MAX_BATCH else ""
    rows = [row(path) for path in paths[:MAX_BATCH]]
    saved = Path(tempfile.mkdtemp(prefix="answers-")) / "answers.csv"
    with open(saved, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *map(plain, rows)])
    return rows, str(saved), note


def row(path: str) -> list[str]:
    """What is said of one photo of a batch."""
    try:
        label, confidence = ranked(path)[0]
    except Unusable as error:
        return [Path(path).name, "", "", str(error)]
    return [Path(path).name, label, f"{confidence:.4f}", "" if is_sure(confidence) else "not sure"]


def plain(values: list[str]) -> list[str]:
    """No cell that a spreadsheet would take for a formula."""
    return [f"'{value}" if value[:1] in ("=", "+", "-", "@", "\t", "\r") else value for value in values]


def build() -> Any:
    """The page."""
    import gradio as gr

    model = about()
    classes = ", ".join(model["classes"][:12]) + (", …" if len(model["classes"]) > 12 else "")
    with gr.Blocks(
        title=model["name"], analytics_enabled=False, delete_cache=(600, 600), fill_width=False
    ) as page:
        gr.Markdown(f"# {literal(model['name'])}\n{len(model['classes'])} classes: {literal(classes)}")
        with gr.Tab("One photo"):
            with gr.Row():
                photo = gr.Image(
                    type="filepath",
                    image_mode=None,  # the file as it came: what is decoded here is what was decoded in training
                    sources=["upload", "clipboard", "webcam"],
                    label="Photo",
                    height=320,
                )
                with gr.Column():
                    labels = gr.Label(label="Most likely", num_top_classes=TOP)
                    doubt = gr.Markdown()
        with gr.Tab("Many photos"):
            files = gr.File(label=f"Up to {MAX_BATCH} photos", file_count="multiple", file_types=EXTENSIONS)
            note = gr.Markdown()
            table = gr.Dataframe(
                headers=COLUMNS, interactive=False, wrap=True, column_widths=["34%", "22%", "22%", "22%"]
            )
            saved = gr.File(label="The table as CSV", interactive=False)
        photo.change(one, photo, [labels, doubt], api_visibility="private")
        files.change(many, files, [table, saved, note], api_visibility="private")
    page.queue(default_concurrency_limit=2, max_size=MAX_WAITING)
    return page


def literal(text: str) -> str:
    """A name as it is: nothing in it is markup."""
    return "".join(f"&#{ord(sign)};" if sign in "\\`*_{}[]()<>#+-.!|~$&" else sign for sign in text)


def main() -> None:
    """Serves the page: to this machine, or as a Space."""
    import gradio as gr

    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    build().launch(
        server_name="0.0.0.0" if os.environ.get("SPACE_ID") else "127.0.0.1",
        theme=gr.themes.Default(primary_hue="blue", secondary_hue="blue", neutral_hue="slate", **fonts),
        max_file_size=MAX_BYTES,
        share=False,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        ssr_mode=False,
        show_error=False,
    )


if __name__ == "__main__":
    main()
