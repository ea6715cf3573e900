from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tl_app.transfer.regularisers import feature_distance, l2_sp, shrinkage, weakest


def test_l2_sp_is_half_the_squared_distance_and_pulls_straight_back() -> None:
    own = [torch.tensor([[1.0, 2.0]], requires_grad=True), torch.tensor([3.0], requires_grad=True)]
    source = [torch.tensor([[0.0, 4.0]]), torch.tensor([3.5])]
    distance = l2_sp(own, source)
    assert distance.item() == pytest.approx(0.5 * (1 + 4 + 0.25))
    distance.backward()  # type: ignore[no-untyped-call]
    for one, known in zip(own, source, strict=True):
        torch.testing.assert_close(one.grad, one.detach() - known)


def test_l2_sp_begins_with_nothing_and_without_a_gradient() -> None:
    own = torch.randn(3, 3, requires_grad=True)
    distance = l2_sp([own], [own.detach().clone()])
    distance.backward()  # type: ignore[no-untyped-call]
    assert distance.item() == 0.0 and torch.equal(own.grad, torch.zeros(3, 3))  # type: ignore[arg-type]


def test_the_feature_distance_is_a_share_of_the_source() -> None:
    source = [torch.tensor([[[[2.0, 0.0]]], [[[1.0, 1.0]]]]), torch.tensor([[3.0, 4.0], [0.0, 5.0]])]
    own = [source[0] + torch.tensor([1.0, 1.0]), source[1].clone()]
    own[1][1, 0] = 10.0
    for each in own:
        each.requires_grad_(True)
    distance = feature_distance(own, source)
    # First photo: (1 + 1) / 4 and 0; second: (1 + 1) / 2 and 100 / 25; the mean over both stages.
    torch.testing.assert_close(distance, torch.tensor([0.25, 2.5]))
    distance.sum().backward()  # type: ignore[no-untyped-call]
    assert own[0].grad is not None and own[1].grad is not None
    torch.testing.assert_close(own[0].grad[0, 0, 0], torch.tensor([0.25, 0.25]))  # ½ · 2 · 1 / 4
    torch.testing.assert_close(own[1].grad[1], torch.tensor([10.0 / 25, 0.0]))


def test_a_source_without_activations_does_not_divide_by_zero() -> None:
    distance = feature_distance([torch.ones(1, 4)], [torch.zeros(1, 4)])
    assert torch.isfinite(distance).all()


def test_the_shrinkage_is_the_smallest_singular_value_squared() -> None:
    features = torch.diag(torch.tensor([3.0, 0.5, 2.0]))[:, [2, 0, 1]]
    assert shrinkage(features, weakest(features)).item() == pytest.approx(0.25)
    assert shrinkage(features, weakest(features, 2)).item() == pytest.approx(4.25)


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (7, 7)])
@pytest.mark.parametrize("k", [1, 3])
def test_its_gradient_is_that_of_the_singular_values(shape: tuple[int, int], k: int) -> None:
    features = torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    known = torch.linalg.svdvals(features)[-k:].square().sum()
    (expected,) = torch.autograd.grad(known, features)
    value = shrinkage(features, weakest(features, k))
    assert value.item() == pytest.approx(known.item(), rel=1e-4)
    (gradient,) = torch.autograd.grad(value, features)
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-5)


def test_the_shrinkage_of_parts_adds_up() -> None:
    features = torch.randn(10, 30, generator=torch.Generator().manual_seed(1))
    weak = weakest(features)
    whole = shrinkage(features, weak)
    parts = [shrinkage(*each) for each in zip(features.split(3), weak.split(3), strict=True)]
    torch.testing.assert_close(torch.stack(parts).sum(), whole)


def test_the_same_photo_twice_leaves_nothing_to_shrink() -> None:
    """The smallest singular value is 0 then, and its direction on the features' side could be any."""
    features = torch.randn(5, 12, generator=torch.Generator().manual_seed(2))
    features[4] = features[0]
    assert weakest(features).abs().max() < 1e-5


@pytest.mark.parametrize("rows", [1, 2])
def test_the_largest_singular_value_is_left_alone(rows: int) -> None:
    features = torch.ones(rows, 4) * torch.arange(1, rows + 1)[:, None]
    assert weakest(features, 5).abs().max() < 1e-5


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_feature_that_is_no_number_shows_in_the_result(value: float) -> None:
    features: Tensor = torch.randn(4, 6)
    features[1, 2] = value
    assert not torch.isfinite(shrinkage(features, weakest(features)))
