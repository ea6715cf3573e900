from __future__ import annotations

import pytest
import torch

from tl_app.transfer.averages import Average, blended, mean_with


def test_a_running_average_is_the_formula_and_starts_quickly() -> None:
    weight, count = torch.tensor([10.0, -2.0]), torch.tensor(7)
    average = Average({"weight": weight, "count": count}, decay=0.15)
    weight.copy_(torch.tensor([20.0, 0.0]))
    average.update(0)  # decay (1 + 0) / (10 + 0)
    torch.testing.assert_close(average.state()["weight"], torch.tensor([0.1 * 10 + 0.9 * 20, 0.1 * -2]))
    weight.copy_(torch.tensor([0.0, 0.0]))
    average.update(1)  # (1 + 1) / (10 + 1) is more than what was asked for
    torch.testing.assert_close(average.state()["weight"], torch.tensor([0.15 * 19, 0.15 * -0.2]))
    assert set(average.state()) == {"weight"}, "whole numbers are not averaged"


def test_an_average_is_lent_to_the_network_and_taken_back() -> None:
    layer = torch.nn.Conv2d(2, 3, 2).to(memory_format=torch.channels_last)
    average = Average(dict(layer.named_parameters()), decay=0.5)
    start = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight.zero_()
    with average.applied():
        assert torch.equal(layer.weight, start)
        assert layer.weight.stride() == start.stride()
    assert not layer.weight.any()
    other = Average(dict(layer.named_parameters()), decay=0.5)
    other.load(average.state())
    assert torch.equal(other.state()["weight"], start)


def test_a_mean_of_several() -> None:
    sets = [{"w": torch.tensor([float(n), 1.0]), "n": torch.tensor(n)} for n in (1, 2, 6)]
    pair = mean_with(sets[0], sets[1], 1)
    torch.testing.assert_close(mean_with(pair, sets[2], 2)["w"], torch.tensor([3.0, 1.0]))
    assert pair["n"] == 1 and torch.equal(sets[0]["w"], torch.tensor([1.0, 1.0]))


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_the_ends_of_a_blend_are_the_two_models_bit_for_bit(alpha: float) -> None:
    generator = torch.Generator().manual_seed(0)
    source, tuned = (
        {"w": torch.randn(1000, generator=generator) * 10.0**k, "n": torch.tensor(k), "zero": torch.tensor(z)}
        for k, z in ((0, -0.0), (6, 0.0))
    )
    expected = tuned if alpha else source
    for name, value in blended(source, tuned, alpha).items():
        assert value.numpy().tobytes() == expected[name].numpy().tobytes()


def test_between_the_ends_every_weight_moves_alike() -> None:
    source, tuned = {"w": torch.tensor([0.0, 4.0])}, {"w": torch.tensor([8.0, 4.0])}
    torch.testing.assert_close(blended(source, tuned, 0.25)["w"], torch.tensor([2.0, 4.0]))
