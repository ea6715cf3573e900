"""Heads: what turns a backbone's features into classes, a linear layer, one with a hidden layer, or cosines.

Linear heads are torchvision's own last layers. A hidden layer takes the place of those that some backbones bring (fc6
and fc7 of VGG, for one). Knows nothing of where features come from, or of training.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from tl_app.backbones.catalogue import get_backbone
from tl_app.backbones.endings import Ending
from tl_app.backbones.fusion import Fusion
from tl_app.backbones.pieces import Dropout
from tl_app.backbones.staged import (
    GENERATOR_LOCK,
    StagedNetwork,
    build_weightless,
    head_parameters,
    layout_of,
    put_beside,
    put_classifier,
    replace_head,
    stage_parameters,
)
from tl_app.backbones.staged import build as build_staged
from tl_app.config import TrainConfig
from tl_app.errors import UsageError
from tl_app.transfer.standardise import Standardise, fold

_SHARPNESS = 10.0  # of a cosine head's start, as in Gidaris and Komodakis's code


@dataclass(frozen=True)
class Head:
    """What a head looks like.

    Attributes:
        kind: One of ``choices.HEADS``.
        hidden: Width of an mlp's hidden layer.
        dropout: Share of it that a training step leaves out.
        pooling: One of ``choices.POOLINGS``.
        fusion: What is put side by side in front of it; None for the last stage's features alone.
    """

    kind: str = "linear"
    hidden: int = 1024
    dropout: float = 0.5
    pooling: str = "pool"
    fusion: Fusion | None = None


LINEAR = Head()


def head_of(config: TrainConfig) -> Head:
    """The head that the settings ask for."""
    fusion = Fusion(config.fuse_stages, config.fuse_backbone)
    return Head(
        config.head, config.hidden, config.dropout, config.pooling, fusion if fusion != Fusion() else None
    )


def ending_for(head: Head, name: str) -> Ending:
    """How the last stage of a backbone has to end for a head.

    Raises:
        UsageError: There is no such backbone, or it has no feature map for a head that wants one, or fewer stages than
            are to be fused.
    """
    layout = layout_of(name)
    if head.fusion is not None:
        _check_fusion(head.fusion, name)
        return head.fusion
    if head.kind == "linear":
        return "own"
    if head.kind == "mlp" and head.pooling == "flatten":
        if layout.features == "token":
            raise UsageError(
                f"Pooling 'flatten' does not go with {name}: it classifies from one token and has no feature map.",
                "Backbones without a feature map: vit_….",
                "Choose pooling 'pool', or another backbone.",
            )
        return "map"
    pools_later = layout.features == "map" or (head.kind == "mlp" and layout.hidden)
    return "pooled" if pools_later else "own"


def _check_fusion(fusion: Fusion, name: str) -> None:
    stages = len(stage_parameters(name)) - 1
    if fusion.stages > stages:
        raise UsageError(
            f"The features of {fusion.stages} stages cannot be fused: {name} has {stages}.",
            f"Allowed: fuse_stages from 1 to {stages}.",
        )
    if fusion.beside:
        layout_of(fusion.beside)


def plainest(source: Head, name: str) -> Head:
    """The plainest head that goes on a source model with that head: linear, unless it lacks the layers in front."""
    gone = layout_of(name).hidden and ending_for(source, name) != "own"
    return Head("mlp") if gone else LINEAR


def build(
    name: str,
    head: Head,
    *,
    num_classes: int | None = None,
    image_size: int | None = None,
    beside: StagedNetwork | None = None,
) -> StagedNetwork:
    """A network with random weights and a head.

    Arguments are those of :func:`tl_app.backbones.staged.build` and of :func:`put_head`.

    Raises:
        UsageError: There is no such backbone, or it goes with neither that size nor that head.
    """
    network = build_staged(name, num_classes=num_classes, image_size=image_size)
    if (head.kind != "linear" or head.fusion is not None) and num_classes is not None:
        put_head(network, head, num_classes, beside)
    return network


def put_head(
    network: StagedNetwork, head: Head, num_classes: int, beside: StagedNetwork | None = None
) -> None:
    """Puts a fresh head on a network, whatever it had before; the stages keep their weights.

    Its last layer starts so that the first predictions are close to even, as with a linear head.

    Args:
        network: The network.
        head: What the head looks like.
        num_classes: Outputs.
        beside: The second network of a head that fuses two, without a use of its own afterwards; None for one with
            random weights.

    Raises:
        UsageError: The head needs something that the network does not have.
    """
    if head.kind == "linear" and head.fusion is None:
        replace_head(network, num_classes)
        return
    ending = ending_for(head, network.name)
    if head.fusion is not None and head.fusion.beside:
        put_beside(network, beside or build_staged(head.fusion.beside, image_size=network.image_size))
    features = math.prod(feature_shape(network.name, ending, network.image_size))
    with GENERATOR_LOCK:
        classifier: nn.Module
        if head.kind == "mlp":
            classifier = mlp(features, head.hidden, head.dropout, num_classes)
        elif head.kind == "linear":
            classifier = even(nn.Linear(features, num_classes))
        else:
            classifier = Cosine(features, num_classes)
    weight = next(network.parameters())
    put_classifier(network, classifier.to(weight.device, weight.dtype), ending)


def mlp(features: int, hidden: int, dropout: float, num_classes: int) -> nn.Sequential:
    """Flatten, dense, ReLU, dropout, dense: the head of many a tutorial, and nearly that of VGG.

    The hidden layer starts as He et al. 2015 ("Delving Deep into Rectifiers", arXiv:1502.01852) have it for ReLU.

    Args:
        features: Of a photo: the length of its vector, or all places of its map.
        hidden: Width of the hidden layer.
        dropout: Share of hidden units that a training step leaves out.
        num_classes: Outputs.
    """
    inner = nn.Linear(features, hidden)
    outer = nn.Linear(hidden, num_classes)
    nn.init.kaiming_normal_(inner.weight, nonlinearity="relu")
    nn.init.zeros_(inner.bias)
    return nn.Sequential(nn.Flatten(1), inner, nn.ReLU(), Dropout(dropout), even(outer))


def even(layer: nn.Linear) -> nn.Linear:
    """The layer, started so that its first predictions are close to even."""
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer


class Cosine(nn.Module):
    """Logits that are cosines between features and one prototype per class, times a learnt sharpness.

    Source: Gidaris and Komodakis 2018, "Dynamic Few-Shot Visual Learning without Forgetting" (arXiv:1804.09458),
    section 3.2. Features are centred first, as in Wang et al. 2019, "SimpleShot" (arXiv:1911.04623): behind a ReLU they
    all point into the same corner, and their cosines would be much alike.

    Args:
        features: Length of a feature vector.
        num_classes: Outputs.

    Attributes:
        weight: The prototypes, (classes, D); their lengths do not matter.
        log_scale: Logarithm of the sharpness, (1,).
        centre: What is subtracted from features, (D,).
    """

    centre: Tensor

    def __init__(self, features: int, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_classes, features) / math.sqrt(features))
        self.log_scale = nn.Parameter(torch.full((1,), math.log(_SHARPNESS)))
        self.register_buffer("centre", torch.zeros(features))

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) to logits (B, classes)."""
        directions = functional.normalize(features - self.centre, dim=1)
        cosines = functional.linear(directions, functional.normalize(self.weight, dim=1))
        return cosines * self.log_scale.exp()

    def start_from(self, batches: Callable[[], Iterable[tuple[Tensor, Tensor]]]) -> None:
        """Makes each prototype the mean of its class's normalised features.

        Args:
            batches: Called twice; gives features (B, D) with labels int64 (B,), of each class at least one photo.
        """
        count, total = 0, torch.zeros(1)
        for features, _ in batches():
            count, total = count + len(features), total + features.detach().float().cpu().sum(0)
        centre, sums = total / count, torch.zeros(self.weight.shape)
        for features, labels in batches():
            directions = functional.normalize(features.detach().float().cpu() - centre, dim=1)
            sums.index_add_(0, labels.cpu(), directions)
        with torch.no_grad():
            self.centre.copy_(centre)
            # Of length 1: the longer, the less an optimiser's steps turn them. On 60 classes of Caltech-101 (10 photos
            # each, mobilenet_v2 at 160 px, AdamW) length 1 ended at 85.6 %, 36 at 84.7 %; without a centre at 84.4 %.
            self.weight.copy_(functional.normalize(sums, dim=1))

    def extra_repr(self) -> str:
        """Sizes, which tell two such heads apart."""
        return f"in_features={self.weight.shape[1]}, out_features={self.weight.shape[0]}"


