"""What a run's model costs whoever uses it: operations, bytes, and the time of an answer on this machine's CPU."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from tl_app.predictor import Predictor, load_run
from tl_app.runs import RunInfo

_ANSWERS, _FIRST = 11, 3  # timed ones, and those before them, which set things up


@dataclass(frozen=True)
class Footprint:
    """What a model costs.

    Attributes:
        gflops: A photo, in 10⁹ operations of a multiplication and an addition each, as torchvision counts.
        model_bytes: All its weights as they are stored.
        cpu_seconds: From one photo's pixels to its answer on this CPU, the median of a few; without decoding.
    """

    gflops: float
    model_bytes: int
    cpu_seconds: float


def footprint(info: RunInfo) -> Footprint:
    """Measures the best model of a run, now and on the CPU.

    Raises:
        UserError: It has no model yet, or its checkpoint is damaged.
    """
    predictor = load_run(info, "cpu")
    tensors = predictor.network.state_dict().values()
    size = predictor.preprocessing.crop
    return Footprint(
        gflops=_gflops(predictor.network, size),
        model_bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors),
        cpu_seconds=_latency(predictor, size),
    )


def _gflops(network: torch.nn.Module, size: int) -> float:
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(torch.zeros(1, 3, size, size))
    return counter.get_total_flops() / 2e9  # it counts multiplication and addition apart


def _latency(predictor: Predictor, size: int) -> float:
    black = torch.zeros(1, 3, size, size, dtype=torch.uint8)
    seconds = []
    for _ in range(_FIRST + _ANSWERS):
        start = time.perf_counter()
        predictor.logits(black)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[_FIRST:])
