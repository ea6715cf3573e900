"""Settings that cannot go together, each with what to do instead.

Knows nothing of single values, which the fields check themselves, nor of what depends on a backbone or a machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tl_app.errors import UsageError

if TYPE_CHECKING:
    from tl_app.config import TrainConfig

_WHOLE = ("full", "scratch", "pretrain")  # recipes that train every stage from the first step on

_LEARNT_FEATURES = ("auto", "lp-ft", "gradual")  # recipes that need some


def check(config: TrainConfig) -> None:
    """Whether the settings go together.

    Raises:
        UsageError: Two contradict each other.
    """
    for group in (_check_recipe, _check_fusion, _check_start, _check_teacher, _check_photos, _check_resizing):
        group(config)


def _check_recipe(config: TrainConfig) -> None:
    if config.recipe in _WHOLE and config.freeze:
        raise UsageError(
            f"Recipe '{config.recipe}' trains every stage, but freezing depth {config.freeze} was asked for.",
            "It goes with freezing depth 0 only.",
            "Choose recipe 'partial' to keep stages frozen, or leave the freezing depth out.",
        )
    if config.recipe in _LEARNT_FEATURES and config.is_random:
        raise UsageError(
            f"Recipe '{config.recipe}' begins with a head on learnt features, but random stages have none.",
            remedy="Choose pretrained weights, or recipe 'scratch'.",
        )
    if config.recipe == "scratch" and config.weights not in ("default", "random"):
        raise UsageError(
            f"Recipe 'scratch' starts from random weights, but weights '{config.weights}' were asked for.",
            remedy="Leave the weights out, or choose recipe 'full'.",
        )
    if config.probe_epochs and config.recipe not in ("auto", "lp-ft"):
        raise UsageError(
            f"{config.probe_epochs} epochs for the head first were asked for, but recipe '{config.recipe}' "
            "has no such part of a length to choose.",
            "Recipes with one: lp-ft, auto.",
            "Choose recipe 'lp-ft', or leave those epochs out.",
        )
    if config.probe_epochs and config.epochs and config.probe_epochs >= config.epochs:
        raise UsageError(
            f"{config.probe_epochs} epochs for the head first leave none of {config.epochs} to fine-tune in.",
            f"Allowed: 1 to {config.epochs - 1}." if config.epochs > 1 else "",
            "Raise the epochs, or choose recipe 'head'.",
        )
    if config.pooling == "flatten" and config.head != "mlp":
        raise UsageError(
            f"Pooling 'flatten' was asked for, but a {config.head} head takes pooled features.",
            "Only a hidden layer weighs every place of a feature map.",
            "Choose head 'mlp', or pooling 'pool'.",
        )
    if config.soup == 1:
        raise UsageError(
            "A checkpoint soup of one epoch is no average.",
            "Allowed: 2 to 10 epochs; 0 for none.",
        )


def _check_start(config: TrainConfig) -> None:
    if config.batchnorm == "keep" and (config.is_random or config.start == "average"):
        raise UsageError(
            "BatchNorm statistics 'keep' needs pretrained weights: random ones have no statistics to keep.",
            remedy="Choose 'auto' or 'adapt'.",
        )
    if config.start == "average" and config.is_random:
        raise UsageError(
            "Start 'average' needs pretrained weights to average random ones with.",
            remedy="Choose weights and a recipe that start from them, or start 'copy'.",
        )
    if (config.l2_sp or config.feature_distance) and (config.is_random or config.start == "average"):
        raise UsageError(
            "Staying close to the source (L2-SP, feature distance) needs one, but the start weights are random.",
            remedy="Choose pretrained weights, start 'copy' and a recipe that keeps them, or set both to 0.",
        )


def _check_teacher(config: TrainConfig) -> None:
    if config.teacher and (config.recipe not in _WHOLE or config.freeze):
        raise UsageError(
            f"A teacher is for a network that is trained as a whole, but recipe '{config.recipe}' was asked for.",
            "Recipes with a teacher: full, scratch, pretrain.",
        )
    if config.soft_labels and not config.teacher:
        raise UsageError(
            "A share of the labels is to be a teacher's answers, but no teacher was named.",
            remedy="Name a run on the same photos as the teacher (run:NAME), or set soft_labels to 0.",
        )
    if config.teacher and not (config.soft_labels or config.imitation):
        raise UsageError(
            "There is a teacher, but neither its features nor its answers are imitated.",
            remedy="Raise imitation or soft_labels, or leave out the teacher.",
        )
    if not config.blockwise_epochs:
        return
    if not (config.teacher and config.imitation):
        raise UsageError(
            f"{config.blockwise_epochs} block-wise epochs were asked for, but no teacher whose blocks are imitated.",
            remedy="Name a teacher with the same blocks and imitate its features, or leave the block-wise epochs out.",
        )
    if config.l2_sp or config.feature_distance or config.bss:
        raise UsageError(
            "In block-wise epochs each block follows the teacher alone: "
            "L2-SP, feature distance and BSS do not go with them.",
            remedy="Leave the block-wise epochs out, or set all three to 0.",
        )


def _check_photos(config: TrainConfig) -> None:
    varied = [name for name in ("rotation", "erasing") if getattr(config, name)]
    varied += ["flip"] if config.flip in ("vertical", "both") else []
    if config.augmentation == "none" and varied:
        raise UsageError(
            f"Augmentation is 'none', but it is what {' and '.join(varied)} would be part of.",
            remedy="Choose augmentation 'light' or stronger, or leave them out.",
        )


def _check_resizing(config: TrainConfig) -> None:
    if config.resize_from is None:
        return
    if config.recipe not in _WHOLE:
        raise UsageError(
            f"Photos that grow from {config.resize_from} pixels are for a network that is trained as a whole, "
            f"but recipe '{config.recipe}' was asked for.",
            "Recipes with resize_from: full, scratch, pretrain. Frozen stages see photos of one size.",
            "Choose one of these, or leave out resize_from.",
        )
    if config.pooling == "flatten":
        raise UsageError(
            "Photos cannot grow in front of a head with pooling 'flatten', which is built for maps of one size.",
            remedy="Choose pooling 'pool', or leave out resize_from.",
        )
    if config.teacher:
        raise UsageError(
            "Photos cannot grow where a teacher is imitated: its activations are compared at one size.",
            remedy="Leave out the teacher, or resize_from.",
        )


def _check_fusion(config: TrainConfig) -> None:
    asked = []
    if config.fuse_stages > 1:
        asked.append(f"of {config.fuse_stages} stages")
    if config.fuse_backbone:
        asked.append(f"of a second backbone ({config.fuse_backbone})")
    if not asked:
        return
    what = f"Features {' and '.join(asked)}"
    if config.recipe != "head":
        raise UsageError(
            f"{what} are fused in front of a head that is trained alone, but recipe '{config.recipe}' was asked for.",
            "Fusion goes with recipe 'head' only.",
            "Choose recipe 'head', or leave out fuse_stages and fuse_backbone.",
        )
    if config.pooling == "flatten":
        raise UsageError(
            f"{what} are pooled to be fused, but pooling 'flatten' was asked for.",
            remedy="Choose pooling 'pool', or leave out fuse_stages and fuse_backbone.",
        )


def depth_settings(recipe: str | None, freeze: int | str | None) -> dict[str, Any]:
    """The config fields that a recipe and a freezing depth, as a person gives them, stand for.

    Args:
        recipe: One of :data:`tl_app.choices.RECIPES`; None: what the depth implies, else the default.
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
