"""Predictors: a finished run, or a pretrained network as it is, loaded for use on photos.

Uses the same decoder, preprocessing and forward pass as training's evaluation. Knows nothing of who asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tl_app.backbones import weights as pretrained
from tl_app.backbones.catalogue import find_weights, get_backbone
from tl_app.backbones.staged import StagedNetwork, build
from tl_app.data.store import Preprocessing
from tl_app.engine import checkpoints
from tl_app.engine.device import move, resolve_device, resolve_precision
from tl_app.engine.evaluate import classify
from tl_app.errors import PhotoError, UsageError
from tl_app.runs import RunInfo

_BATCH = 32


@dataclass(frozen=True)
class Prediction:
    """What a predictor says of one photo.

    Attributes:
        path: As it was given; ``photo 1``, ``photo 2``, … for photos that are no files.
        label: The most likely class; empty when there is an error.
        confidence: Its probability, 0 to 1.
        top: The most likely classes with their probabilities, most likely first.
        error: Why the photo could not be used; empty when it could.
    """

    path: str
    label: str = ""
    confidence: float = 0.0
    top: tuple[tuple[str, float], ...] = ()
    error: str = ""


class Predictor:
    """A network with its preprocessing and its labels.

    Args:
        network: In eval mode, on ``device``.
        preprocessing: From photo to input.
        labels: The name of each output.
        source: Where it comes from, for people: a run's name, or backbone and weights.
        device: Where the network is.
        precision: Of forward passes.
    """

    def __init__(
        self,
        network: StagedNetwork,
        preprocessing: Preprocessing,
        labels: Sequence[str],
        source: str,
        device: torch.device,
        precision: torch.dtype,
    ) -> None:
        network.eval()
        move(network, device)
        self.network = network
        self.preprocessing = preprocessing
        self.labels = list(labels)
        self.source = source
        self.device, self.precision = device, precision

    def predict(self, photos: Iterable[Path | str | bytes], top: int = 5) -> list[Prediction]:
        """Classifies photos; one that cannot be read gets its reason and stops nothing.

        Args:
            photos: Files, or the bytes of files.
            top: How many classes to name per photo.

        Returns:
            One prediction per photo, in order.
        """
        predictions: list[Prediction] = []
        waiting: list[tuple[int, Tensor]] = []
        for number, photo in enumerate(photos):
            name = f"photo {number + 1}" if isinstance(photo, bytes) else str(photo)
            try:
                image = self.preprocessing.load(photo if isinstance(photo, bytes) else Path(photo))
                waiting.append((number, self.preprocessing.center(image)))
                predictions.append(Prediction(name))
            except PhotoError as error:
                predictions.append(Prediction(name, error=str(error)))
            if len(waiting) == _BATCH:
                self._answer(waiting, predictions, top)
        self._answer(waiting, predictions, top)
        return predictions

    def probabilities(self, images: Tensor) -> Tensor:
        """Class probabilities of uint8 photos (B, 3, size, size): float32 (B, classes), on the CPU."""
        logits = classify(
            self.network, images, self.preprocessing, device=self.device, precision=self.precision
        )
        return logits.softmax(1).cpu()

    def _answer(self, waiting: list[tuple[int, Tensor]], predictions: list[Prediction], top: int) -> None:
        if not waiting:
            return
        rows = self.probabilities(torch.stack([image for _, image in waiting]))
        values, indices = rows.topk(min(max(1, top), len(self.labels)))
        for (number, _), row, classes in zip(waiting, values.tolist(), indices.tolist(), strict=True):
            ranked = tuple((self.labels[index], value) for index, value in zip(classes, row, strict=True))
            predictions[number] = Prediction(predictions[number].path, *ranked[0], top=ranked)
        waiting.clear()


def load_run(info: RunInfo, device: str = "auto") -> Predictor:
    """The best model of a run, also of one that is still being trained.

    Raises:
        UsageError: No epoch of it is done yet.
        ResourceError: A checkpoint is damaged, or the device is not there.
    """
    network = build(info.config.backbone, num_classes=len(info.classes), image_size=info.config.image_size)
    if not checkpoints.load_best(info.path / "checkpoints", network):
        raise UsageError(
            f"Run '{info.name}' has no finished epoch yet, so there is no model to use.",
            remedy="Let it train for at least one epoch, or resume it.",
        )
    preprocessing, target = Preprocessing.from_dict(info.preprocessing), resolve_device(device)
    precision = resolve_precision(info.config.precision, target)
    return Predictor(network, preprocessing, info.classes, f"run {info.name}", target, precision)


def load_backbone(
    name: str,
    weights: str = "default",
    device: str = "auto",
    on_progress: Callable[[int, int], None] | None = None,
) -> Predictor:
    """A pretrained network as it is, with the labels of its source task.

    Args:
        name: Of the backbone.
        weights: Its weights by name, or ``default``.
        device: Where to run it.
        on_progress: Called with bytes done and bytes in all while weights are downloaded.

    Raises:
        UsageError: There are no such weights, or they come without a classifier.
        ResourceError: The weights are not on disk and cannot be fetched.
    """
    spec = get_backbone(name)
    choice = find_weights(spec, weights)
    if choice is None:
        raise UsageError(
            f"{spec.label} with random weights knows no labels.",
            f"Weights: {', '.join(each.name for each in spec.weights)}.",
        )
    if not pretrained.is_on_disk(choice):
        pretrained.download(choice, on_progress=on_progress)
    network = build(name, image_size=choice.preprocessing.crop)
    pretrained.load_pretrained(network, choice)
    if not pretrained.has_classifier(network, choice):
        raise UsageError(
            f"The {spec.label} weights on disk hold no classifier, so they cannot name anything by themselves.",
            remedy="Train it on your own photos first; as a backbone they are whole.",
        )
    target = resolve_device(device)
    labels, source = pretrained.categories(choice), f"{spec.label}, {choice.label}"
    return Predictor(network, choice.preprocessing, labels, source, target, resolve_precision("auto", target))
