"""Predictors: a finished run, or a pretrained network as it is, loaded for use on photos.

Uses the same decoder and preprocessing as training. Knows nothing of who asks.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tl_app.analysis import calibration, familiar
from tl_app.analysis.calibration import Calibration
from tl_app.analysis.familiar import Familiar
from tl_app.backbones import weights as pretrained
from tl_app.backbones.catalogue import find_weights, get_backbone
from tl_app.backbones.staged import StagedNetwork, build
from tl_app.cores import one_core_pool
from tl_app.data import crops
from tl_app.data.preprocessing import Preprocessing
from tl_app.engine import checkpoints
from tl_app.engine.device import move, precision_name, resolve_device, resolve_precision
from tl_app.engine.inference import Forward, compile_forward
from tl_app.engine.joined import Joined
from tl_app.engine.setup import empty_network
from tl_app.engine.tapped import Tapped
from tl_app.errors import PhotoError, UsageError
from tl_app.runs import ANALYSIS, RunInfo

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
        sure: Whether the confidence is one at which nearly all answers were right on validation photos (95 %, or more
            where the model is right more often), and the photo is not unfamiliar; None when that is not known, as of a
            run that was never evaluated.
        unfamiliar: Whether the photo is further from all training photos than 95 % of familiar ones are: it may show
            none of the classes, whatever the confidence; None when that is not known.
    """

    path: str
    label: str = ""
    confidence: float = 0.0
    top: tuple[tuple[str, float], ...] = ()
    error: str = ""
    sure: bool | None = None
    unfamiliar: bool | None = None


class Predictor:
    """A network with its preprocessing and its labels; may be used from several threads at once.

    Args:
        network: Copied into its fastest form when the first photo comes; not to be changed afterwards.
        preprocessing: From photo to input.
        labels: The name of each output.
        source: Where it comes from, for people: a run's name, or backbone and weights.
        device: Where to compute.
        precision: Of forward passes.
        flip: One of ``choices.FLIPS``: the mirror images that still mean the same.
        trust: What logits are divided by, and the confidence of sure answers.
        known: Training photos that new ones are compared with.
    """

    def __init__(
        self,
        network: StagedNetwork,
        preprocessing: Preprocessing,
        labels: Sequence[str],
        source: str,
        device: torch.device,
        precision: torch.dtype,
        flip: str = "horizontal",
        trust: Calibration | None = None,
        known: Familiar | None = None,
    ) -> None:
        network.eval()
        move(network, device)
        self.network = network
        self.preprocessing = preprocessing
        self.labels = list(labels)
        self.source = source
        self.device, self.precision, self.flip = device, precision, flip
        self.calibration, self.familiar = trust, known
        self._costs: tuple[float, float] | None = None
        self._forward: Forward | None = None
        self._tapped = Tapped(network)
        self._compiling = threading.Lock()
        self._joined = Joined(lambda images: self._compiled(1)(images).float().cpu(), _BATCH)

    @property
    def temperature(self) -> float:
        """What logits are divided by, so that probabilities mean what they say; 1 when that is not known."""
        return self.calibration.temperature if self.calibration is not None else 1.0

    @property
    def views(self) -> int:
        """How many views of a photo an answer can be averaged over."""
        return crops.count(self.flip)

    def view_costs(self) -> tuple[float, float]:
        """Seconds that the network takes for one photo as it is, and for all its views; measured once."""
        if self._costs is None:
            size = self.preprocessing.crop
            black = torch.zeros(self.views, 3, size, size, dtype=torch.uint8)
            self._costs = (self._timed(black[:1]), self._timed(black))
        return self._costs

    def _timed(self, images: Tensor) -> float:
        self.logits(images)  # the first pass at a size sets things up
        start = time.perf_counter()
        self.logits(images)
        return time.perf_counter() - start

    def predict(
        self, photos: Iterable[Path | str | bytes], top: int = 5, *, average: bool = False
    ) -> list[Prediction]:
        """Classifies photos; one that cannot be read gets its reason and stops nothing.

        Args:
            photos: Files, or the bytes of files.
            top: How many classes to name per photo.
            average: Whether to average the probabilities over several views of each photo (test-time augmentation).

        Returns:
            One prediction per photo, in order.
        """
        if isinstance(photos, Sized) and len(photos):
            self._compiled(len(photos) * (self.views if average else 1))
        predictions: list[Prediction] = []
        numbered = enumerate(photos, 1)
        with one_core_pool(min(4, os.cpu_count() or 1), "tl-app photos") as pool:
            while batch := list(itertools.islice(numbered, _BATCH)):
                names = [f"photo {n}" if isinstance(photo, bytes) else str(photo) for n, photo in batch]
                images = list(
                    pool.map(lambda photo: self._views(photo, average), [each for _, each in batch])
                )
                predictions += self._answers(names, images, top)
        return predictions

    def of_images(self, images: Sequence[Tensor], top: int = 5) -> list[Prediction]:
        """What photos show that are decoded already, uint8 (3, size, size) each, at least one; without paths."""
        return self._seen([[image] for image in images], top)

    def expect(self, images: int | None = None) -> None:
        """Makes the network's fastest form ready, worth it for so many images to come; None for no end of them.

        Without it, the first question says how many there are: OpenVINO answers one photo sooner than torch (2.0
        against 3.9 ms in MobileNetV3-small, 25 against 29 ms in ResNet-18, one busy core), but its import and
        conversion take half a second more, and 100 MB: too much for a few photos on the Try tab.
        """
        self._compiled(images)

    def probabilities(self, images: Tensor) -> Tensor:
        """Calibrated class probabilities of uint8 photos (B, 3, size, size): float32 (B, classes), on the CPU."""
        return (self.logits(images) / self.temperature).softmax(1)

    def logits(self, images: Tensor) -> Tensor:
        """The network's own outputs for uint8 photos (B, 3, size, size): float32 (B, classes), on the CPU.

        Calls of several threads share forward passes.

        Raises:
            ResourceError: Memory does not suffice for one photo.
        """
        return self.outputs(images)[1]

    def outputs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled features in front of the head, float32 (B, D), and :meth:`logits`, of one pass."""
        both, classes = self._joined(images), len(self.labels)
        return both[:, :-classes], both[:, -classes:].contiguous()

    def _compiled(self, images: int | None) -> Forward:
        """The network's fastest form; made when it is first needed, for so many images."""
        with self._compiling:
            if self._forward is None:
                self._forward = compile_forward(
                    self._tapped,
                    self.preprocessing,
                    device=self.device,
                    precision=precision_name(self.precision),
                    images=images,
                )
            return self._forward

    def _views(self, photo: Path | str | bytes, average: bool) -> list[Tensor] | str:
        """Uint8 (3, size, size) each, or why there is none."""
        try:
            image = self.preprocessing.load(photo if isinstance(photo, bytes) else Path(photo))
        except PhotoError as error:
            return str(error)
        if average:
            return crops.views(image, self.preprocessing.crop, self.flip)
        return [self.preprocessing.center(image)]

    def _answers(self, names: list[str], images: list[list[Tensor] | str], top: int) -> list[Prediction]:
        good = [views for views in images if isinstance(views, list)]
        found = iter(self._seen(good, top) if good else [])
        return [
            Prediction(name, error=image)
            if isinstance(image, str)
            else dataclasses.replace(next(found), path=name)
            for name, image in zip(names, images, strict=True)
        ]

    def _seen(self, photos: list[list[Tensor]], top: int) -> list[Prediction]:
        """What each photo shows, by the mean over its views; the first one is the photo as it is."""
        features, logits = self.outputs(torch.stack([view for views in photos for view in views]))
        counts = [len(views) for views in photos]
        parts = torch.split((logits / self.temperature).softmax(1), counts)
        values, indices = torch.stack([part.mean(0) for part in parts]).topk(
            min(max(1, top), len(self.labels))
        )
        plain = features[[sum(counts[:number]) for number in range(len(counts))]]
        return [
            self._said(
                [(self.labels[index], value) for index, value in zip(classes, row, strict=True)], unfamiliar
            )
            for classes, row, unfamiliar in zip(
                indices.tolist(), values.tolist(), self._unfamiliar(plain), strict=True
            )
        ]

    def _said(self, ranked: list[tuple[str, float]], unfamiliar: bool | None) -> Prediction:
        label, confidence = ranked[0]
        sure = None
        if self.calibration is not None:
            threshold = self.calibration.threshold
            # Kept in double precision, while probabilities are in single.
            sure = threshold is not None and confidence >= threshold - 1e-6 and not unfamiliar
        return Prediction("", label, confidence, tuple(ranked), sure=sure, unfamiliar=unfamiliar)

    def _unfamiliar(self, features: Tensor) -> list[bool] | list[None]:
        """For each photo, by its features (B, D)."""
        if self.familiar is None:
            return [None] * len(features)
        far: list[bool] = (self.familiar.distances(features.numpy()) > self.familiar.limit).tolist()
        return far


