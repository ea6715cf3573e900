from __future__ import annotations

import pytest
import torch
from torch import nn

from tl_app.transfer.standardise import fold, folded, measured


@pytest.fixture
def features() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(50, 6) * torch.tensor([1e-2, 1, 100, 1, 5, 2]) + torch.tensor([0, 3, -50, 0, 1, 9])


def test_features_get_mean_0_and_variance_1(features: torch.Tensor) -> None:
    standard = measured(features.split(7))
    seen = standard(features)[:, 1:]
    torch.testing.assert_close(seen.mean(0), torch.zeros(5), atol=1e-4, rtol=0)
    torch.testing.assert_close(seen.std(0, correction=0), torch.ones(5), atol=1e-4, rtol=0)


def test_a_feature_that_hardly_moves_is_not_blown_up(features: torch.Tensor) -> None:
    features[:, 3] = 7.0
    seen = measured([features])(features)
    assert seen[:, 3].abs().max() < 1e-3 and seen[:, 0].std() < 0.1
    assert torch.isfinite(seen).all()


def test_the_folded_layer_takes_features_as_they_are(features: torch.Tensor) -> None:
    standard, layer = measured([features]), nn.Linear(6, 3)
    expected = layer(standard(features))
    before = layer.weight.detach().clone()
    with folded(layer, standard):
        torch.testing.assert_close(layer(features), expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(layer.weight, before)
    fold(layer, standard)
    torch.testing.assert_close(layer(features), expected, atol=1e-4, rtol=1e-4)


def test_no_features_is_an_error() -> None:
    with pytest.raises(ValueError, match="no features"):
        measured([])