def first_linear(network: StagedNetwork) -> nn.Linear | None:
    """The layer that features may be standardised for: the first one of the head, where that is linear with a bias."""
    classifier = network.classifier
    first = classifier[1] if isinstance(classifier, nn.Sequential) else classifier
    return first if isinstance(first, nn.Linear) and first.bias is not None else None


def fold_standard(network: StagedNetwork, standard: Standardise) -> None:
    """Makes a head that was trained on standardised features one for the features as they are."""
    layer = first_linear(network)
    assert layer is not None
    fold(layer, standard)


@functools.lru_cache(maxsize=256)
def feature_shape(name: str, ending: Ending, image_size: int) -> tuple[int, ...]:
    """What the last stage gives for one photo: (D,) or (C, H, W); worked out on shapes alone.

    Raises:
        UsageError: There is no such backbone, or it cannot see that size.
    """
    plain = build_weightless(name, image_size, ending)
    network = StagedNetwork(plain.net.to("meta"), name, image_size, ending).eval()
    features = torch.empty(1, 3, image_size, image_size, device="meta")
    with torch.no_grad():
        for stage in network.stages:
            features = stage.module(features)
    return tuple(features.shape[1:])


def parameters(name: str, head: Head, num_classes: int, image_size: int | None = None) -> int:
    """How many parameters a head has on a backbone.

    Raises:
        UsageError: There is no such backbone, or it goes with neither that size nor that head.
    """
    if head.kind == "linear" and head.fusion is None:
        return head_parameters(name, num_classes)
    size = get_backbone(name).image_size if image_size is None else image_size
    features = math.prod(feature_shape(name, ending_for(head, name), size))
    if head.kind == "linear":
        return (features + 1) * num_classes
    if head.kind == "cosine":
        return features * num_classes + 1
    return (features + 1) * head.hidden + (head.hidden + 1) * num_classes
