"""Recipes: from the settings to a list of phases, each with one freezing depth.

The engine runs phases and has no branch that asks for the recipe. Imports no torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from tl_app.config import TrainConfig
from tl_app.errors import UsageError
from tl_app.transfer.resizing import sides

# Rates of a fresh head in front of moving stages: the optimisers' usual ones. A head alone sees standardised features
# and bears more: with AdamW and 20 epochs (mobilenet_v2; medians of three seeds) 2e-3, 4e-3, 1e-2 gave 95.4, 96.1,
# 95.4 % on ants and bees, and 96.0, 95.8, 94.6 % on 20 classes of Caltech-101.
_HEAD_LR = {"sgd": 0.01, "adam": 1e-3, "adamw": 1e-3}
_HEAD_ALONE_LR = {"sgd": 0.01, "adam": 4e-3, "adamw": 4e-3}
# Pretrained stages move slower than the fresh head: full fine-tuning of mobilenet_v2 on ants and bees (AdamW) ended
# at a validation loss of 0.15 with 3e-5 and 5e-5 for the backbone, of 0.18 with 1e-4, at about the same accuracy.
_BACKBONE_SHARE = 0.05
# Behind a head that has learnt a little they bear more. Probe-then-fine-tune of mobilenet_v2 on Caltech-101 (128 px,
# AdamW, three samples of photos each, the head at five times the backbone's rate after its first epochs): with 2e-4
# 71.4, 71.1, 72.8 % at 3 photos a class and 86.5, 85.8, 85.1 % at 10; with 1e-4 73.8, 70.9, 75.3 % and 85.8, 85.7,
# 87.0 %. Both are shares of the usual rate of a fresh head.
_PROBED_SHARE = 0.1
_HEAD_BESIDE = 5.0  # times the backbone's rate
_PROBE_PART = 15  # one in so many epochs
# A block that learns alone is a shallow network, and its BatchNorm makes the size of its filters meaningless: of 1e-2,
# 3e-2, 4e-2 and 1e-1 (mobilenet_v2, AdamW, Caltech-101) the larger ones were the faster, 1e-1 ended less well.
_BLOCKWISE_LR = 0.05

BEGIN_WITH_HEAD = ("lp-ft", "gradual")  # recipes whose first phase trains the head alone
OF_ANY_DEPTH = ("partial", *BEGIN_WITH_HEAD)  # recipes that do not stand for one freezing depth


@dataclass(frozen=True)
class Phase:
    """A stretch of training with one freezing depth.

    Attributes:
        epochs: Passes over the training photos.
        frozen_stages: The freezing depth ``k``, counted from the input.
        lr_head: Peak learning rate of the head.
        lr_backbone: Peak learning rate of the unfrozen stages.
        blockwise: Whether each block learns alone, fed by the teacher's block before it.
        continues: Whether it is more of the phase before it, with the same depth and the optimiser's state kept.
        sides: The side of each epoch's training photos, in pixels; those beyond are at the run's image size.
    """

    epochs: int
    frozen_stages: int
    lr_head: float
    lr_backbone: float
    blockwise: bool = False
    continues: bool = False
    sides: tuple[int, ...] = ()


def plan(config: TrainConfig, stages: int) -> list[Phase]:
    """The phases of ``config.recipe``.

    Args:
        config: Without gaps, from :func:`resolve`.
        stages: Of the backbone.
    """
    phases = _RECIPES[config.recipe](config, stages)
    if config.resize_from is not None:
        assert config.image_size
        phases = [
            dataclasses.replace(each, sides=sides(config.resize_from, config.image_size, each.epochs))
            for each in phases
        ]
    if config.blockwise_epochs:
        assert config.lr_head
        phases.insert(0, Phase(config.blockwise_epochs, 0, config.lr_head, _BLOCKWISE_LR, blockwise=True))
    return phases


def resolve(config: TrainConfig, stages: int, train_photos: int) -> TrainConfig:
    """The settings with epochs, freezing depth, augmentation and both learning rates filled in.

    Raises:
        UsageError: The freezing depth does not exist in this backbone, or it or the epochs contradict the recipe.
    """
    depth = default_depth(config.recipe, stages) if config.freeze is None else config.freeze
    check_depth(config, depth, stages)
    epochs = config.epochs or auto_epochs(train_photos, config.recipe)
    if config.recipe in BEGIN_WITH_HEAD and epochs < 2:
        raise UsageError(
            f"Recipe '{config.recipe}' has two parts at least, but epochs is {epochs}.",
            "Allowed: 2 or more.",
            "Raise the epochs, or choose recipe 'head'.",
        )
    probe_epochs = config.probe_epochs
    if config.recipe == "lp-ft" and probe_epochs is None:
        probe_epochs = max(1, round(epochs / _PROBE_PART))
    alone = depth == stages or config.recipe == "gradual"
    lr_head = config.lr_head or (_HEAD_ALONE_LR if alone else _HEAD_LR)[config.optimizer]
    return dataclasses.replace(
        config,
        epochs=epochs,
        probe_epochs=probe_epochs,
        freeze=depth,
        augmentation=augmentation_level(config),
        lr_head=lr_head,
        lr_backbone=_lr_backbone(config, lr_head) if config.lr_backbone is None else config.lr_backbone,
    )


def augmentation_level(config: TrainConfig) -> str:
    """How much photos are varied, where it was left to the program as well."""
    return "light" if config.augmentation == "auto" else config.augmentation


def _lr_backbone(config: TrainConfig, lr_head: float) -> float:
    """The backbone's rate where none is given: a share of the head's, if the two ever move together.

    A head that begins alone says by its rate nothing about what the stages bear later on.
    """
    whole = config.recipe in ("scratch", "pretrain") or config.start == "scratch"
    if whole and config.is_random:
        return lr_head
    if config.recipe == "lp-ft":
        return _HEAD_LR[config.optimizer] * _PROBED_SHARE
    if config.recipe == "gradual":
        return usual_backbone_lr(config.optimizer)
    return max(lr_head * _BACKBONE_SHARE, 1e-8)


def usual_backbone_lr(optimizer: str) -> float:
    """The peak learning rate of pretrained stages behind a head that moves too."""
    return _HEAD_LR[optimizer] * _BACKBONE_SHARE


def head_alone_lr(optimizer: str) -> float:
    """The peak learning rate of a head in front of stages that do not move."""
    return _HEAD_ALONE_LR[optimizer]


def auto_epochs(train_photos: int, recipe: str = "head") -> int:
    """20 for small folders, fewer where one epoch holds many steps already; a source model learns for longer.

    Recipes that begin with the head alone have half as much again, so that the stages do not get less for it.
    """
    if recipe == "pretrain":
        return 100 if train_photos <= 10_000 else 30
    epochs = 20 if train_photos <= 1000 else 10 if train_photos <= 10_000 else 5
    return epochs * 3 // 2 if recipe in BEGIN_WITH_HEAD else epochs


def default_depth(recipe: str, stages: int) -> int:
    """The freezing depth a recipe stands for when none is named; ``partial`` frees the last quarter.

    Of recipes with several phases it is that of the last one.
    """
    return {"head": stages, "partial": stages - max(1, round(stages / 4))}.get(recipe, 0)


def check_depth(config: TrainConfig, depth: int, stages: int) -> None:
    """Whether a backbone of so many stages has that freezing depth, and the recipe goes with it.

    Raises:
        UsageError: It has not, or the recipe does not.
    """
    if depth > stages:
        raise UsageError(
            f"Freezing depth {depth} is too deep: {config.backbone} has {stages} stages.",
            f"Allowed: 0 (train everything) to {stages} (head only).",
        )
    if config.recipe == "head" and depth != stages:
        raise UsageError(
            f"Recipe 'head' freezes all {stages} stages, but freezing depth {depth} was asked for.",
            remedy="Choose recipe 'partial' for that depth, or leave the freezing depth out.",
        )
    if config.recipe in BEGIN_WITH_HEAD and depth == stages:
        raise UsageError(
            f"Recipe '{config.recipe}' ends with unfrozen stages, but freezing depth {depth} leaves none.",
            f"Allowed: 0 to {stages - 1}.",
            "Choose recipe 'head', or a smaller freezing depth.",
        )


def _one_phase(config: TrainConfig, stages: int) -> list[Phase]:
    assert config.epochs and config.lr_head and config.lr_backbone and config.freeze is not None
    return [Phase(config.epochs, config.freeze, config.lr_head, config.lr_backbone)]


def _probe_then_tune(config: TrainConfig, stages: int) -> list[Phase]:
    """LP-FT (Kumar et al. 2022): a good head first, so that it sends no large gradients into the stages behind it.

    By default the head is not trained to the end: one that names every training photo right with certainty sends no
    gradients at all, and the stages learn little.
    """
    assert config.epochs and config.lr_head and config.lr_backbone and config.freeze is not None
    assert config.probe_epochs
    return [
        Phase(config.probe_epochs, stages, config.lr_head, config.lr_backbone),
        Phase(
            config.epochs - config.probe_epochs,
            config.freeze,
            config.lr_backbone * _HEAD_BESIDE,
            config.lr_backbone,
        ),
    ]


def _gradual(config: TrainConfig, stages: int) -> list[Phase]:
    """Head, then the last stage too, and so on to the freezing depth (Howard and Ruder 2018, ULMFiT).

    Epochs are shared evenly, the last phases having those left over; where there are fewer epochs than steps of the
    way, several stages are freed at once.
    """
    assert config.epochs and config.lr_head and config.lr_backbone and config.freeze is not None
    phases = min(config.epochs, stages - config.freeze + 1)
    each, more = divmod(config.epochs, phases)
    return [
        Phase(
            each + (number >= phases - more),
            stages - round(number * (stages - config.freeze) / (phases - 1)),
            config.lr_backbone if number else config.lr_head,
            config.lr_backbone,
        )
        for number in range(phases)
    ]


_RECIPES: dict[str, Callable[[TrainConfig, int], list[Phase]]] = {
    "head": _one_phase,
    "partial": _one_phase,
    "full": _one_phase,
    "lp-ft": _probe_then_tune,
    "gradual": _gradual,
    "scratch": _one_phase,
    "pretrain": _one_phase,
}
