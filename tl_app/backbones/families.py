"""The ordered stages of each torchvision family, as data: one small function a family, and one table.

A function takes the torchvision module and lists ``(stage name, its modules in order)``; together with the
head they cover every parameter exactly once, and running them one after the other is the module's own
``forward``. Three rules:

- A stage ends after its downsampling, so that the boundary behind it (which may be cached) is small.
- The last stage ends with the pooled features where the architecture pools before its classifier; hidden
  layers of a classifier are stages, and the head is the last layer with its dropout.
- No stage begins with an in-place operation: the boundary in front of it belongs to somebody else.

Knows nothing of weights, freezing or the catalogue.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from tl_app.backbones.pieces import FirstToken, PatchTokens, SpatialMean, SymmetricInput

Parts = list[tuple[str, list[nn.Module]]]

_MOST_GROUPS = 8  # that a long row of equal blocks is cut into


@dataclass(frozen=True)
class Layout:
    """How a family's torchvision module is cut into stages and head."""

    stages: Callable[[Any], Parts]
    head: Callable[[Any], list[nn.Module]]
    classifier: str  # dotted name of the layer that a new head replaces
    options: Mapping[str, Any] = field(default_factory=dict)  # for torchvision's builder
    auxiliary: tuple[str, ...] = ()  # prefixes of keys in published weights that this product leaves out
    hidden: int = 0  # how many of the last stages are hidden layers of the classifier
    features: Literal["vector", "map", "token"] = "vector"  # what the last stage in front of those ends with
    axes: tuple[int, int] = (2, 3)  # of a map between stages: height and width


def _alexnet(net: Any) -> Parts:
    convs = _cut_before(net.features, nn.Conv2d)
    convs[-1] += [net.avgpool, nn.Flatten(1)]
    dense = list(net.classifier)
    return [*_numbered("conv{}", convs), ("fc6", dense[0:3]), ("fc7", dense[3:6])]


def _vgg(net: Any) -> Parts:
    convs = _cut_after(net.features, nn.MaxPool2d)
    convs[-1] += [net.avgpool, nn.Flatten(1)]
    dense = list(net.classifier)
    return [*_numbered("conv{}", convs), ("fc6", dense[0:2]), ("fc7", dense[2:5])]


def _resnet(net: Any) -> Parts:
    return [
        ("stem", [net.conv1, net.bn1, net.relu, net.maxpool]),
        ("layer1", [net.layer1]),
        ("layer2", [net.layer2]),
        ("layer3", [net.layer3]),
        ("layer4", [net.layer4, net.avgpool, nn.Flatten(1)]),
    ]


def _densenet(net: Any) -> Parts:
    f = net.features
    end = [nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(1)]
    return [
        ("stem", [f.conv0, f.norm0, f.relu0, f.pool0]),
        ("denseblock1", [f.denseblock1, f.transition1]),
        ("denseblock2", [f.denseblock2, f.transition2]),
        ("denseblock3", [f.denseblock3, f.transition3]),
        ("denseblock4", [f.denseblock4, f.norm5, *end]),
    ]


def _efficientnet(net: Any) -> Parts:
    stem, *blocks, conv = net.features
    return [
        ("stem", [stem]),
        *_numbered("block {}", [[block] for block in blocks]),
        ("conv", [conv, net.avgpool, nn.Flatten(1)]),
    ]


def _mobilenet_v2(net: Any) -> Parts:
    stem, *blocks, conv = net.features
    pool = [nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(1)]
    return [("stem", [stem]), *_residual_groups(blocks), ("conv", [conv, *pool])]


def _mobilenet_v3(net: Any) -> Parts:
    stem, *blocks, conv = net.features
    return [
        ("stem", [stem]),
        *_residual_groups(blocks),
        ("conv", [conv, net.avgpool, nn.Flatten(1)]),
        ("fc", list(net.classifier)[0:2]),
    ]


def _mnasnet(net: Any) -> Parts:
    layers = list(net.layers)
    return [
        ("stem", layers[0:8]),
        *_numbered("block {}", [[layer] for layer in layers[8:14]]),
        ("conv", [*layers[14:17], SpatialMean()]),
    ]


