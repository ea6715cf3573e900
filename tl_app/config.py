"""``TrainConfig``: every setting of a run, with its default, unit, range and one-line explanation in one place.

The command line's options and the page's form are checked against these fields by a test. Knows nothing of
torch, gradio or how a setting is carried out.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tl_app.errors import UsageError

RECIPES = ("head", "partial", "full", "scratch", "pretrain")
STARTS = ("copy", "average", "scratch")
OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("constant", "step", "cosine", "one-cycle")
AUGMENTATIONS = ("none", "light", "strong")
BATCHNORMS = ("auto", "keep", "adapt")
PRECISIONS = ("auto", "fp32", "bf16")
CACHES = ("auto", "on", "off")
AUTO = "auto"  # the backbone that is recommended of those at hand


def _setting(
    default: Any,
    label: str,
    help: str,
    *,
    group: str = "basic",
    choices: tuple[str, ...] | None = None,
    low: float | None = None,
    high: float | None = None,
) -> Any:
    """A config field: ``low`` and ``high`` are inclusive; ``None`` as a value always means automatic."""
    metadata = {"label": label, "help": help, "group": group, "choices": choices, "low": low, "high": high}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class TrainConfig:
    """The settings of one training run; ``None`` means that the program chooses and says what it chose.

    Raises:
        UsageError: A value is outside its range or choices, or two settings contradict each other.
    """

    data: str = _setting("", "Photos", "Folder or zip with one folder of photos per class.")
    backbone: str = _setting(
        AUTO, "Backbone", "The pretrained network to start from; bigger is slower, often better."
    )
    weights: str = _setting(
        "default",
        "Weights",
        "Pretrained weights by name, `default` for the best, `random` for none, `run:NAME` for those of a run.",
    )
    recipe: str = _setting(
        "head",
        "Recipe",
        "What is trained: the head, the last stages, all, or all from scratch; pretrain makes a source model.",
        choices=RECIPES,
    )
    freeze: int | None = _setting(
        None, "Freezing depth", "Stages frozen, counted from the input; empty: the recipe decides.", low=0
    )
    epochs: int | None = _setting(
        None,
        "Epochs",
        "How often training goes through all photos; empty: fewer the more photos.",
        low=1,
        high=1000,
    )
    batch_size: int | None = _setting(
        None, "Batch size", "Photos per step; empty: chosen from the data and the device.", low=1, high=4096
    )
    optimizer: str = _setting(
        "adamw", "Optimiser", "How weights follow the gradient.", group="advanced", choices=OPTIMIZERS
    )
    lr_head: float | None = _setting(
        None,
        "Learning rate, head",
        "Step size for the new head; empty: chosen for the optimiser.",
        group="advanced",
        low=1e-8,
        high=10.0,
    )
    lr_backbone: float | None = _setting(
        None,
        "Learning rate, backbone",
        "Step size for unfrozen pretrained stages; empty: a twentieth of the head's.",
        group="advanced",
        low=1e-8,
        high=10.0,
    )
    schedule: str = _setting(
        "cosine",
        "Schedule",
        "How the learning rate moves over training.",
        group="advanced",
        choices=SCHEDULES,
    )
    weight_decay: float = _setting(
        0.01, "Weight decay", "Pull towards zero against overfitting.", group="advanced", low=0.0, high=1.0
    )
    augmentation: str = _setting(
        "light",
        "Augmentation",
        "Random crops, flips and colours, so that each epoch sees slightly different photos.",
        group="advanced",
        choices=AUGMENTATIONS,
    )
    views: int | None = _setting(
        None,
        "Views per photo",
        "Versions of each photo that frozen stages are run on, the others being augmented; empty: as time allows.",
        group="advanced",
        low=1,
        high=1000,
    )
    cache: str = _setting(
        "auto",
        "Keep activations",
        "Keep what frozen stages computed for all epochs; auto weighs time and disk.",
        group="advanced",
        choices=CACHES,
    )
    batchnorm: str = _setting(
        "auto",
        "BatchNorm statistics",
        "keep the source's averages in unfrozen stages, or adapt them to your photos; auto keeps pretrained ones.",
        group="advanced",
        choices=BATCHNORMS,
    )
    image_size: int | None = _setting(
        None,
        "Image size",
        "Side of the square the network sees, in pixels; empty: what the weights were made for.",
        group="advanced",
        low=32,
        high=1024,
    )
    start: str = _setting(
        "copy",
        "Start from the source",
        "copy the source weights, average them with random ones, or start from scratch.",
        group="advanced",
        choices=STARTS,
    )
    alpha: float = _setting(
        0.5,
        "Source share α",
        "Of an averaged start, in every layer: α · source + (1 − α) · random.",
        group="advanced",
        low=0.0,
        high=1.0,
    )
    teacher: str = _setting(
        "",
        "Teacher",
        "A network whose features are imitated beside the labels, `backbone:NAME` or `run:NAME`; empty: none.",
        group="advanced",
    )
    imitation: float = _setting(
        1.0,
        "Imitation",
        "Weight of imitating the teacher against the labels' 1.",
        group="advanced",
        low=0.0,
        high=100.0,
    )
    blockwise_epochs: int = _setting(
        0,
        "Block-wise epochs",
        "Epochs at the beginning in which each block learns alone, fed by the teacher's block before it.",
        group="advanced",
        low=0,
        high=1000,
    )
    val_fraction: float = _setting(
        0.2,
        "Validation share",
        "Share of each class kept aside for validation when the folder has no val split.",
        group="advanced",
        low=0.05,
        high=0.5,
    )
    seed: int = _setting(
        0, "Seed", "Same seed, same machine: same result.", group="advanced", low=0, high=2**31 - 1
    )
    device: str = _setting(
        "auto", "Device", "auto, cpu, cuda, cuda:N or mps; auto takes the fastest.", group="advanced"
    )
    precision: str = _setting(
        "auto",
        "Precision",
        "bf16 is faster where the device is good at it; auto decides.",
        group="advanced",
        choices=PRECISIONS,
    )

    def __post_init__(self) -> None:
        for spec in dataclasses.fields(self):
            _check(spec, getattr(self, spec.name))
        if self.freeze is not None:
            if self.recipe in ("full", "scratch", "pretrain") and self.freeze > 0:
                raise UsageError(
                    f"Recipe '{self.recipe}' trains every stage, but freezing depth {self.freeze} was asked for.",
                    "It goes with freezing depth 0 only.",
                    "Choose recipe 'partial' to keep stages frozen, or leave the freezing depth out.",
                )
        if self.recipe == "scratch" and self.weights not in ("default", "random"):
            raise UsageError(
                f"Recipe 'scratch' starts from random weights, but weights '{self.weights}' were asked for.",
                remedy="Leave the weights out, or choose recipe 'full'.",
            )
        if self.batchnorm == "keep" and (self.is_random or self.start == "average"):
            raise UsageError(
                "BatchNorm statistics 'keep' needs pretrained weights: random ones have no statistics to keep.",
                remedy="Choose 'auto' or 'adapt'.",
            )
        if self.start == "average" and self.is_random:
            raise UsageError(
                "Start 'average' needs pretrained weights to average random ones with.",
                remedy="Choose weights and a recipe that start from them, or start 'copy'.",
            )
        if self.teacher and (self.recipe in ("head", "partial") or self.freeze):
            raise UsageError(
                f"A teacher is for a network that is trained as a whole, but recipe '{self.recipe}' was asked for.",
                "Recipes with a teacher: full, scratch, pretrain.",
            )
        if self.blockwise_epochs and not self.teacher:
            raise UsageError(
                f"{self.blockwise_epochs} block-wise epochs were asked for, but no teacher whose blocks are imitated.",
                remedy="Name a teacher with the same blocks, or leave the block-wise epochs out.",
            )

    @property
    def is_random(self) -> bool:
        """Whether training starts from random weights. A source model does unless weights are named."""
        if self.recipe == "pretrain" and self.weights == "default":
            return True
        return self.recipe == "scratch" or self.start == "scratch" or self.weights == "random"

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain JSON values, in field order."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """The settings in ``values``; absent ones keep their defaults.

        Raises:
            UsageError: A name is unknown (close ones are suggested), or a value is not allowed.
        """
        known = {spec.name for spec in dataclasses.fields(cls)}
        for name in values:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=2)
                raise UsageError(
                    f"There is no setting '{name}'.",
                    f"Did you mean {' or '.join(close)}?"
                    if close
                    else f"Settings: {', '.join(sorted(known))}.",
                )
        return cls(**values)


def depth_settings(recipe: str | None, freeze: int | str | None) -> dict[str, Any]:
    """The config fields that a recipe and a freezing depth, as a person gives them, stand for.

    Args:
        recipe: One of :data:`RECIPES`; None: what the depth implies, else the default.
        freeze: A number of stages (also as text), ``head`` for all of them, ``none`` for none; None: the recipe
            decides.

    Returns:
        Values for ``recipe`` and ``freeze``; absent ones keep their defaults.

    Raises:
        UsageError: The depth is no such thing, or contradicts the recipe.
    """
    implied: dict[str, Any]
    match str(freeze).strip().lower():
        case "none" if freeze is None:
            implied = {}
        case "head":
            implied = {"recipe": "head"}
        case "none":
            implied = {"recipe": recipe or "full", "freeze": 0}
        case text if text.isdecimal():
            implied = {"recipe": recipe or "partial", "freeze": int(text)}
        case _:
            raise UsageError(
                f"Freezing depth is '{freeze}'.",
                "Allowed: a number of stages, 'head' for all of them, or 'none'.",
            )
    if recipe is not None and implied.setdefault("recipe", recipe) != recipe:
        raise UsageError(
            f"Recipe '{recipe}' does not go with freezing depth '{freeze}'.",
            remedy=f"Leave one of them out, or choose recipe '{implied['recipe']}'.",
        )
    return implied


def option(name: str) -> str:
    """The command-line option of a config field; ``data`` is an argument and has none."""
    return {"lr_head": "--lr"}.get(name, "--" + name.replace("_", "-"))


def field_type(spec: dataclasses.Field[Any]) -> tuple[type[Any], bool]:
    """The plain type of a config field and whether ``None`` (automatic) is allowed."""
    hint = typing.get_type_hints(TrainConfig)[spec.name]
    if isinstance(hint, types.UnionType):
        plain = next(arm for arm in typing.get_args(hint) if arm is not type(None))
        return plain, True
    return hint, False


def _check(spec: dataclasses.Field[Any], value: Any) -> None:
    plain, optional = field_type(spec)
    if value is None and optional:
        return
    name, meta = spec.name, spec.metadata
    accepted = (int, float) if plain is float else (plain,)
    if not isinstance(value, accepted) or isinstance(value, bool):
        raise UsageError(
            f"{name} is {value!r}.", f"It must be {_an(plain)}{' or empty' if optional else ''}."
        )
    if meta["choices"] and value not in meta["choices"]:
        raise UsageError(f"{name} is '{value}'.", f"Allowed: {', '.join(meta['choices'])}.")
    low, high = meta["low"], meta["high"]
    # Written so that NaN fails both comparisons.
    if (low is not None and not value >= low) or (high is not None and not value <= high):
        bounds = f"at least {low}" if high is None else f"from {low} to {high}"
        raise UsageError(f"{name} is {value}.", f"Allowed: {bounds}.")


def _an(plain: type[Any]) -> str:
    return {int: "a whole number", float: "a number", str: "text"}[plain]
