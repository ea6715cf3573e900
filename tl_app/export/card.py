"""The model card of a run: what it is, what it was measured to be, and what not to expect, for people and for the Hub.

Names no folder of this machine. Knows nothing of weights.
"""

from __future__ import annotations

import html
from typing import Any

import jinja2
import yaml

from tl_app import resources, words
from tl_app.backbones import bundled
from tl_app.config import TrainConfig
from tl_app.data.index import DatasetIndex
from tl_app.export.original import FOLDERS, Original
from tl_app.reproduce import settings_of

FILE = "card.md"
_ROWS = 50  # classes with their photos
_SPLITS = {"val": "validation"}
_MARKS = str.maketrans({mark: f"\\{mark}" for mark in r"\`*_[]|#~"})


def model_card(original: Original, architecture: str, arguments: dict[str, Any] | None) -> str:
    """The card as Markdown with the Hub's YAML in front.

    Args:
        original: The run.
        architecture: Torchvision's name of its network.
        arguments: What torchvision's builder needs besides; None where it has no such head.
    """
    info, about = original.info, original.about
    index = DatasetIndex.read_manifest(info.path / "manifest.csv")
    splits = [name for name in ("train", "val", "test") if index.used(name)]
    counts = index.counts()
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, finalize=_finalised
    )
    layout = (resources.assets_dir() / FILE).read_text(encoding="utf-8")
    card = environment.from_string(layout).render(
        front_matter=_Plain(_front_matter(original)),
        name=info.name,
        classes=original.labels,
        backbone=info.config.backbone,
        parameters=words.count(sum(each.numel() for each in original.network.net.parameters())),
        lineage=words.lineage(info.lineage),
        architecture=_Plain(architecture),
        arguments=None if arguments is None else _Plain(_as_code(arguments)),
        head=info.config.head if not (info.config.fuse_backbone or info.config.fuse_stages > 1) else "fused",
        steps=original.preprocessing,
        photos=words.plural(sum(len(index.used(split)) for split in splits), "photo"),
        split=_split_told(original, index.made_split),
        splits=[_SPLITS.get(each, each) for each in splits],
        counts=[
            {"label": label, "counts": [counts[label][split] for split in splits]}
            for label in original.labels[:_ROWS]
        ],
        more=max(0, len(original.labels) - _ROWS),
        metrics=_metrics(about["metrics"]),
        threshold=words.percent(about["sure_threshold"]),
        limits=_limits(original, index),
        licence=about["licence"],
        settings=[(label, value or "none") for label, value in _settings(original)],
    )
    # A file's name may hold bytes that are no text.
    return card.encode("utf-8", "backslashreplace").decode()


class _Plain(str):
    """Text that is Markdown, YAML or code already."""


def _finalised(value: Any) -> Any:
    """Whatever a class or a photo is called, it is text and no mark-up."""
    if isinstance(value, str) and not isinstance(value, _Plain):
        return html.escape(" ".join(value.split()), quote=False).translate(_MARKS)
    return value


def _front_matter(original: Original) -> str:
    """What the Hub reads."""
    metrics = original.about["metrics"]
    values: dict[str, Any] = {
        **_licence(original.about["licence"]),
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "transfer-learning", "tl-app"],
    }
    if metrics:
        values["metrics"] = ["accuracy"]
        result = {
            "task": {"type": "image-classification"},
            "dataset": {"name": original.info.lineage[-1], "type": "own", "split": metrics["split"]},
            "metrics": [{"type": "accuracy", "value": round(metrics["accuracy"], 4)}],
        }
        values["model-index"] = [{"name": original.info.name, "results": [result]}]
    return str(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def _licence(text: str) -> dict[str, str]:
    """In the Hub's words, which has a list of them."""
    known = {"BSD-3-Clause": "bsd-3-clause", "CC BY-NC 4.0": "cc-by-nc-4.0", "CC BY 4.0": "cc-by-4.0"}
    found = [name for start, name in known.items() if text.startswith(start)]
    if found and ";" not in text:
        return {"license": found[0]}
    return {"license": "other", "license_name": "see-model-card"}


def _as_code(arguments: dict[str, Any]) -> str:
    return "".join(f", {name}={value!r}" for name, value in arguments.items())


def _split_told(original: Original, made_split: bool) -> str:
    if not made_split:
        return "The split is that of the folder."
    config = original.info.config
    return (
        f"The validation photos were split off by class, {config.val_fraction:.0%} with seed {config.seed}."
    )


def _metrics(values: dict[str, Any]) -> dict[str, Any] | None:
    if not values:
        return None
    low, high = values["accuracy_interval"]
    return {
        "images": f"{values['images']:,}",
        "split_name": _SPLITS.get(values["split"], values["split"]),
        "accuracy": words.percent(values["accuracy"]) + f" ({100 * low:.0f}–{100 * high:.0f} %)",
        "log_loss": f"{values['log_loss']:.3f}",
        "ece": words.percent(values["ece"]),
    }


def _limits(original: Original, index: DatasetIndex) -> list[str]:
    """What not to expect, from what is known of the run."""
    metrics, found = original.about["metrics"], []
    found.append(
        "It knows its classes and no others: a photo of something else gets one of them, sometimes with confidence."
    )
    if metrics and metrics["split"] == "val":
        found.append(
            "The best epoch and the calibration were chosen on the validation photos, so figures flatter a little."
        )
    fewest = min(index.counts().items(), key=lambda item: item[1]["train"])
    found.append(
        f"The class with the fewest training photos, {fewest[0]}, has {fewest[1]['train']}: expect least of it."
    )
    found.append(
        f"It sees {original.preprocessing.crop} × {original.preprocessing.crop} px from the middle of a photo; what is "
        "smaller than that shows, or at the edges, is lost."
    )
    found.append(
        "It was measured on photos like its own: other cameras, light or places need photos of their own."
    )
    if bundled.NAME == original.info.config.backbone:
        found.append(
            "Its backbone is a small one that ships with tl-app; a larger one is clearly more accurate."
        )
    return found


def _settings(original: Original) -> list[tuple[str, str]]:
    """All settings by their labels; folders by their last name."""
    named = original.about["config"]
    shown = dict(settings_of(original.info))
    for name in FOLDERS:
        shown[str(TrainConfig.__dataclass_fields__[name].metadata["label"])] = str(named[name])
    return list(shown.items())
