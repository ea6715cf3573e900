"""Recipe ``auto``: from the photos and the instant probe's answer to settings, with a sentence each on why.

In the spirit of BiT-HyperRule (Kolesnikov et al. 2020): the size of the task decides schedule and variation. Only what
was left to the program is chosen. Imports no torch.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from tl_app import words
from tl_app.config import TrainConfig
from tl_app.transfer.recipes import auto_epochs, head_alone_lr, usual_backbone_lr

_SOLVED = 0.995  # of photos that the probe names right: less than one in 200 is left to gain
# From here on the backbone knows such photos: a good head on it comes first, and the stages move little. On ants and
# bees (probe 95 %; medians of three seeds, measured twice) that way ended at 96.1 and 97.4 %. A short probe and larger
# rates behind it, which 101 classes of Caltech (probe 79 %) gain two points by, ended at 95.4 % there.
_KNOWN = 0.9
# Below both the stages would learn the photos by heart. The number a class alone does not tell, as all classes teach
# the same stages: with 3 photos of each of Caltech's 101 classes (303 in all; medians of three samples) head only
# reached 69.1 %, probe-then-fine-tune 73.8 %.
_FEW_PER_CLASS = 5
_FEW = 100
_STRONG_PER_CLASS = 20  # below it each photo is seen so often that it should look different each time


@dataclass(frozen=True)
class Decision:
    """What ``auto`` decided.

    Attributes:
        config: The settings with a recipe in the place of ``auto``.
        reasons: A sentence for each decision.
    """

    config: TrainConfig
    reasons: tuple[str, ...]


def decide(
    config: TrainConfig, *, train_photos: int, classes: int, stages: int, probed: float, image_size: int
) -> Decision:
    """The settings for a folder of photos.

    Args:
        config: With recipe ``auto``; what is not left open in it was chosen by a person and stays.
        train_photos: How many there are to train on.
        classes: Of how many classes.
        stages: Of the backbone.
        probed: Share of training photos that the instant probe classifies right, 0 to 1.
        image_size: What the weights were made for, in pixels.
    """
    per_class = train_photos / classes
    recipe, why = _recipe_of_depth(config, stages) or _recipe(config, train_photos, per_class, probed)
    chosen: dict[str, Any] = {"recipe": recipe}
    reasons = [why]
    epochs = config.epochs or auto_epochs(train_photos, recipe)
    if config.epochs is None:
        chosen["epochs"] = epochs
        reasons.append(
            f"{epochs} epochs: {words.plural(train_photos, 'training photo')} give {_steps(train_photos)}."
        )
    if config.image_size is None:
        reasons.append(f"{image_size} px: what the weights were made for.")
    if config.augmentation == "auto":
        strong = recipe != "head" and per_class < _STRONG_PER_CLASS
        chosen["augmentation"] = "strong" if strong else "light"
        reasons.append(
            f"{'Strong' if strong else 'Light'} augmentation: about {per_class:.0f} photos a class "
            + ("are seen often, so they are varied much." if strong else "need only slight variation.")
        )
    if recipe != "lp-ft":
        chosen["probe_epochs"] = None
    if config.lr_head is None and config.lr_backbone is None and config.probe_epochs is None:
        rates, why = _rates(recipe, probed, config.optimizer, epochs)
        chosen |= rates
        reasons.append(why)
    return Decision(dataclasses.replace(config, **chosen), tuple(reasons))


def _recipe_of_depth(config: TrainConfig, stages: int) -> tuple[str, str] | None:
    """What goes with the freezing depth that a person chose; None where it was left open."""
    if config.freeze is None:
        return None
    if config.freeze == stages:
        return "head", f"Head only: freezing depth {stages} leaves nothing else to train."
    if config.epochs == 1:
        recipe = "partial" if config.freeze else "full"
        return recipe, (
            f"{recipe.capitalize()}: freezing depth {config.freeze} was asked for, "
            "and one epoch leaves no time for the head alone first."
        )
    return "lp-ft", f"Probe, then fine-tune: freezing depth {config.freeze} leaves stages to train."


def _recipe(config: TrainConfig, photos: int, per_class: float, probed: float) -> tuple[str, str]:
    if probed >= _SOLVED:
        return "head", f"Head only: without any training {probed:.1%} are right already."
    if per_class < _FEW_PER_CLASS and photos < _FEW:
        return "head", (
            f"Head only: about {per_class:.0f} photos a class, {photos} in all, are too few to move the backbone by."
        )
    if config.epochs == 1:
        return "head", "Head only: one epoch leaves no time to train the backbone after the head."
    return "lp-ft", (
        f"Probe, then fine-tune: {probed:.1%} are right without any training, "
        f"and {photos} photos, about {per_class:.0f} a class, can teach the backbone more."
    )


def _rates(recipe: str, probed: float, optimizer: str, epochs: int) -> tuple[dict[str, Any], str]:
    if recipe == "head":
        return {}, "The head's usual learning rate: nothing else moves."
    if recipe != "lp-ft":
        return {}, "The usual learning rates: the backbone's is a small share of the head's."
    if probed < _KNOWN or epochs < 3:
        return {}, "A short probe, then the usual learning rates: the backbone has much to learn here."
    gentle = {
        "probe_epochs": epochs * 2 // 3,
        "lr_head": head_alone_lr(optimizer),
        "lr_backbone": usual_backbone_lr(optimizer),
    }
    return gentle, "A long probe, then small steps: the backbone knows such photos, and shall not forget."


def _steps(train_photos: int) -> str:
    return "few steps each" if train_photos <= 1000 else "many steps each"
