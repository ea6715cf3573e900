"""A torchvision network seen as an ordered list of stages and a head, and its split at a stage boundary.

Everything here is a view: stages, head, prefix and suffix hold torchvision's own modules and parameters, so
moving or training one moves or trains all. Knows nothing of weight files, freezing or training.
"""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor, nn
from torchvision import models

from tl_app.backbones.catalogue import get_backbone
from tl_app.backbones.endings import Ending, drop_hidden, keeps_hidden, stages_ending
from tl_app.backbones.families import LAYOUTS, Layout
from tl_app.backbones.fusion import Beside, Colours, Fusion, beside_vector, fused_stages
from tl_app.backbones.pieces import Dropout
from tl_app.backbones.weightless import WeightlessMode
from tl_app.errors import UsageError

# Torch has one generator for the whole process. Whoever seeds it and needs what it gives next holds this lock, and so
# does whoever draws from it; else loading a network in one thread would change the dropout of a training in another.
GENERATOR_LOCK = threading.RLock()


_LAST_LAYERS = (nn.Linear, nn.Conv2d)  # torchvision's own


@dataclass(frozen=True)
class Stage:
    """A named stretch of a network; ``module`` is a view of it."""

    name: str
    module: nn.Module


class StagedNetwork(nn.Module):
    """A network with its stages in order, input to head.

    ``net`` is torchvision's module and the only registered child; ``net.state_dict()`` has torchvision's
    keys, and those of ``net.beside`` where a second network was put beside it.

    Args:
        net: The torchvision module.
        name: Its name in the catalogue.
        image_size: Side of the square input that it was built for, in pixels; only transformers, and heads over a
            whole map, insist on it.
        ending: How its last stage ends.

    Attributes:
        stages: Views, in order; their parameters and the head's are all of the network's, each exactly once.
    """

    stages: tuple[Stage, ...]

    def __init__(self, net: nn.Module, name: str, image_size: int, ending: Ending = "own") -> None:
        """Wrap the module; nothing is copied."""
        super().__init__()
        self.net = net
        self.name = name
        self.image_size = image_size
        self.ending = ending
        self.bind()

    @property
    def head(self) -> nn.Module:
        """View of the last classifier layer and its dropout, or of what was put in their place."""
        return self._head[0]

    @property
    def classifier(self) -> nn.Module:
        """The last layer with parameters, a ``Linear`` (SqueezeNet's is a ``Conv2d``), or what was put in its place."""
        return self.net.get_submodule(layout_of(self.name).classifier)

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters of the head."""
        return self.head.parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Stages and head one after the other.

        Args:
            x: Normalised photos, (B, 3, S, S).

        Returns:
            Logits, (B, classes); equal to those of ``net`` as long as that has a head of its own kind.
        """
        for stage in self.stages:
            x = stage.module(x)
        logits: Tensor = self.head(x)
        return logits

    def train(self, mode: bool = True) -> Self:
        """Set training mode for the network and for the views, frozen or not (see ``transfer.freezing``)."""
        super().train(mode)
        for view in self._views():
            view.train(mode)
        return self

    def bind(self) -> None:
        """Make the views anew after a layer or a parameter of ``net`` was replaced; older ones are stale."""
        layout = layout_of(self.name)
        parts = stages_ending(layout, self.net, self.ending)
        # Torchvision's dropout belongs to its own layer; another head is whole by itself.
        head = layout.head(self.net) if isinstance(self.classifier, _LAST_LAYERS) else [self.classifier]
        if isinstance(self.ending, Fusion):
            parts = fused_stages(layout, parts, self.ending, self._beside(self.ending))
            head = [each for each in head if isinstance(each, nn.Dropout) or each is self.classifier]
        # Inside tuples, which nn.Module does not register as children.
        self.stages = tuple(Stage(name, nn.Sequential(*modules)) for name, modules in parts)
        self._head = (nn.Sequential(*head),)
        for view in self._views():
            view.training = self.net.training

    def _beside(self, fusion: Fusion) -> nn.Module | None:
        beside = getattr(self.net, "beside", None)
        assert isinstance(beside, Beside) == bool(fusion.beside), "see put_beside"
        return beside_vector(layout_of(fusion.beside), beside) if isinstance(beside, Beside) else None

    def _views(self) -> list[nn.Module]:
        return [*(stage.module for stage in self.stages), self.head]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """As in ``nn.Module``; some moves (from the meta device, for one) make new Parameter objects."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        bound = {id(p) for view in self._views() for p in view.parameters()}
        if any(id(p) not in bound for p in self.net.parameters()):
            self.bind()
        return self


def build(name: str, *, num_classes: int | None = None, image_size: int | None = None) -> StagedNetwork:
    """A network with random weights, without auxiliary heads.

    Args:
        name: As in the catalogue, such as ``resnet18``.
        num_classes: Outputs of the head; ``None`` for ImageNet's 1000, initialised by torchvision.
        image_size: Side of the square input, in pixels; ``None`` for what the default weights were made for.

    Raises:
        UsageError: There is no such backbone, or it cannot see that size, or there is no class at all.
    """
    spec = get_backbone(name)
    size = spec.image_size if image_size is None else image_size
    spec.check_image_size(size)
    with GENERATOR_LOCK:
        network = StagedNetwork(
            models.get_model(spec.architecture, **torchvision_options(spec.name, size)), name, size
        )
    _put_dropout(network)
    if num_classes is not None:
        replace_head(network, num_classes)
    return network


def _put_dropout(network: StagedNetwork) -> None:
    """Dropout of the head by our own, never in place: it would write into the features, which may be kept ones."""
    found = {id(module): module.p for module in network.head.modules() if isinstance(module, nn.Dropout)}
    if not found:
        return
    for parent in network.net.modules():
        for name, child in parent.named_children():
            if id(child) in found:
                setattr(parent, name, Dropout(found[id(child)]))
    network.bind()


def split(network: StagedNetwork, k: int) -> tuple[nn.Sequential, nn.Sequential]:
    """The first ``k`` stages, and the rest with the head: ``suffix(prefix(x))`` equals ``network(x)``.

    Args:
        network: The network, which both parts are views of.
        k: Freezing depth, 0 (the prefix is empty) to the number of stages (the suffix is the head).

    Raises:
        UsageError: ``k`` is outside that range.
    """
    check_depth(network, k)
    modules = [stage.module for stage in network.stages]
    return nn.Sequential(*modules[:k]), nn.Sequential(*modules[k:], network.head)


def check_depth(network: StagedNetwork, k: int) -> None:
    """Refuse a freezing depth that the network does not have.

    Raises:
        UsageError: ``k`` is negative or more than the number of stages.
    """
    if not 0 <= k <= len(network.stages):
        names = ", ".join(stage.name for stage in network.stages)
        raise UsageError(
            f"Freezing depth {k} does not go with {network.name}.",
            f"Allowed: 0 to {len(network.stages)} (its stages are {names}).",
        )


def replace_head(network: StagedNetwork, num_classes: int) -> None:
    """Put a fresh last layer for ``num_classes`` classes on the network; nothing else changes.

    Every family gets the same small start, weights from N(0, 0.01²) and biases 0, as torchvision has it for
    MobileNet, VGG, RegNet and SqueezeNet: the first predictions are then close to even, and the first loss
    close to ln(classes). Torchvision's own start for EfficientNet and MNASNet is scaled for 1000 outputs, far
    too large for 2.

    Raises:
        UsageError: ``num_classes`` is below 1.
    """
    if num_classes < 1:
        raise UsageError(f"A head for {num_classes} classes was asked for.", "It needs at least one.")
    old = network.classifier
    if not isinstance(old, _LAST_LAYERS):
        old = build_weightless(network.name).classifier
    weight = next(network.parameters())
    like: dict[str, Any] = {"device": weight.device, "dtype": weight.dtype}
    new: nn.Linear | nn.Conv2d
    with GENERATOR_LOCK:
        if isinstance(old, nn.Conv2d):
            new = nn.Conv2d(old.in_channels, num_classes, kernel_size=1, bias=old.bias is not None, **like)
        else:
            assert isinstance(old, nn.Linear)
            new = nn.Linear(old.in_features, num_classes, bias=old.bias is not None, **like)
        nn.init.normal_(new.weight, std=0.01)
    if new.bias is not None:
        nn.init.zeros_(new.bias)
    put_classifier(network, new, "own")
    if hasattr(network.net, "num_classes"):
        network.net.num_classes = num_classes  # type: ignore[assignment]


def put_classifier(network: StagedNetwork, classifier: nn.Module, ending: Ending) -> None:
    """Puts a module in the place of the last layer, behind stages that end as it wants them.

    Args:
        network: The network.
        classifier: From what the last stage gives to logits (B, classes).
        ending: Anything but ``own`` takes the hidden layers of torchvision's classifier out, for good.

    Raises:
        UsageError: Those layers are asked for again.
    """
    layout, net = layout_of(network.name), network.net
    if layout.hidden and keeps_hidden(ending) and not keeps_hidden(network.ending):
        gone = " and ".join(name for name, _ in layout.stages(net)[-layout.hidden :])
        raise UsageError(
            f"{network.name} without its layers {gone} was asked for a head that sits behind them.",
            remedy="Choose head 'mlp', which takes their place, or other weights.",
        )
    parent, _, leaf = layout.classifier.rpartition(".")
    setattr(net.get_submodule(parent), leaf, classifier.train(net.training))
    if layout.hidden and not keeps_hidden(ending) and keeps_hidden(network.ending):
        drop_hidden(layout, net)
    network.ending = ending
    network.bind()


def put_beside(network: StagedNetwork, other: StagedNetwork) -> None:
    """Puts a second network beside the first, whose fused features it joins; its last layer is taken out.

    Args:
        network: Its ending is set, and its views are bound, when it gets its head (:func:`put_classifier`).
        other: Becomes part of the first, and is of no use of its own any more.
    """
    parent, _, leaf = layout_of(other.name).classifier.rpartition(".")
    setattr(other.net.get_submodule(parent), leaf, nn.Identity())
    network.net.beside = Beside(other.net)


def put_colours(network: StagedNetwork, own: Colours, other: Colours) -> None:
    """Says how photos are normalised for the network, and how the one beside it wants them: mean and deviation."""
    beside = network.net.beside
    assert isinstance(beside, Beside)
    beside.recolour.between(own, other)


def with_version(net: nn.Module, tensors: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
    """A shallow copy of ``tensors``, with the format version that ``net`` asks for when it has none."""
    state = OrderedDict(tensors)
    # The attribute that nn.Module.state_dict sets and load_state_dict reads.
    metadata = getattr(tensors, "_metadata", None) or {"": {"version": net._version}}
    state._metadata = metadata  # type: ignore[attr-defined]
    return state


def stage_parameters(name: str, ending: Ending = "own") -> list[tuple[str, int]]:
    """Stage names and their parameter counts in order, then ``("head", count)`` for 1000 classes and a linear head.

    Nothing is allocated: the network is built on the meta device, once per process. Fused stages count as one, and
    the head is then the one that the backbone has without them.

    Args:
        name: Of the backbone.
        ending: How the last stage ends; some heads take the place of the last stages.

    Raises:
        UsageError: There is no such backbone.
    """
    return list(_parameter_counts(name, ending)[0])


def head_parameters(name: str, num_classes: int) -> int:
    """How many parameters a linear head has for ``num_classes`` classes.

    Raises:
        UsageError: There is no such backbone.
    """
    per_class = _parameter_counts(name, "own")[1]
    return per_class * num_classes


def ends_in_map(network: StagedNetwork) -> bool:
    """Whether the last stage gives maps (B, C, H, W), for a head that pools by itself, rather than vectors (B, D)."""
    own = layout_of(network.name).features == "map"
    return network.ending == "map" or (network.ending == "own" and own)


def layout_of(name: str) -> Layout:
    """How the network called ``name`` is cut into stages and head.

    Raises:
        UsageError: There is no such backbone.
    """
    return LAYOUTS[get_backbone(name).family]


def build_weightless(name: str, image_size: int | None = None, ending: Ending = "own") -> StagedNetwork:
    """The network with parameters on the meta device: shapes and counts only, in milliseconds.

    Raises:
        UsageError: There is no such backbone, or it cannot see that size.
    """
    with WeightlessMode():
        network = build(name, image_size=image_size)
    if isinstance(ending, Fusion) and ending.beside:
        put_beside(network, build_weightless(ending.beside, image_size))
    return StagedNetwork(network.net, name, network.image_size, ending)


@functools.cache
def _parameter_counts(name: str, ending: Ending) -> tuple[tuple[tuple[str, int], ...], int]:
    network = build_weightless(name, ending=ending)
    counts = [(stage.name, _count(stage.module)) for stage in network.stages]
    head = _count(network.head)
    outputs = next(network.classifier.parameters()).shape[0]
    return (*counts, ("head", head)), head // outputs


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def torchvision_options(name: str, size: int) -> dict[str, Any]:
    """Keyword arguments for torchvision's builder, for an input of ``size`` pixels.

    Raises:
        UsageError: There is no such backbone.
    """
    family = get_backbone(name).family
    options = dict(LAYOUTS[family].options)
    if family == "ViT":
        options["image_size"] = size
    elif family == "MaxViT":
        options["input_size"] = (size, size)
    return options
