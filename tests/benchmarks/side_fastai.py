"""fastai as its users write it: ``vision_learner`` with a frozen body, ``fit_one_cycle``, everything else default.

Random weights, because downloads are not part of the comparison; normalisation and freezing, which fastai itself
does for pretrained ones only, are therefore asked for. ``--augment`` adds its documented augmentation
(``aug_transforms`` on crops of larger photos); without it photos are only resized, which is its fastest.
"""

import argparse
import json
import time

from fastai.vision.all import (
    Callback,
    ImageDataLoaders,
    Normalize,
    Resize,
    accuracy,
    aug_transforms,
    imagenet_stats,
    vision_learner,
)
from torchvision import models

_SIZE = 224


class EpochSeconds(Callback):
    """Notes how long each epoch took."""

    def __init__(self):
        self.seconds = []

    def before_epoch(self):
        self._start = time.perf_counter()

    def after_epoch(self):
        self.seconds.append(time.perf_counter() - self._start)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--augment", action="store_true")
    args = parser.parse_args()

    larger, augmented = Resize(460), aug_transforms(size=_SIZE, min_scale=0.75)
    loaders = ImageDataLoaders.from_folder(
        args.data,
        train="train",
        valid="val",
        item_tfms=larger if args.augment else Resize(_SIZE),
        batch_tfms=[*(augmented if args.augment else []), Normalize.from_stats(*imagenet_stats)],
    )
    build = getattr(models, args.backbone)
    watch = EpochSeconds()
    learner = vision_learner(loaders, build, pretrained=False, metrics=accuracy, cbs=watch)
    learner.freeze()
    learner.fit_one_cycle(args.epochs)
    best = max(values[-1] for values in learner.recorder.values)
    trained = sum(parameter.numel() for parameter in learner.model.parameters() if parameter.requires_grad)
    print()
    print(json.dumps({"val_accuracy": best, "epoch_seconds": watch.seconds, "trainable_parameters": trained}))


if __name__ == "__main__":
    main()
