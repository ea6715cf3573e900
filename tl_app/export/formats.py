"""What a run can be exported to, as data: one row a format. Knows nothing of how exports are checked and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tl_app.errors import UsageError
from tl_app.export.carried import bundle_answers, bundle_of, page_answers, page_of
from tl_app.export.check import LARGEST_DIFFERENCE, Ask
from tl_app.export.onnx_files import onnx_answers, write_onnx
from tl_app.export.original import Original
from tl_app.export.smaller import write_fp16, write_int8
from tl_app.export.torch_files import torch_answers, write_torch
from tl_app.export.weights_folder import folder_answers, write_folder


@dataclass(frozen=True)
class Format:
    """One way to take a run out of the app.

    Attributes:
        name: For commands.
        label: For people.
        purpose: What it is for, in a line.
        file: Its name in a run's ``exports`` folder; a folder where it has no ending.
        write: Writes it to a path that is not there yet (of the same ending), and returns a sentence on how it was
            made, or nothing.
        answers: Loads it from its path, in its own runtime, and gives what can be asked photos.
        within: What its probabilities may differ from the run's; it then has to name the same classes. None: it may
            lose a point of accuracy.
        needs: Formats that it is made from; they lie in the run's ``exports`` folder by then.
    """

    name: str
    label: str
    purpose: str
    file: str
    write: Callable[[Original, Path], str]
    answers: Callable[[Path, Original], Ask]
    within: float | None = LARGEST_DIFFERENCE
    needs: tuple[str, ...] = ()


ALL = "all"

FORMATS: tuple[Format, ...] = (
    Format(
        "onnx",
        "ONNX",
        "One file for ONNX Runtime in any language: photos in, probabilities out",
        "model.onnx",
        write_onnx,
        onnx_answers,
    ),
    Format(
        "onnx-fp16",
        "ONNX fp16",
        "Half the size, for downloads and graphics cards; no faster on a CPU",
        "model-fp16.onnx",
        write_fp16,
        onnx_answers,
        within=0.05,
    ),
    Format(
        "onnx-int8",
        "ONNX INT8",
        "A quarter of the size, for small machines; calibrated on training photos",
        "model-int8.onnx",
        write_int8,
        onnx_answers,
        within=None,
    ),
    Format(
        "torch",
        "torch.export",
        "For Python with torch, and nothing of torchvision or tl-app",
        "model.pt2",
        write_torch,
        torch_answers,
    ),
    Format(
        "safetensors",
        "safetensors",
        "Weights for torchvision and the Hub, with configuration and model card, to train on or to share",
        "safetensors",
        write_folder,
        folder_answers,
    ),
    Format(
        "bundle",
        "Bundle",
        "A folder that runs by itself, on a laptop or as a Hugging Face Space, without torch",
        "bundle",
        bundle_of,
        bundle_answers,
        needs=("onnx",),
    ),
    Format(
        "page",
        "Page",
        "One HTML file that classifies in a browser, on a phone too, without a network",
        "page.html",
        page_of,
        page_answers,
        needs=("onnx",),
    ),
)


def names() -> list[str]:
    """What can be asked for."""
    return [each.name for each in FORMATS]


def chosen(wanted: Sequence[str]) -> list[Format]:
    """The formats of those names, ``all`` among them, with what they are made from, in the order they are made in.

    Raises:
        UsageError: There is no such format, or none was named.
    """
    unknown = [each for each in wanted if each not in (*names(), ALL)]
    if unknown or not wanted:
        what = f"'{unknown[0]}' is no format" if unknown else "No format was named"
        raise UsageError(f"{what} to export to.", f"Allowed: {', '.join([*names(), ALL])}.")
    asked = set(names() if ALL in wanted else wanted)
    for each in reversed(FORMATS):
        if each.name in asked:
            asked.update(each.needs)
    return [each for each in FORMATS if each.name in asked]
