from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision import models

from tl_app.backbones import weights
from tl_app.backbones.catalogue import WeightChoice, find_weights, get_backbone
from tl_app.backbones.staged import StagedNetwork, build
from tl_app.errors import ResourceError, UsageError
from tl_app.events import Notice

SHIPPED = ("bundled", "BUNDLED")


def _default(name: str) -> WeightChoice:
    return get_backbone(name).default_weights


def _store(choice: WeightChoice, state: Any) -> Path:
    """Put ``state`` where torchvision would have put its download (the name's hash is then wrong)."""
    path = weights.cached_path(choice)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    return path


def _load(network: StagedNetwork, choice: WeightChoice) -> list[Notice]:
    notices: list[Notice] = []
    weights.load_pretrained(network, choice, on_notice=notices.append)
    return notices


def _published(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the hash in the file's name were right."""
    monkeypatch.setattr(weights, "published_hash", lambda name: weights._sha256(path)[:8])


def test_files_are_where_torchvision_keeps_them(weights_home: Path) -> None:
    choice = _default("resnet18")
    assert weights.cached_path(choice) == weights_home / "resnet18-f37072fd.pth"
    assert not weights.is_on_disk(choice)
    assert weights.on_disk() == [SHIPPED]
    _store(choice, {})
    assert weights.is_on_disk(choice)
    assert weights.on_disk() == [SHIPPED, ("resnet18", "IMAGENET1K_V1")]


def test_everything_but_the_head_is_loaded(weights_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choice = _default("mobilenet_v3_small")
    source = models.get_model("mobilenet_v3_small").state_dict()
    path = _store(choice, source)
    _published(path, monkeypatch)
    network = build("mobilenet_v3_small", num_classes=2)
    head = network.classifier.weight.detach().clone()
    assert _load(network, choice) == []
    state = network.net.state_dict()
    for key, value in source.items():
        if not key.startswith("classifier.3."):
            assert torch.equal(state[key], value), key
    assert torch.equal(network.classifier.weight, head)


def test_the_head_is_loaded_when_the_classes_are_as_many(
    weights_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = _default("shufflenet_v2_x0_5")
    source = models.get_model("shufflenet_v2_x0_5").eval()
    _published(_store(choice, source.state_dict()), monkeypatch)
    network = build("shufflenet_v2_x0_5").eval()
    assert _load(network, choice) == []
    photos = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(network(photos), source(photos))
    assert weights.has_classifier(network, choice)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_heads_in_the_file_are_left_out(
    weights_home: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    source = models.get_model(name, aux_logits=True, transform_input=True, init_weights=False).eval()
    _published(_store(_default(name), source.state_dict()), monkeypatch)
    network = build(name).eval()
    assert _load(network, _default(name)) == []
    photos = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        assert torch.equal(network(photos), source(photos))


def test_old_densenet_and_batchnorm_keys_are_understood(
    weights_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = models.get_model("densenet121").eval()
    old: dict[str, Tensor] = {}
    for key, value in source.state_dict().items():
        if key.endswith("num_batches_tracked"):
            continue
        for number in "12":
            for part in ("norm", "conv"):
                if "denselayer" in key:
                    key = key.replace(f".{part}{number}.", f".{part}.{number}.")
        old[key] = value
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    _published(_store(_default("densenet121"), old), monkeypatch)
    network = build("densenet121").eval()
    assert _load(network, _default("densenet121")) == []
    photos = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(network(photos), source(photos))


def test_mnasnets_version_is_kept(weights_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _published(_store(_default("mnasnet0_5"), models.get_model("mnasnet0_5").state_dict()), monkeypatch)
    assert _load(build("mnasnet0_5", num_classes=2), _default("mnasnet0_5")) == []


def test_positions_of_a_transformer_are_interpolated(
    weights_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = _default("vit_b_32")
    source = models.get_model("vit_b_32").state_dict()
    _published(_store(choice, source), monkeypatch)
    network = build("vit_b_32", num_classes=2, image_size=320)
    assert _load(network, choice) == []
    positions = network.net.encoder.pos_embedding
    assert positions.shape == (1, 101, 768)
    before = source["encoder.pos_embedding"]
    assert torch.equal(positions[:, 0], before[:, 0])
    # Corners stay corners (align_corners); torch's bicubic is exact there up to rounding.
    assert torch.allclose(positions[:, [1, 10, 91, 100]], before[:, [1, 7, 43, 49]], atol=1e-5)
    assert network(torch.randn(1, 3, 320, 320)).shape == (1, 2)


def test_stages_without_values_keep_a_random_start_and_are_named(
    weights_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As vgg16's IMAGENET1K_FEATURES, whose classifier is not a number, at a tenth of the size.
    choice = _default("mobilenet_v3_small")
    source = models.get_model("mobilenet_v3_small").state_dict()
    for key in source:
        if key.startswith("classifier."):
            source[key].fill_(float("nan"))
    _published(_store(choice, source), monkeypatch)
    network = build("mobilenet_v3_small")
    (notice,) = _load(network, choice)
    assert notice.level == "warning"
    assert notice.text.startswith("The weights IMAGENET1K_V1 have no values for fc: random ones")
    assert all(torch.isfinite(value).all() for value in network.net.state_dict().values())


def test_weights_without_labels_have_no_classifier() -> None:
    features = find_weights(get_backbone("vgg16"), "IMAGENET1K_FEATURES")
    assert features is not None
    assert features.top1 is None
    assert weights.categories(features) == []
    network = build("mobilenet_v3_small")
    assert weights.has_classifier(network)
    assert not weights.has_classifier(network, features)
    torch.nn.init.zeros_(network.classifier.weight)
    assert not weights.has_classifier(network)


def test_categories_are_imagenets() -> None:
    labels = weights.categories(_default("resnet18"))
    assert len(labels) == 1000
    assert labels[:2] == ["tench", "goldfish"]


def test_a_file_that_is_not_the_published_one_is_used_with_a_warning(weights_home: Path) -> None:
    choice = _default("mobilenet_v3_small")
    path = _store(choice, models.get_model("mobilenet_v3_small").state_dict())
    (notice,) = _load(build("mobilenet_v3_small", num_classes=2), choice)
    assert notice.level == "warning"
    assert str(path) in notice.text
    assert f"SHA-256 starts with {weights._sha256(path)[:8]}" in notice.text


def test_a_file_is_hashed_once(weights_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choice = _default("mobilenet_v3_small")
    path = _store(choice, models.get_model("mobilenet_v3_small").state_dict())
    network = build("mobilenet_v3_small", num_classes=2)
    before = weights._sha256_of.cache_info().misses
    for _ in range(3):
        _load(network, choice)
    assert weights._sha256_of.cache_info().misses == before + 1
    os.utime(path, (0, 0))
    _load(network, choice)
    assert weights._sha256_of.cache_info().misses == before + 2


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>404</html>", b"PK\x03\x04 cut off", b"\x80\x02}q\x00."],
    ids=["empty", "a web page", "half a zip", "an old pickle"],
)
def test_a_damaged_file_is_named_with_its_remedy(weights_home: Path, content: bytes) -> None:
    choice = _default("mobilenet_v3_small")
    path = _store(choice, {})
    path.write_bytes(content)
    with pytest.raises(ResourceError, match="is damaged or belongs to something else") as caught:
        _load(build("mobilenet_v3_small", num_classes=2), choice)
    assert str(path) in caught.value.problem
    assert caught.value.remedy.startswith("Delete it, and it is downloaded again")
    assert "\n" not in str(caught.value)


def test_code_in_a_file_is_not_run(weights_home: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "sprung",)

    choice = _default("mobilenet_v3_small")
    _store(choice, {"weight": Trap()})
    with pytest.raises(ResourceError, match="is damaged or belongs to something else"):
        _load(build("mobilenet_v3_small", num_classes=2), choice)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("state", [{"a": 1}, [1, 2], {"features.0.0.weight": torch.zeros(1)}])
def test_a_foreign_file_leaves_the_network_as_it_was(weights_home: Path, state: Any) -> None:
    choice = _default("mobilenet_v3_small")
    _store(choice, state)
    network = build("mobilenet_v3_small", num_classes=2)
    before = {key: value.clone() for key, value in network.net.state_dict().items()}
    with pytest.raises(
        ResourceError, match="does not hold a network's weights|does not fit mobilenet_v3_small"
    ):
        _load(network, choice)
    assert all(torch.equal(value, before[key]) for key, value in network.net.state_dict().items())


def test_weights_of_another_backbone_are_refused() -> None:
    with pytest.raises(
        UsageError, match="of resnet18 were asked for in mobilenet_v3_small.*fit resnet18 only"
    ):
        weights.load_pretrained(build("mobilenet_v3_small"), _default("resnet18"))


@pytest.mark.shared
def test_the_real_mobilenet_of_another_origin_loads(
    weights_home: Path, pretrained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = [("mobilenet_v2", "IMAGENET1K_V1"), ("mobilenet_v2", "IMAGENET1K_V2")]
    assert weights.on_disk() == [SHIPPED, *expected]
    choice = _default("mobilenet_v2")
    network = build("mobilenet_v2")
    (notice,) = _load(network, choice)
    assert notice.level == "warning" and "is not the published file" in notice.text
    reference = models.get_model("mobilenet_v2", weights="DEFAULT").eval()
    photos = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(network.eval()(photos), reference(photos))
    assert not weights.has_classifier(network, choice)  # its head is all zeros
    assert capsys.readouterr().out == ""


def test_a_read_only_cache_is_enough(weights_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choice = _default("mobilenet_v3_small")
    _store(choice, models.get_model("mobilenet_v3_small").state_dict())
    _refuse_writes(monkeypatch)
    _load(build("mobilenet_v3_small", num_classes=2), choice)


def _refuse_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise OSError("written to a read-only place")

    monkeypatch.setattr(Path, "mkdir", refuse)
    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(shutil, "disk_usage", refuse)
