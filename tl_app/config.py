"""``TrainConfig``: every setting of a run, with its default, unit, range and one-line explanation in one place.

The command line's options and the page's form are checked against these fields by a test. Knows nothing of
torch, gradio or how a setting is carried out.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tl_app import choices, contradictions
from tl_app.errors import UsageError
from tl_app.fields import check, setting

AUTO = "auto"  # the backbone that is recommended of those at hand


@dataclass(frozen=True)
class TrainConfig:
    """The settings of one training run; ``None`` means that the program chooses and says what it chose.

    Raises:
        UsageError: A value is outside its range or choices, or two settings contradict each other.
    """

    data: str = setting("", "Photos", "Folder or zip with one folder of photos per class.")
    backbone: str = setting(
        AUTO, "Backbone", "The pretrained network to start from; bigger is slower, often better."
    )
    weights: str = setting(
        "default",
        "Weights",
        "Pretrained ones by name, `default` for the best, `random` for none, `run:NAME`, or `file:PATH` (safetensors).",
    )
    recipe: str = setting(
        "head",
        "Recipe",
        "What is trained, and in which order; auto decides from the photos, pretrain makes a source model.",
        choices=choices.RECIPES,
    )
    freeze: int | None = setting(
        None, "Freezing depth", "Stages frozen, counted from the input; empty: the recipe decides.", low=0
    )
    epochs: int | None = setting(
        None, "Epochs", "Passes over all photos; empty: fewer the more photos there are.", low=1, high=1000
    )
    probe_epochs: int | None = setting(
        None,
        "Epochs for the head first",
        "With probe-then-fine-tune: how many of the epochs train the head alone; empty: one in fifteen.",
        group="training",
        low=1,
        high=999,
    )
    batch_size: int | None = setting(
        None, "Batch size", "Photos per step; empty: chosen from the data and the device.", low=1, high=4096
    )
    head: str = setting(
        "linear",
        "Head",
        "linear is one layer; mlp has a hidden one; cosine compares directions, for a handful of photos per class.",
        group="training",
        choices=choices.HEADS,
    )
    hidden: int = setting(
        1024, "Hidden units", "Width of an mlp head's hidden layer.", group="training", low=1, high=8192
    )
    dropout: float = setting(
        0.5,
        "Dropout",
        "Share of an mlp head's hidden units left out at random in each step.",
        group="training",
        low=0.0,
        high=0.95,
    )
    pooling: str = setting(
        "pool",
        "Features for the head",
        "pool averages each feature map as the backbone does; flatten keeps every place of it (mlp heads only).",
        group="training",
        choices=choices.POOLINGS,
    )
    fuse_stages: int = setting(
        1,
        "Stages fused",
        "How many of the last stages give the head their pooled features, side by side; 1: the last (head only).",
        group="training",
        low=1,
        high=16,
    )
    fuse_backbone: str = setting(
        "",
        "Second backbone",
        "Another pretrained network whose features join those of the first; empty: none (head only).",
        group="training",
    )
    optimizer: str = setting(
        "adamw", "Optimiser", "How weights follow the gradient.", group="training", choices=choices.OPTIMIZERS
    )
    lr_head: float | None = setting(
        None,
        "Learning rate, head",
        "Step size for the new head; empty: chosen for the optimiser.",
        group="training",
        low=1e-8,
        high=10.0,
    )
    lr_backbone: float | None = setting(
        None,
        "Learning rate, backbone",
        "Step size of unfrozen stages; empty: a twentieth of the head's; lp-ft and gradual have one of their own.",
        group="training",
        low=1e-8,
        high=10.0,
    )
    schedule: str = setting(
        "cosine",
        "Schedule",
        "How the learning rate moves in training.",
        group="training",
        choices=choices.SCHEDULES,
    )
    step_epochs: int | None = setting(
        None,
        "Step every … epochs",
        "With the schedule `step`: how many epochs the rate stays before it drops; empty: a third of each phase.",
        group="training",
        low=1,
        high=1000,
    )
    step_gamma: float = setting(
        0.1,
        "Step factor",
        "With the schedule `step`: what the rate is multiplied with at each drop.",
        group="training",
        low=0.001,
        high=1.0,
    )
    warmup: float | None = setting(
        None,
        "Warm-up",
        "Share of a phase's steps in which the rates rise from 0; empty: what the schedule usually has.",
        group="training",
        low=0.0,
        high=0.9,
    )
    grad_clip: float = setting(
        0.0,
        "Gradient clipping",
        "Largest norm of a step's gradient; longer ones are shortened to it. 0: none are.",
        group="training",
        low=0.0,
        high=1000.0,
    )
    weight_decay: float = setting(
        0.01, "Weight decay", "Pull towards zero against overfitting.", group="training", low=0.0, high=1.0
    )
    ema: float = setting(
        0.0,
        "Weight averaging (EMA)",
        "Share of a running average of the weights kept in each step, such as 0.99; it is the model. 0: off.",
        group="training",
        low=0.0,
        high=0.9999,
    )
    soup: int = setting(
        0,
        "Checkpoint soup",
        "How many of the best epochs are averaged at the end, as long as validation gains by it; 0: none.",
        group="training",
        low=0,
        high=10,
    )
    augmentation: str = setting(
        "auto",
        "Augmentation",
        "Random crops, flips and colours; crop leaves colours alone. auto is light, or what recipe auto decides.",
        group="photos",
        choices=("auto", *choices.AUGMENTATIONS),
    )
    flip: str = setting(
        "horizontal",
        "Flips",
        "Mirrored photos that still mean the same; none where left and right matter, as in text.",
        group="photos",
        choices=choices.FLIPS,
    )
    rotation: float = setting(
        0.0,
        "Rotation",
        "Largest turn of an augmented photo, in degrees to either side; 0: none but what the augmentation has.",
        group="photos",
        low=0.0,
        high=180.0,
    )
    erasing: float = setting(
        0.0,
        "Random erasing",
        "Share of augmented photos in which a rectangle is blanked.",
        group="photos",
        low=0.0,
        high=1.0,
    )
    mixup: float = setting(
        0.0,
        "MixUp",
        "Photos of a batch, or kept activations, blended in pairs; larger: more evenly. 0: off, 0.2 is usual.",
        group="photos",
        low=0.0,
        high=10.0,
    )
    cutmix: float = setting(
        0.0,
        "CutMix",
        "A rectangle of another photo pasted in; the larger, the more evenly sized. 0: off, 1 is usual.",
        group="photos",
        low=0.0,
        high=10.0,
    )
    label_smoothing: float = setting(
        0.0,
        "Label smoothing",
        "Share of each label's weight spread over all classes.",
        group="photos",
        low=0.0,
        high=0.9,
    )
    balance: str = setting(
        "auto",
        "Class balance",
        "Rare classes drawn more often (sampling) or weighted more (loss); auto weights beyond 3 to 1.",
        group="photos",
        choices=choices.BALANCES,
    )
    views: int | None = setting(
        None,
        "Views per photo",
        "Versions of each photo that frozen stages run on, all but one augmented; empty: as time and room allow.",
        group="machine",
        low=1,
        high=1000,
    )
    cache: str = setting(
        "auto",
        "Keep activations",
        "Keep what frozen stages computed for all epochs; auto weighs time and disk.",
        group="machine",
        choices=choices.CACHES,
    )
    batchnorm: str = setting(
        "auto",
        "BatchNorm statistics",
        "keep the source's averages in unfrozen stages, or adapt them to your photos; auto keeps pretrained ones.",
        group="source",
        choices=choices.BATCHNORMS,
    )
    image_size: int | None = setting(
        None,
        "Image size",
        "Side of the square the network sees, in pixels; empty: what the weights were made for.",
        group="photos",
        low=32,
        high=1024,
    )
    resize_from: int | None = setting(
        None,
        "Begin smaller",
        "Side of the first epochs' training photos, in pixels, growing to the image size; empty: all at that size.",
        group="photos",
        low=32,
        high=1024,
    )
    start: str = setting(
        "copy",
        "Start from the source",
        "copy the source weights, average them with random ones, or start from scratch.",
        group="source",
        choices=choices.STARTS,
    )
    alpha: float = setting(
        0.5,
        "Source share α",
        "Of an averaged start, in every layer: α · source + (1 − α) · random.",
        group="source",
        low=0.0,
        high=1.0,
    )
    layer_decay: float = setting(
        1.0,
        "Change early layers less",
        "Learning rate of each stage as a share of the next one's, towards the input; 1: all alike.",
        group="source",
        low=0.1,
        high=1.0,
    )
    l2_sp: float = setting(
        0.0,
        "Stay close: weights (L2-SP)",
        "Pull of the backbone's weights to the source's in place of to zero, 1 being the usual strength; 0: none.",
        group="source",
        low=0.0,
        high=10.0,
    )
    feature_distance: float = setting(
        0.0,
        "Stay close: features (DELTA)",
        "Pull of the stages' activations towards the source's, 1 being the usual strength; 0: none.",
        group="source",
        low=0.0,
        high=10.0,
    )
    bss: float = setting(
        0.0,
        "Suppress weak features (BSS)",
        "Penalty on the smallest singular values of a batch's features, 1 being the usual strength; 0: none.",
        group="source",
        low=0.0,
        high=10.0,
    )
    teacher: str = setting(
        "",
        "Teacher",
        "A network that is imitated beside the labels, `backbone:NAME` or `run:NAME`; empty: none.",
        group="source",
    )
    imitation: float = setting(
        1.0, "Imitate features", "Weight against the labels' 1; 0: none.", group="source", low=0.0, high=100.0
    )
    soft_labels: float = setting(
        0.0,
        "Imitate answers",
        "Share of the labels that a teacher `run:NAME` for the same classes gives; 0: none.",
        group="source",
        low=0.0,
        high=1.0,
    )
    blockwise_epochs: int = setting(
        0,
        "Block-wise epochs",
        "Epochs at the beginning in which each block learns alone, fed by the teacher's block before it.",
        group="source",
        low=0,
        high=1000,
    )
    val_fraction: float = setting(
        0.2,
        "Validation share",
        "Share of each class kept aside for validation when the folder has no val split.",
        group="photos",
        low=0.05,
        high=0.5,
    )
    seed: int = setting(
        0, "Seed", "Same seed, same machine: same result.", group="machine", low=0, high=2**31 - 1
    )
    device: str = setting(
        "auto", "Device", "auto, cpu, cuda, cuda:N or mps; auto takes the fastest.", group="machine"
    )
    precision: str = setting(
        "auto",
        "Precision",
        "bf16 is faster where the device is good at it; auto decides, and may run frozen stages in 8 bits.",
        group="machine",
        choices=choices.PRECISIONS,
    )

    def __post_init__(self) -> None:
        for spec in dataclasses.fields(self):
            check(spec, getattr(self, spec.name))
        contradictions.check(self)

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
                close = " or ".join(difflib.get_close_matches(name, known, n=2))
                allowed = f"Did you mean {close}?" if close else f"Settings: {', '.join(sorted(known))}."
                raise UsageError(f"There is no setting '{name}'.", allowed)
        return cls(**values)