def _squeezenet(net: Any) -> Parts:
    fires: list[list[nn.Module]] = [[]]
    for module in net.features:
        if type(module).__name__ == "Fire":
            fires.append([])
        fires[-1].append(module)
    # The paper counts its one convolution in front as 1.
    return [("stem", fires[0]), *_numbered("fire {}", fires[1:], first=2)]


def _shufflenet(net: Any) -> Parts:
    return [
        ("stem", [net.conv1, net.maxpool]),
        ("stage2", [net.stage2]),
        ("stage3", [net.stage3]),
        ("stage4", [net.stage4]),
        ("conv5", [net.conv5, SpatialMean()]),
    ]


def _googlenet(net: Any) -> Parts:
    return [
        ("stem", [SymmetricInput(), net.conv1, net.maxpool1, net.conv2, net.conv3, net.maxpool2]),
        ("inception 3a-3b", [net.inception3a, net.inception3b, net.maxpool3]),
        ("inception 4a-4b", [net.inception4a, net.inception4b]),
        ("inception 4c-4e", [net.inception4c, net.inception4d, net.inception4e, net.maxpool4]),
        ("inception 5a-5b", [net.inception5a, net.inception5b, net.avgpool, nn.Flatten(1)]),
    ]


def _inception(net: Any) -> Parts:
    stem = [SymmetricInput(), net.Conv2d_1a_3x3, net.Conv2d_2a_3x3, net.Conv2d_2b_3x3, net.maxpool1]
    return [
        ("stem", stem),
        ("conv 3-4", [net.Conv2d_3b_1x1, net.Conv2d_4a_3x3, net.maxpool2]),
        ("mixed 5b-5d", [net.Mixed_5b, net.Mixed_5c, net.Mixed_5d]),
        ("mixed 6a-6c", [net.Mixed_6a, net.Mixed_6b, net.Mixed_6c]),
        ("mixed 6d-6e", [net.Mixed_6d, net.Mixed_6e]),
        ("mixed 7a-7c", [net.Mixed_7a, net.Mixed_7b, net.Mixed_7c, net.avgpool, nn.Flatten(1)]),
    ]


def _regnet(net: Any) -> Parts:
    trunk = [[block] for block in net.trunk_output]
    trunk[-1] += [net.avgpool, nn.Flatten(1)]
    return [("stem", [net.stem]), *_numbered("block {}", trunk)]


def _convnext(net: Any) -> Parts:
    norm, flatten, _ = net.classifier
    return [("stem", [net.features[0]]), *_pyramid(net.features, [net.avgpool, norm, flatten])]


def _swin(net: Any) -> Parts:
    end = [net.norm, net.permute, net.avgpool, net.flatten]
    return [("stem", [net.features[0]]), *_pyramid(net.features, end)]


def _maxvit(net: Any) -> Parts:
    pool, flatten, norm, linear, tanh, _ = net.classifier
    blocks = [[block] for block in net.blocks]
    blocks[-1] += [pool, flatten]
    return [("stem", [net.stem]), *_numbered("block {}", blocks), ("neck", [norm, linear, tanh])]


def _vit(net: Any) -> Parts:
    encoders = _even_groups("encoder", list(net.encoder.layers), _MOST_GROUPS)
    encoders[-1][1].extend([net.encoder.ln, FirstToken()])
    return [("patches", [PatchTokens(net)]), *encoders]


def _pyramid(features: Any, end: list[nn.Module]) -> Parts:
    """Stages of ConvNeXt and Swin.

    Args:
        features: The stem, then rows of blocks with one downsampling layer between two rows.
        end: What follows the last row.
    """
    parts: Parts = []
    for number, row in enumerate(features[1::2], start=1):
        # The long third row holds half of the network or more.
        groups = _even_groups(f"stage{number}", list(row), 3) if len(row) > 3 else [(f"stage{number}", [row])]
        parts += groups
        parts[-1][1].extend(features[2 * number : 2 * number + 1])
    parts[-1][1].extend(end)
    return parts


