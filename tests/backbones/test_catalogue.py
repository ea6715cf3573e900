from __future__ import annotations

import math

import pytest
from torchvision import models

from tl_app.backbones import catalogue
from tl_app.backbones.catalogue import BackboneSpec, WeightChoice
from tl_app.errors import UsageError

SPECS = [spec for spec in catalogue.list_backbones() if not spec.bundled]
CHOICES = [choice for spec in SPECS for choice in spec.weights]


def _id(item: BackboneSpec | WeightChoice) -> str:
    return f"{item.backbone}-{item.name}" if isinstance(item, WeightChoice) else item.name


def test_every_architecture_of_torchvision_is_there() -> None:
    assert [spec.name for spec in SPECS] == models.list_models(module=models)
    assert len(SPECS) >= 80


def test_every_weight_choice_is_there() -> None:
    for spec in SPECS:
        enum = models.get_model_weights(spec.name)
        assert [choice.name for choice in spec.weights] == [member.name for member in enum]
        assert spec.default_weights.name == enum.DEFAULT.name
        assert sum(choice.is_default for choice in spec.weights) == 1


@pytest.mark.parametrize("choice", CHOICES, ids=_id)
def test_weights_say_what_torchvision_says(choice: WeightChoice) -> None:
    member = catalogue.weights_member(choice)
    transforms = member.transforms()
    seen = choice.preprocessing
    assert ([seen.resize], [seen.crop]) == (transforms.resize_size, transforms.crop_size)
    assert (list(seen.mean), list(seen.std)) == (transforms.mean, transforms.std)
    assert seen.interpolation == transforms.interpolation.value

    meta = member.meta
    assert choice.url == member.url
    assert choice.parameters == meta["num_params"]
    assert choice.gflops == meta["_ops"]
    assert choice.download_bytes == pytest.approx(meta["_file_size"] * 1024 * 1024, abs=1)
    published = meta["_metrics"]["ImageNet-1K"]["acc@1"]
    assert choice.top1 is None if math.isnan(published) else choice.top1 == published
    assert bool(choice.licence) == ("license" in meta)


@pytest.mark.parametrize("spec", SPECS, ids=_id)
def test_figures_are_those_of_the_default_weights(spec: BackboneSpec) -> None:
    default = spec.default_weights
    assert default.top1 is not None
    assert 50 < spec.top1 == default.top1 < 100
    assert spec.gflops == default.gflops > 0
    assert spec.parameters == default.parameters
    assert spec.image_size == default.preprocessing.crop
    assert spec.tier in catalogue.TIERS
    spec.check_image_size(spec.image_size)
    for choice in spec.weights:
        spec.check_image_size(choice.preprocessing.crop)


def test_labels_read_well_and_differ() -> None:
    labels = {spec.name: spec.label for spec in SPECS}
    assert len(set(labels.values())) == len(labels)
    expected = {
        "mobilenet_v2": "MobileNetV2",
        "mobilenet_v3_large": "MobileNetV3-Large",
        "resnet18": "ResNet-18",
        "resnext101_32x8d": "ResNeXt-101 32x8d",
        "efficientnet_b0": "EfficientNet-B0",
        "efficientnet_v2_s": "EfficientNetV2-S",
        "vit_b_16": "ViT-B/16",
        "regnet_y_1_6gf": "RegNetY-1.6GF",
        "regnet_x_400mf": "RegNetX-400MF",
        "vgg16_bn": "VGG-16 BN",
        "swin_v2_t": "SwinV2-T",
        "mnasnet0_75": "MNASNet 0.75",
        "wide_resnet50_2": "Wide ResNet-50-2",
    }
    assert {name: labels[name] for name in expected} == expected
    names = {(choice.backbone, choice.name): choice.label for choice in CHOICES}
    assert names["resnet50", "IMAGENET1K_V2"] == "ImageNet-1K V2"
    assert names["vit_b_16", "IMAGENET1K_SWAG_E2E_V1"] == "ImageNet-1K SWAG end to end V1"


def test_only_swag_weights_have_a_licence_note() -> None:
    noted = {choice.name for choice in CHOICES if choice.licence}
    assert noted == {"IMAGENET1K_SWAG_E2E_V1", "IMAGENET1K_SWAG_LINEAR_V1"}
    assert all("CC BY-NC 4.0" in choice.licence for choice in CHOICES if choice.licence)


def test_tiers_follow_the_rule() -> None:
    for spec in SPECS:
        if spec.gflops <= 2:
            assert spec.tier == "fast"
        else:
            assert spec.tier == ("accurate" if spec.top1 >= 82 else "balanced")
    assert {spec.tier for spec in SPECS} == set(catalogue.TIERS)


@pytest.mark.parametrize("text", ["resnet 50", "ResNet-50", "resnet50", " RESNET  50 "])
def test_search_finds_every_spelling(text: str) -> None:
    assert [spec.name for spec in catalogue.search(text)] == ["resnet50", "wide_resnet50_2"]


def test_search_takes_words_tiers_and_nothing() -> None:
    assert {spec.family for spec in catalogue.search("fast shuffle")} == {"ShuffleNetV2"}
    assert catalogue.search("") == catalogue.list_backbones()
    assert catalogue.search("no such thing") == []


@pytest.mark.parametrize(
    ("name", "close"),
    [("resnet-18", "resnet18"), ("MobileNetV2", "mobilenet_v2"), ("eficientnet_b0", "efficientnet_b0")],
)
def test_an_unknown_name_is_told_close_ones(name: str, close: str) -> None:
    with pytest.raises(UsageError, match=rf"no backbone '{name}'. Did you mean [^?]*{close}[^?]*\?"):
        catalogue.get_backbone(name)


def test_a_hopeless_name_gets_no_guess() -> None:
    with pytest.raises(UsageError, match=r"^There is no backbone 'xyzzy'. `tl-app backbones` lists"):
        catalogue.get_backbone("xyzzy")


def test_weights_are_found_by_name() -> None:
    spec = catalogue.get_backbone("resnet50")
    assert catalogue.find_weights(spec, "random") is None
    assert catalogue.find_weights(spec, "default") == spec.default_weights
    found = catalogue.find_weights(spec, "imagenet1k_v1")
    assert found is not None and found.name == "IMAGENET1K_V1"
    with pytest.raises(UsageError, match="ResNet-50 has no weights 'V3'.*default, random, IMAGENET1K_V1"):
        catalogue.find_weights(spec, "V3")


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("vit_b_16", 100, "multiple of 16 pixels. Choose 96"),
        ("vit_h_14", 224 + 1, "multiple of 14 pixels. Choose 224"),
        ("maxvit_t", 256, "multiple of 224 pixels. Choose 224"),
        ("inception_v3", 64, "at least 75 pixels. Leave the image size out for 299"),
    ],
)
def test_sizes_a_network_cannot_see_are_refused(name: str, size: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        catalogue.get_backbone(name).check_image_size(size)