def answering_precision(asked: str, device: torch.device) -> torch.dtype:
    """On a CPU, ``auto`` is float32: a photo's answer is then the same alone and in company, and quick enough."""
    return resolve_precision("fp32" if asked == "auto" and device.type == "cpu" else asked, device)


def model_of(info: RunInfo) -> str | None:
    """Names a run's best model; another name means another model. None when there is none yet."""
    return checkpoints.model_id(info.path / "checkpoints")


def state_of(info: RunInfo) -> tuple[str, ...]:
    """What a loaded run depends on; where that has changed, load it again."""
    files = (info.path / ANALYSIS / name for name in (calibration.FILE, familiar.FILE))
    times = (str(file.stat().st_mtime_ns) if file.is_file() else "" for file in files)
    return (model_of(info) or "", *times)


def load_run(info: RunInfo, device: str = "auto", precision: str | None = None) -> Predictor:
    """The best model of a run, also of one that is still being trained.

    Args:
        info: The run.
        device: Where to compute.
        precision: In which; None for the run's own.

    Raises:
        UsageError: No epoch of it is done yet.
        ResourceError: A checkpoint is damaged, or the device is not there.
    """
    network = empty_network(info.config, len(info.classes))
    if not checkpoints.load_best(info.path / "checkpoints", network):
        raise UsageError(
            f"Run '{info.name}' has no finished epoch yet, so there is no model to use.",
            remedy="Let it train for at least one epoch, or resume it.",
        )
    preprocessing, target = Preprocessing.from_dict(info.preprocessing), resolve_device(device)
    asked = answering_precision(precision or info.config.precision, target)
    source, flip = f"run {info.name}", info.config.flip
    analysis, model = info.path / ANALYSIS, model_of(info) or ""
    return Predictor(
        network,
        preprocessing,
        info.classes,
        source,
        target,
        asked,
        flip,
        calibration.read(analysis, model),
        familiar.read(analysis, model),
    )


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
    precision = answering_precision("auto", target)
    return Predictor(network, choice.preprocessing, labels, source, target, precision)
