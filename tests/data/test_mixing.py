from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tl_app.backbones.staged import GENERATOR_LOCK
from tl_app.data.mixing import is_map, mixed

LABELS = torch.tensor([0, 2, 1, 2])


def _mixed(rows: Tensor, seed: int = 0, mixup: float = 0.0, cutmix: float = 0.0) -> tuple[Tensor, Tensor]:
    with GENERATOR_LOCK:
        torch.manual_seed(seed)
        return mixed(rows, LABELS, mixup=mixup, cutmix=cutmix, classes=3)


def _photos(values: tuple[int, ...] = (0, 100, 200, 50), side: int = 8) -> Tensor:
    flat = torch.tensor(values, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, side, side)
    return flat.contiguous(memory_format=torch.channels_last)


def _beta(alpha: float, seed: int) -> float:
    with GENERATOR_LOCK:
        torch.manual_seed(seed)
        torch.multinomial(torch.ones(1), 1)  # one of one way
        return torch.distributions.Beta(torch.tensor([alpha]), torch.tensor([alpha])).sample(()).item()


def test_off_it_gives_back_what_came_and_draws_nothing() -> None:
    rows, before = _photos(), torch.random.get_rng_state()
    found, labels = mixed(rows, LABELS, mixup=0.0, cutmix=0.0, classes=3)
    assert found is rows and labels is LABELS
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("seed", range(5))
def test_mixup_by_hand(seed: int) -> None:
    share = _beta(0.8, seed)
    rows, shares = _mixed(_photos(), seed, mixup=0.8)
    assert rows.dtype == torch.uint8 and rows.shape == (4, 3, 8, 8)
    expected = [
        share * own + (1 - share) * before for own, before in ((0, 50), (100, 0), (200, 100), (50, 200))
    ]
    assert rows[:, 0, 0, 0].tolist() == [round(value) for value in expected]
    by_hand = torch.zeros(4, 3)
    for row, (own, before) in enumerate(((0, 2), (2, 0), (1, 2), (2, 1))):
        by_hand[row, own] += share
        by_hand[row, before] += 1 - share
    torch.testing.assert_close(shares, by_hand)


@pytest.mark.parametrize("shape", [(5,), (7, 5), (5, 6, 6), (6, 6, 5)])
def test_activations_of_any_shape_are_blended(shape: tuple[int, ...]) -> None:
    rows = torch.randn(4, *shape, generator=torch.Generator().manual_seed(0)).half()
    found, shares = _mixed(rows, 3, mixup=0.8)
    share = _beta(0.8, 3)
    assert found.shape == rows.shape and found.dtype == torch.float32
    torch.testing.assert_close(found, share * rows.float() + (1 - share) * rows.float().roll(1, 0))
    torch.testing.assert_close(shares.sum(1), torch.ones(4))


def test_cutmix_gives_each_class_its_share_of_the_area() -> None:
    seen = set()
    for seed in range(10):
        rows, shares = _mixed(_photos(), seed, cutmix=1.0)
        assert set(rows.unique().tolist()) <= {0, 50, 100, 200}
        kept = (rows[:, 0] == _photos()[:, 0]).float().mean((1, 2))
        assert shares[0].tolist() == pytest.approx([kept[0].item(), 0.0, 1 - kept[0].item()])
        assert shares[2].tolist() == pytest.approx([0.0, kept[2].item(), 1 - kept[2].item()])
        seen.add(round(kept[0].item(), 3))
    assert len(seen) > 5


def test_with_both_on_chance_takes_one_per_batch() -> None:
    cut = blended = 0
    for seed in range(40):
        rows, _ = _mixed(_photos(), seed, mixup=1.0, cutmix=1.0)
        pasted = set(rows.unique().tolist()) <= {0, 50, 100, 200}
        cut, blended = cut + pasted, blended + (not pasted)
    assert cut > 8 and blended > 8


def test_what_has_no_places_is_not_cut() -> None:
    vectors = torch.randn(4, 5)
    found, labels = _mixed(vectors, cutmix=1.0)
    assert found is vectors and labels is LABELS
    both, _ = _mixed(vectors, 1, mixup=0.5, cutmix=1.0)
    torch.testing.assert_close(both, _mixed(vectors, 1, mixup=0.5)[0])
    assert [is_map(shape) for shape in ((3, 32, 32), (64,), (50, 768), (56, 56, 96))] == [
        True,
        False,
        False,
        False,
    ]
