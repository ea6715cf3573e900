from __future__ import annotations

import pytest

from tl_app.backbones.catalogue import TIERS, list_backbones
from tl_app.ui import picker


def test_the_list_holds_every_backbone_in_its_group() -> None:
    everything = [name for _, name in picker.backbones()]
    assert sorted(everything) == sorted(spec.name for spec in list_backbones())
    grouped = [name for tier in TIERS for _, name in picker.backbones(tier)]
    assert grouped == everything


@pytest.mark.parametrize("typed", ["ResNet-18", "resnet18", "ConvNeXt", "vit_b_16"])
def test_the_list_is_found_by_label_and_by_name(typed: str) -> None:
    assert [text for text, _ in picker.backbones() if typed.lower() in text.lower()]
