"""What there is to choose from: every classification architecture of torchvision with all its weights, and ours.

Everything is read from torchvision's own registry (builders, weight enums, their metadata and transforms), so
a newer torchvision brings its newer figures along. Knows nothing of files, downloads or modules.

The picker's three tiers: **fast** are backbones of at most 2 GFLOPs a photo; of the others, **accurate** are
those with a published top-1 accuracy of at least 82 %, and **balanced** is the rest. All of that for default
weights.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
from dataclasses import dataclass
from typing import Any, Literal

from torchvision import models

from tl_app.backbones import bundled
from tl_app.backbones.naming import family_and_label, squashed
from tl_app.config import AUTO
from tl_app.data.store import Preprocessing
from tl_app.errors import UsageError

Tier = Literal["fast", "balanced", "accurate"]
TIERS: tuple[Tier, ...] = ("fast", "balanced", "accurate")

_FAST_GFLOPS = 2.0
_ACCURATE_TOP1 = 82.0
_MIB = 1 << 20  # torchvision gives file sizes in these


@dataclass(frozen=True)
class WeightChoice:
    """One set of published weights of one backbone. Accuracies are on ImageNet-1K, in percent."""

    name: str  # torchvision's, such as IMAGENET1K_V2
    label: str
    top1: float | None  # None where nothing was published (weights without a classifier)
    top5: float | None
    parameters: int  # as published; may count auxiliary heads, which this product leaves out
    gflops: float  # a photo, at the size these weights were made for
    download_bytes: int  # published to three digits after the point of a mebibyte
    url: str
    preprocessing: Preprocessing
    licence: str  # "" for torchvision's own BSD licence
    is_default: bool
    backbone: str  # name of the backbone they belong to
    lineage: tuple[str, ...] = ("ImageNet-1K",)  # the tasks they come from, oldest first
    bundled: bool = False  # they ship with the product


@dataclass(frozen=True)
class BackboneSpec:
    """One architecture; figures without a name are those of its default weights."""

    name: str  # torchvision's, such as resnet18, or `bundled`
    label: str
    family: str
    tier: Tier
    parameters: int
    gflops: float
    top1: float  # 0 where none was measured
    image_size: int  # side in pixels that the default weights were made for
    min_image_size: int
    image_size_step: int  # allowed sizes are multiples of this
    architecture: str  # torchvision's name of what is built; the same as `name` but for the bundled one
    bundled: bool  # ships with the product, so that it works without a network
    weights: tuple[WeightChoice, ...]

    @property
    def default_weights(self) -> WeightChoice:
        """The weights that torchvision recommends."""
        return next(choice for choice in self.weights if choice.is_default)

    def check_image_size(self, size: int) -> None:
        """Refuse a size (pixels) that the network cannot see.

        Raises:
            UsageError: It is too small, or not a multiple that the architecture needs.
        """
        if size >= self.min_image_size and size % self.image_size_step == 0:
            return
        if self.image_size_step > 1:
            allowed = f"{self.label} needs a multiple of {self.image_size_step}"
            near = max(self.min_image_size, round(size / self.image_size_step) * self.image_size_step)
            remedy = f"Choose {near}, or leave the image size out for {self.image_size}."
        else:
            allowed = f"{self.label} needs at least {self.min_image_size}"
            remedy = f"Leave the image size out for {self.image_size}, which its weights were made for."
        raise UsageError(f"Image size {size} does not go with {self.name}.", f"{allowed} pixels.", remedy)


def list_backbones() -> list[BackboneSpec]:
    """The bundled network, then every classification architecture of the installed torchvision by name."""
    return list(_catalogue().values())


def get_backbone(name: str) -> BackboneSpec:
    """The backbone called ``name``: torchvision's name, ``bundled``, or ``auto`` for the one used when nobody chooses.

    Raises:
        UsageError: There is none; the message names close ones.
    """
    spec = _catalogue().get(bundled.default_backbone() if name == AUTO else name)
    if spec is None:
        raise UsageError(
            f"There is no backbone '{name}'.", _close_names(name), "`tl-app backbones` lists all of them."
        )
    return spec


def find_weights(spec: BackboneSpec, name: str) -> WeightChoice | None:
    """The weights called ``name``: torchvision's name, ``default`` for the best; ``None`` for ``random``.

    Raises:
        UsageError: The backbone has no such weights.
    """
    if name == "random":
        return None
    if name == "default":
        return spec.default_weights
    for choice in spec.weights:
        if choice.name == name.upper():
            return choice
    names = ", ".join(choice.name for choice in spec.weights)
    raise UsageError(f"{spec.label} has no weights '{name}'.", f"Allowed: default, random, {names}.")


def search(text: str) -> list[BackboneSpec]:
    """Backbones whose name, label, family or tier has every word of ``text``, whatever the spelling.

    ``resnet 50``, ``ResNet-50`` and ``resnet50`` find the same. An empty text finds all.
    """
    words = [squashed(word) for word in text.split()]
    return [spec for spec in list_backbones() if all(word in _haystack(spec) for word in words)]


def weights_member(choice: WeightChoice) -> Any:
    """Torchvision's own enum member for ``choice``, which is not the bundled one."""
    return models.get_model_weights(choice.backbone)[choice.name]


