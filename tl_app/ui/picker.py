"""The choice of backbone and weights: groups, figures, and what is on disk already.

The catalogue is imported inside functions: it brings torch, which the page does without until it is served.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tl_app import loading, runs, words
from tl_app.backbones import bundled
from tl_app.errors import UsageError
from tl_app.references import FILE_PREFIX, RUN_PREFIX
from tl_app.ui import markup

if TYPE_CHECKING:
    from tl_app.backbones.catalogue import BackboneSpec, WeightChoice

GROUPS = [("All", "all"), ("Fast", "fast"), ("Balanced", "balanced"), ("Accurate", "accurate")]
_FACTS = ("Group", "ImageNet top-1", "Parameters", "GFLOPs a photo", "Photo size", "Learned from", "Weights")


def backbones(group: str = "all") -> list[tuple[str, str]]:
    """(text, name) of a group's backbones: fast before balanced before accurate, in each the best first."""
    loading.wait()
    from tl_app.backbones.catalogue import TIERS, list_backbones

    specs = [spec for spec in list_backbones() if group in ("all", spec.tier)]
    ordered = sorted(specs, key=lambda s: (not s.bundled, TIERS.index(s.tier), -s.top1, s.label))
    return [(_backbone_text(spec), spec.name) for spec in ordered]


def second_backbones() -> list[tuple[str, str]]:
    """(text, name) of what a second backbone may be: none, or any."""
    return [("None", ""), *backbones()]


def weights(backbone: str, runs_dir: Path | None = None) -> list[tuple[str, str]]:
    """(text, name) of each choice of weights: the recommended, other published ones, those of runs, none at all."""
    loading.wait()
    from tl_app.backbones.catalogue import get_backbone

    spec = get_backbone(backbone)
    others = [choice for choice in spec.weights if not choice.is_default]
    best = (f"{_weights_text(spec.default_weights)} · recommended", "default")
    return [
        best,
        *((_weights_text(choice), choice.name) for choice in others),
        *(_run_texts(backbone, runs_dir) if runs_dir is not None else ()),
        ("None: random weights", "random"),
    ]


def listed(backbone: str, weights_name: str) -> str:
    """The name by which :func:`weights` lists weights: the recommended ones have another besides their own.

    Raises:
        UsageError: The backbone has no such weights.
    """
    loading.wait()
    from tl_app.backbones.catalogue import find_weights, get_backbone

    if weights_name == "random" or weights_name.startswith((RUN_PREFIX, FILE_PREFIX)):
        return weights_name
    choice = find_weights(get_backbone(backbone), weights_name)
    return "default" if choice is None or choice.is_default else choice.name


def facts(backbone: str, weights_name: str) -> str:
    """The chosen backbone's figures as a card."""
    loading.wait()
    from tl_app.backbones.catalogue import find_weights, get_backbone

    spec = get_backbone(backbone)
    own = weights_name.startswith((RUN_PREFIX, FILE_PREFIX))
    try:
        choice = None if own else find_weights(spec, weights_name)
    except UsageError:  # a name left over from another backbone, for the moment until the list has changed
        choice = spec.default_weights
    values = (
        spec.tier,
        f"{choice.top1:.1f} %" if choice and choice.top1 else "–",
        words.count(spec.parameters),
        f"{choice.gflops if choice else spec.gflops:.2g}",
        f"{choice.preprocessing.crop if choice else spec.image_size} px",
        _lineage(choice, weights_name),
        _own_place(weights_name) if own else _place(choice),
    )
    remarks = [bundled.BETTER] if spec.bundled else []
    if choice and choice.licence:
        remarks.append(f"Licence of these weights: {choice.licence}")
    notes = "".join(markup.message(remark, "info") for remark in remarks)
    return f'<div class="tl-card tl-tight">{markup.facts(zip(_FACTS, values, strict=True))}{notes}</div>'


def _own_place(weights_name: str) -> str:
    return "of your own run" if weights_name.startswith(RUN_PREFIX) else "a file of your own"


def facts_to_come() -> str:
    """The card before the catalogue is there, of the same size."""
    return f'<div class="tl-card tl-tight">{markup.facts((name, "…") for name in _FACTS)}</div>'


def as_they_are() -> list[tuple[str, str]]:
    """(text, name) of pretrained networks that can name ImageNet's classes; those on disk first."""
    loading.wait()
    from tl_app.backbones.catalogue import list_backbones

    specs = [spec for spec in list_backbones() if spec.default_weights.top1]
    ordered = sorted(specs, key=lambda spec: (not _on_disk(spec.default_weights), spec.label))
    return [(f"{spec.label} · {_place(spec.default_weights)}", spec.name) for spec in ordered]


def is_ready(backbone: str) -> bool:
    """Whether its recommended weights are on disk."""
    loading.wait()
    from tl_app.backbones.catalogue import get_backbone

    return _on_disk(get_backbone(backbone).default_weights)


def _backbone_text(spec: BackboneSpec) -> str:
    """The list is searched by this text, so it ends with the name that engineers type."""
    size = words.count(spec.parameters)
    if spec.bundled:
        return f"{spec.label} · {spec.tier} · {size} · works offline · {spec.name}"
    saved = " · on disk" if any(_on_disk(choice) for choice in spec.weights) else ""
    return f"{spec.label} · {spec.tier} · {spec.top1:.1f} % · {size}{saved} · {spec.name}"


def _run_texts(backbone: str, runs_dir: Path) -> list[tuple[str, str]]:
    """Runs with weights for a backbone, source models first."""
    found = [
        info
        for info in runs.list_runs(runs_dir)
        if info.config.backbone == backbone and info.best_epoch and not _is_fused_head(info)
    ]
    return [
        (
            f"{'Source model' if info.is_source else 'Run'} {info.name} · {words.lineage(info.lineage)}",
            f"{RUN_PREFIX}{info.path}",
        )
        for info in sorted(found, key=lambda info: not info.is_source)
    ]


def _is_fused_head(info: runs.RunInfo) -> bool:
    """Whether only its head was trained, on fused features: there is nothing in it to start from."""
    return (info.config.fuse_stages > 1 or bool(info.config.fuse_backbone)) and not info.moved_stages


def _lineage(choice: WeightChoice | None, weights_name: str) -> str:
    if weights_name.startswith(RUN_PREFIX):
        try:
            return words.lineage(runs.open_run(weights_name.removeprefix(RUN_PREFIX), Path()).lineage)
        except UsageError:  # deleted meanwhile; the start of a training says so
            return "–"
    if weights_name.startswith(FILE_PREFIX):
        return Path(weights_name.removeprefix(FILE_PREFIX)).name
    return words.lineage(choice.lineage) if choice is not None else "nothing yet"


def _weights_text(choice: WeightChoice) -> str:
    top1 = f" · {choice.top1:.1f} %" if choice.top1 else ""
    return f"{choice.label}{top1} · {_place(choice)}"


def _place(choice: WeightChoice | None) -> str:
    if choice is None:
        return "none"
    if choice.bundled:
        return "bundled, works offline"
    return "on disk" if _on_disk(choice) else f"{words.size(choice.download_bytes)} download"


def _on_disk(choice: WeightChoice) -> bool:
    loading.wait()
    from tl_app.backbones.weights import is_on_disk

    return is_on_disk(choice)
