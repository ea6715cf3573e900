from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tl_app.backbones import bundled
from tl_app.backbones.catalogue import find_weights, get_backbone, list_backbones
from tl_app.backbones.staged import build
from tl_app.backbones.weights import cached_path, categories, is_on_disk, load_pretrained, on_disk


@pytest.fixture
def nothing_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    return tmp_path / "torch" / "hub" / "checkpoints"


def test_it_is_one_of_the_backbones_and_needs_no_network(nothing_on_disk: Path) -> None:
    (spec,) = [spec for spec in list_backbones() if spec.bundled]
    assert spec.name == list_backbones()[0].name == "bundled" and spec.tier == "fast"
    assert (spec.image_size, spec.architecture) == (160, "mobilenet_v2")
    choice = spec.default_weights
    assert is_on_disk(choice) and on_disk() == [("bundled", "BUNDLED")]
    assert find_weights(spec, "bundled") == choice and choice.lineage[-1] == "Caltech-101"


def test_it_is_small() -> None:
    spec = get_backbone("bundled")
    assert spec.parameters <= 3_000_000
    assert cached_path(spec.default_weights).stat().st_size <= 7_000_000
    assert all(value.isfinite().all() for value in load_file(bundled.weights_path()).values())


def test_the_card_says_what_is_there() -> None:
    card = bundled.card()
    assert card is not None
    network = build("bundled", num_classes=len(card.categories))
    assert card.stages == len(network.stages)
    assert card.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert len(card.categories) == 101 and "Caltech-101" in card.lineage[-1]
    heads = card.figures["heads"]["hymenoptera"]
    assert heads["median"] == sorted(heads["seeds"])[1]


def test_all_weights_are_loaded_with_the_head_they_have() -> None:
    network, choice = build("bundled", num_classes=101), get_backbone("bundled").default_weights
    notices: list[object] = []
    load_pretrained(network, choice, on_notice=notices.append)
    assert notices == []
    stored = load_file(bundled.weights_path())
    assert all(
        torch.equal(value, stored[name].to(value.dtype)) for name, value in network.net.state_dict().items()
    )
    assert len(categories(choice)) == 101


def test_what_is_used_when_nobody_chooses(nothing_on_disk: Path) -> None:
    assert bundled.default_backbone() == get_backbone("auto").name == "bundled"
    recommended = get_backbone("mobilenet_v2").default_weights
    assert cached_path(recommended) == nothing_on_disk / bundled._RECOMMENDED_FILE
    nothing_on_disk.mkdir(parents=True)
    cached_path(recommended).touch()
    assert bundled.default_backbone() == get_backbone("auto").name == "mobilenet_v2"


def test_it_looks_where_torch_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.delenv("TORCH_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = Path(torch.hub.get_dir(), "checkpoints", bundled._RECOMMENDED_FILE)
    path.parent.mkdir(parents=True)
    path.touch()
    assert bundled.default_backbone() == "mobilenet_v2"
