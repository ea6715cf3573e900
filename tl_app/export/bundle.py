"""A folder that runs by itself: the page of one model, on a laptop or as a Hugging Face Space, without torch.

Everything in it but the model comes from ``assets/export/bundle``. Knows ONNX files that tl-app exported, not runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from tl_app import resources, words
from tl_app.errors import ResourceError
from tl_app.export.described import Described, figures
from tl_app.export.guarded import read_onnx
from tl_app.export.templates import filled

_MARKUP = "\\`*_{}[]()<>#|$~"
_NOT_SURE = "It says “not sure” of answers below {share} confidence: those are wrong more often."
_NEVER_SURE = (
    "It says “not sure” of every answer: no confidence was high enough for nearly all answers to be right."
)
_UNKNOWN = "It was not measured from which confidence on its answers can be relied on."


def write_bundle(model: Path, folder: Path) -> Path:
    """Makes the folder in one step; one that is there already is replaced.

    Args:
        model: An ONNX file that tl-app exported.
        folder: To make.

    Returns:
        ``folder``.

    Raises:
        UsageError: The file is none of ours.
        ResourceError: The folder cannot be written.
    """
    about = read_onnx(model).about
    source = resources.assets_dir() / "export" / "bundle"
    with replaced(folder) as made:
        shutil.copyfile(model, made / "model.onnx")
        for name in ("app.py", "requirements.txt"):
            shutil.copyfile(source / name, made / name)
        (made / "README.md").write_text(
            readme(about, (source / "README.md").read_text("utf-8")), encoding="utf-8"
        )
    return folder


def readme(about: Described, template: str) -> str:
    """The bundle's README, with the front matter that a Hugging Face Space reads."""
    classes = ", ".join(literal(name) for name in about.classes[:50])
    more = f", and {len(about.classes) - 50:,} more" if len(about.classes) > 50 else ""
    return filled(
        template,
        {
            "TITLE": json.dumps(about.name, ensure_ascii=False),  # a JSON string is a YAML string
            "GRADIO": version("gradio"),
            "COUNT": f"{len(about.classes):,}",
            "NAME": literal(about.name),
            "CLASSES": classes + more,
            "VERSION": literal(about.version),
            "CREATED": literal(about.created[:10]),
            "BACKBONE": about.backbone.replace("`", ""),
            "WEIGHTS": literal(about.weights),
            "LINEAGE": literal(words.lineage(about.lineage)) or "nothing",
            "FIGURES": figures(about) or "It was never measured on photos that it was not trained on.",
            "SURE": _sureness(about),
            "LICENCE": literal(about.licence) or "not known",
        },
    )


def _sureness(about: Described) -> str:
    if about.sure_threshold is not None:
        return _NOT_SURE.format(share=words.percent(about.sure_threshold))
    return _NEVER_SURE if about.is_calibrated else _UNKNOWN


def literal(text: str) -> str:
    """A text in Markdown as it is: nothing in it is markup."""
    return "".join(f"&#{ord(sign)};" if sign in _MARKUP else sign for sign in text.replace("\n", " "))


@contextlib.contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """A new folder to fill, which takes the place of ``folder`` when nothing went wrong.

    Raises:
        ResourceError: It cannot be written.
    """
    mark = uuid.uuid4().hex
    made, old = (folder.with_name(f".{folder.name}.{mark}.{kind}") for kind in ("tmp", "old"))
    try:
        made.mkdir(parents=True)
        yield made
        if folder.exists():
            os.rename(folder, old)
        os.rename(made, folder)
    except OSError as error:
        raise ResourceError(
            f"{folder} cannot be written: {error.strerror or error}.",
            remedy="Free some space, or choose another folder.",
        ) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
