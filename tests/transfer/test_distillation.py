from __future__ import annotations

import pytest
import torch

from tl_app.transfer.distillation import Hint, Imitation, pairs


def test_channels_of_any_size_count_alike_but_dead_ones_are_not_blown_up() -> None:
    teacher = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 3.0, 1e-4])
    hint = Hint(4, 3)
    hint.calibrate(teacher + 5)
    scaled = (teacher + 5 - hint.mean) / hint.scale
    assert scaled.mean(0).abs().max() < 1e-4
    assert 0.4 < scaled[:, 0].std() < scaled[:, 1].std() <= 1.0
    assert scaled[:, 2].std() < 1e-3


def test_the_distance_is_that_of_the_mapped_features() -> None:
    hint = Hint(2, 3)
    hint.calibrate(torch.tensor([[0.0, 0.0, 0.0], [2.0, 2.0, 2.0]]))
    student, teacher = (
        torch.tensor([[1.0, 2.0], [0.0, 0.0]]),
        torch.tensor([[1.0, 3.0, 1.0], [1.0, 1.0, 1.0]]),
    )
    target = (teacher - 1) / 2**0.5  # mean 1, variance 1, and as much again
    assert hint.map is not None
    expected = (hint.map(student) - target).square().mean(1)
    torch.testing.assert_close(hint(student, teacher), expected)
    assert hint(student, teacher)[1].item() == pytest.approx(0.0)  # as the average photo: the map begins at 0


def test_without_a_map_activations_are_compared_as_they_are() -> None:
    hint = Hint(None, 2)
    teacher = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    hint.calibrate(teacher)
    assert not list(hint.parameters())
    torch.testing.assert_close(hint(teacher, teacher), torch.zeros(2))
    torch.testing.assert_close(hint(teacher + 2, teacher), torch.full((2,), 2.0))  # 2² over variance 1 twice


def test_maps_are_compared_place_by_place() -> None:
    hint = Hint(2, 3)
    student, teacher = torch.randn(4, 2, 5, 6), torch.randn(4, 3, 5, 6)
    hint.calibrate(teacher)
    torch.testing.assert_close(hint.mean, teacher.mean((0, 2, 3)))
    places = [hint(student[..., y, x], teacher[..., y, x]) for y in range(5) for x in range(6)]
    torch.testing.assert_close(hint(student, teacher), torch.stack(places).mean(0))
    apart = student.contiguous(memory_format=torch.channels_last), teacher
    torch.testing.assert_close(hint(*apart), hint(student, teacher))


def test_all_hints_count_alike() -> None:
    imitation = Imitation([(2, 3), (4, 5)])
    student, teacher = (
        [torch.randn(6, 2, 3, 3), torch.randn(6, 4)],
        [torch.randn(6, 3, 3, 3), torch.randn(6, 5)],
    )
    imitation.calibrate(teacher)
    first, second = imitation.each()
    expected = (first(student[0], teacher[0]) + second(student[1], teacher[1])) / 2
    torch.testing.assert_close(imitation(student, teacher), expected)


def test_a_constant_teacher_is_imitated_without_a_division_by_zero() -> None:
    hint = Hint(2, 3)
    hint.calibrate(torch.ones(10, 3))
    assert torch.isfinite(hint(torch.ones(4, 2), torch.ones(4, 3))).all()


def test_which_stage_imitates_which() -> None:
    teacher = [(32, 8, 8), (16, 8, 8), (24, 4, 4), (96, 4, 4), (99,)]
    assert pairs([(1, 8, 8), (2, 8, 8), (3, 4, 4), (4, 4, 4), (5,)], teacher) == [(n, n) for n in range(5)]
    assert pairs([(1, 8, 8), (2, 4, 4), (3, 2, 2), (5,)], teacher) == [(0, 1), (1, 3), (3, 4)]
    assert pairs([(9, 7, 7), (5,)], teacher) == [(1, 4)], "at other sizes only the features"
