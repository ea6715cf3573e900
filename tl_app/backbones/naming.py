"""What people call each torchvision architecture: its family and its label.

The only thing about an architecture that torchvision's registry does not say. Knows names, and the bundled network's.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tl_app.backbones import bundled

_Label = Callable[[re.Match[str]], str]

# (pattern of the registry's name, family, label); the first full match counts.
_NAMES: tuple[tuple[str, str, _Label], ...] = (
    (r"alexnet", "AlexNet", lambda m: "AlexNet"),
    (r"convnext_(\w+)", "ConvNeXt", lambda m: f"ConvNeXt-{m[1].capitalize()}"),
    (r"densenet(\d+)", "DenseNet", lambda m: f"DenseNet-{m[1]}"),
    (r"efficientnet_v2_(\w+)", "EfficientNetV2", lambda m: f"EfficientNetV2-{m[1].upper()}"),
    (r"efficientnet_(b\d+)", "EfficientNet", lambda m: f"EfficientNet-{m[1].upper()}"),
    (r"googlenet", "GoogLeNet", lambda m: "GoogLeNet"),
    (r"inception_v3", "Inception", lambda m: "Inception v3"),
    (r"maxvit_(\w+)", "MaxViT", lambda m: f"MaxViT-{m[1].upper()}"),
    (r"mnasnet(\d+_\d+)", "MNASNet", lambda m: f"MNASNet {_decimal(m[1])}"),
    (r"mobilenet_v2", "MobileNetV2", lambda m: "MobileNetV2"),
    (r"mobilenet_v3_(\w+)", "MobileNetV3", lambda m: f"MobileNetV3-{m[1].capitalize()}"),
    (r"regnet_([xy])_(\w+)", "RegNet", lambda m: f"RegNet{m[1].upper()}-{_decimal(m[2]).upper()}"),
    (r"resnet(\d+)", "ResNet", lambda m: f"ResNet-{m[1]}"),
    (r"resnext(\d+)_(\w+)", "ResNeXt", lambda m: f"ResNeXt-{m[1]} {m[2]}"),
    (r"wide_resnet(\d+)_(\d+)", "Wide ResNet", lambda m: f"Wide ResNet-{m[1]}-{m[2]}"),
    (r"shufflenet_v2_x(\w+)", "ShuffleNetV2", lambda m: f"ShuffleNetV2 x{_decimal(m[1])}"),
    (r"squeezenet(\d+_\d+)", "SqueezeNet", lambda m: f"SqueezeNet {_decimal(m[1])}"),
    (r"swin_v2_(\w+)", "SwinV2", lambda m: f"SwinV2-{m[1].upper()}"),
    (r"swin_(\w)", "Swin", lambda m: f"Swin-{m[1].upper()}"),
    (r"vgg(\d+)(_bn)?", "VGG", lambda m: f"VGG-{m[1]}{' BN' if m[2] else ''}"),
    (r"vit_(\w)_(\d+)", "ViT", lambda m: f"ViT-{m[1].upper()}/{m[2]}"),
)


def family_and_label(name: str) -> tuple[str, str] | None:
    """The family and the label of a backbone's name; ``None`` for an architecture that is not known here."""
    shipped = bundled.card()
    if name == bundled.NAME and shipped is not None:
        known = family_and_label(shipped.architecture)
        return known and (known[0], shipped.label)
    for pattern, family, label in _NAMES:
        if match := re.fullmatch(pattern, name):
            return family, label(match)
    return None


def squashed(text: str) -> str:
    """``text`` as it is compared in a search: lower case, letters and digits only."""
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _decimal(text: str) -> str:
    return text.replace("_", ".")
