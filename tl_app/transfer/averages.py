"""Several sets of weights made into one: the running average of a training, a mean of epochs, a blend of two models.

BatchNorm's running means and variances are treated as weights are. Where they move, those of an average are no more
than an estimate; it is a close one for epochs of one run, and whoever keeps an average measures it first. Knows
nothing of files, or of which average is a good one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn, get_swa_multi_avg_fn


class Average:
    """An exponential moving average (EMA) of weights under training: ``decay · average + (1 − decay) · weights``.

    Whole numbers, such as BatchNorm's count of batches, are not averaged. It is no ``AveragedModel``: that copies the
    network, and the stages, the suffix and the standardised head that a phase evaluates are views of the one network.

    Args:
        live: The tensors that training moves, by name; the average begins as a copy of them.
        decay: Share of the average that stays in each step, below 1.
    """

    def __init__(self, live: Mapping[str, Tensor], decay: float) -> None:
        self._live = {name: tensor for name, tensor in live.items() if tensor.is_floating_point()}
        self._decay = decay
        # Strides are kept: evaluation then takes the same kernels, and the same rounding, as with the weights.
        self._values = {name: tensor.detach().clone() for name, tensor in self._live.items()}

    def update(self, before: int) -> None:
        """Takes one step's weights in.

        Args:
            before: Updates before this one. The first ones count for more, so that a run of a few dozen steps ends
                with an average of its own weights and not of the random head that it began with: the decay is at
                most (1 + n) / (10 + n), as in TensorFlow's ``tf.train.ExponentialMovingAverage(num_updates=n)``.
        """
        decay = min(self._decay, (1 + before) / (10 + before))
        live = [tensor.detach() for tensor in self._live.values()]
        update = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        update(list(self._values.values()), live, before)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The network holds the average for as long as the block lasts; nothing is copied."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state(self) -> dict[str, Tensor]:
        """The average, by the names of the weights; not copied."""
        return dict(self._values)

    def load(self, values: Mapping[str, Tensor]) -> None:
        """Goes on from what :meth:`state` gave; with nothing, as of a kept blend, it stays a copy of the weights."""
        if values:
            for name, own in self._values.items():
                own.copy_(values[name])

    def _swap(self) -> None:
        for name, tensor in self._live.items():
            tensor.data, self._values[name] = self._values[name], tensor.data


def mean_with(mean: Mapping[str, Tensor], more: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """The mean of ``count + 1`` sets of weights; whole numbers stay those of ``mean``.

    Args:
        mean: The mean of ``count`` sets; not changed.
        more: One more set.
        count: How many are in ``mean``.
    """
    result = {name: tensor.clone() for name, tensor in mean.items()}
    moved = [name for name, tensor in result.items() if tensor.is_floating_point()]
    if moved:
        take_in = get_swa_multi_avg_fn()  # type: ignore[no-untyped-call]
        take_in([result[name] for name in moved], [more[name] for name in moved], count)
    return result


def blended(source: Mapping[str, Tensor], tuned: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """θ = (1 − α) · source + α · tuned, weight by weight: WiSE-FT.

    Source: Wortsman et al. 2022, "Robust fine-tuning of zero-shot models" (arXiv:2109.01903), equation 1; there the
    source's head is a zero-shot one, here it is a linear probe.

    Args:
        source: Weights by name.
        tuned: The same names and shapes.
        alpha: 0 gives ``source`` and 1 gives ``tuned``, bit for bit; in between, whole numbers are ``tuned``'s.
    """
    if alpha in (0, 1):
        return dict(tuned if alpha else source)
    return {
        name: torch.lerp(tensor, tuned[name], alpha) if tensor.is_floating_point() else tuned[name]
        for name, tensor in source.items()
    }