def _haystack(spec: BackboneSpec) -> str:
    return " ".join(squashed(text) for text in (spec.name, spec.label, spec.family, spec.tier))


def _close_names(name: str) -> str:
    specs = list_backbones()
    names = {squashed(alias): spec.name for spec in specs for alias in (spec.name, spec.label)}
    close = difflib.get_close_matches(squashed(name), names, n=4)
    found = list(dict.fromkeys(names[match] for match in close))[:3]
    if not found:
        return ""
    return f"Did you mean {', '.join(found[:-1])}{' or ' if len(found) > 1 else ''}{found[-1]}?"


@functools.cache
def _catalogue() -> dict[str, BackboneSpec]:
    found = (_bundled(), *(_read_spec(name) for name in models.list_models(module=models)))
    return {spec.name: spec for spec in found if spec is not None}


def _bundled() -> BackboneSpec | None:
    card = bundled.card()
    of = _read_spec(card.architecture) if card is not None else None
    if card is None or of is None:
        return None
    preprocessing = Preprocessing.from_dict(card.preprocessing)
    weights = WeightChoice(
        name=bundled.WEIGHTS,
        label="Caltech-101",
        top1=None,
        top5=None,
        parameters=card.parameters,
        gflops=card.gflops,
        download_bytes=0,
        url="",
        preprocessing=preprocessing,
        licence=card.licence,
        is_default=True,
        backbone=bundled.NAME,
        lineage=card.lineage,
        bundled=True,
    )
    return dataclasses.replace(
        of,
        name=bundled.NAME,
        label=card.label,
        parameters=card.parameters,
        gflops=card.gflops,
        top1=0.0,
        image_size=preprocessing.crop,
        weights=(weights,),
        bundled=True,
    )


def _read_spec(name: str) -> BackboneSpec | None:
    named = family_and_label(name)
    if named is None:  # newer than this product: without its stages it cannot be offered
        return None
    family, label = named
    enum = models.get_model_weights(name)
    choices = tuple(_read_weights(name, member, member is enum.DEFAULT) for member in enum)
    default = next(choice for choice in choices if choice.is_default)
    smallest, step = _allowed_sizes(name, family, int(enum.DEFAULT.meta["min_size"][0]))
    top1 = default.top1 or 0.0
    return BackboneSpec(
        name=name,
        label=label,
        family=family,
        tier=_tier(default.gflops, top1),
        parameters=default.parameters,
        gflops=default.gflops,
        top1=top1,
        image_size=default.preprocessing.crop,
        min_image_size=smallest,
        image_size_step=step,
        weights=choices,
        architecture=name,
        bundled=False,
    )


def _allowed_sizes(name: str, family: str, published: int) -> tuple[int, int]:
    """The smallest size and the step between sizes, in pixels; ``published`` is torchvision's ``min_size``.

    A vision transformer takes any number of whole patches (its positions are interpolated). MaxViT's halvings
    must all end in whole windows, which only multiples of its published size do.
    """
    if family == "ViT":
        patch = int(name.rpartition("_")[2])
        return patch, patch
    return published, published if family == "MaxViT" else 1


def _read_weights(backbone: str, member: Any, is_default: bool) -> WeightChoice:
    meta, transforms = member.meta, member.transforms()
    metrics = meta["_metrics"]["ImageNet-1K"]
    return WeightChoice(
        name=member.name,
        label=_weights_label(member.name),
        top1=_published(metrics["acc@1"]),
        top5=_published(metrics["acc@5"]),
        parameters=int(meta["num_params"]),
        gflops=float(meta["_ops"]),
        download_bytes=round(meta["_file_size"] * _MIB),
        url=str(member.url),
        preprocessing=_read_preprocessing(transforms),
        licence=_licence_note(meta.get("license")),
        is_default=is_default,
        backbone=backbone,
    )


def _read_preprocessing(transforms: Any) -> Preprocessing:
    red, green, blue = transforms.mean
    red_std, green_std, blue_std = transforms.std
    return Preprocessing(
        resize=int(transforms.resize_size[0]),
        crop=int(transforms.crop_size[0]),
        mean=(red, green, blue),
        std=(red_std, green_std, blue_std),
        interpolation=transforms.interpolation.value,
    )


def _weights_label(name: str) -> str:
    words = name.replace("IMAGENET1K", "ImageNet-1K").split("_")
    pretty = {"E2E": "end to end", "LINEAR": "linear", "FEATURES": "features only"}
    return " ".join(pretty.get(word, word) for word in words)


def _licence_note(url: str | None) -> str:
    if url is None:
        return ""
    if "facebookresearch/SWAG" in url:
        return f"CC BY-NC 4.0, not for commercial use ({url})"
    return f"Licence of their own ({url})"


def _published(percent: float) -> float | None:
    return None if math.isnan(percent) else float(percent)


def _tier(gflops: float, top1: float) -> Tier:
    if gflops <= _FAST_GFLOPS:
        return "fast"
    return "accurate" if top1 >= _ACCURATE_TOP1 else "balanced"