def _residual_groups(blocks: list[Any]) -> Parts:
    """Inverted residual blocks, a new stage wherever the number of channels or the resolution changes."""
    groups: list[list[nn.Module]] = []
    for block in blocks:
        if not groups or not block.use_res_connect:
            groups.append([])
        groups[-1].append(block)
    parts: Parts = []
    first = 1
    for group in groups:
        parts.append((_span("block", first, first + len(group) - 1), group))
        first += len(group)
    return parts


def _even_groups(name: str, blocks: list[nn.Module], most: int) -> Parts:
    size = -(-len(blocks) // most)
    starts = range(0, len(blocks), size)
    return [(_span(name, i, min(i + size, len(blocks)) - 1), blocks[i : i + size]) for i in starts]


def _span(name: str, first: int, last: int) -> str:
    return f"{name} {first}" if first == last else f"{name} {first}-{last}"


def _numbered(name: str, groups: list[list[nn.Module]], first: int = 1) -> Parts:
    return [(name.format(number), group) for number, group in enumerate(groups, start=first)]


def _cut_before(modules: Any, kind: type[nn.Module]) -> list[list[nn.Module]]:
    groups: list[list[nn.Module]] = []
    for module in modules:
        if isinstance(module, kind):
            groups.append([])
        groups[-1].append(module)
    return groups


def _cut_after(modules: Any, kind: type[nn.Module]) -> list[list[nn.Module]]:
    groups: list[list[nn.Module]] = [[]]
    for module in modules:
        groups[-1].append(module)
        if isinstance(module, kind):
            groups.append([])
    return groups[:-1]


def _fc(net: Any) -> list[nn.Module]:
    return [net.fc]


def _dropout_fc(net: Any) -> list[nn.Module]:
    return [net.dropout, net.fc]


def _last_of_classifier(count: int) -> Callable[[Any], list[nn.Module]]:
    return lambda net: list(net.classifier)[-count:]


# Pretrained GoogLeNet and Inception v3 expect the input transform, so a network from scratch gets it too.
# Asking for the initialisation by name keeps torchvision's own distribution without its FutureWarning, and
# takes 0.3 s.
_INCEPTION_OPTIONS = {"transform_input": True, "aux_logits": False, "init_weights": True}

_RESNET = Layout(_resnet, _fc, "fc")
_EFFICIENTNET = Layout(_efficientnet, _last_of_classifier(2), "classifier.1")
_SWIN = Layout(_swin, lambda net: [net.head], "head", axes=(1, 2))

LAYOUTS: Mapping[str, Layout] = {
    "AlexNet": Layout(_alexnet, _last_of_classifier(1), "classifier.6", hidden=2),
    "VGG": Layout(_vgg, _last_of_classifier(2), "classifier.6", hidden=2),
    "ResNet": _RESNET,
    "ResNeXt": _RESNET,
    "Wide ResNet": _RESNET,
    "DenseNet": Layout(_densenet, lambda net: [net.classifier], "classifier"),
    "EfficientNet": _EFFICIENTNET,
    "EfficientNetV2": _EFFICIENTNET,
    "MobileNetV2": Layout(_mobilenet_v2, _last_of_classifier(2), "classifier.1"),
    "MobileNetV3": Layout(_mobilenet_v3, _last_of_classifier(2), "classifier.3", hidden=1),
    "MNASNet": Layout(_mnasnet, _last_of_classifier(2), "classifier.1"),
    "SqueezeNet": Layout(
        _squeezenet, lambda net: [*net.classifier, nn.Flatten(1)], "classifier.1", features="map"
    ),
    "ShuffleNetV2": Layout(_shufflenet, _fc, "fc"),
    "GoogLeNet": Layout(_googlenet, _dropout_fc, "fc", _INCEPTION_OPTIONS, ("aux1.", "aux2.")),
    "Inception": Layout(_inception, _dropout_fc, "fc", _INCEPTION_OPTIONS, ("AuxLogits.",)),
    "RegNet": Layout(_regnet, _fc, "fc"),
    "ConvNeXt": Layout(_convnext, _last_of_classifier(1), "classifier.2"),
    "Swin": _SWIN,
    "SwinV2": _SWIN,
    "MaxViT": Layout(_maxvit, _last_of_classifier(1), "classifier.5", hidden=1),
    "ViT": Layout(_vit, lambda net: [net.heads.head], "heads.head", features="token"),
}
