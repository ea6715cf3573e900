"""Building networks without memory for their weights, or without drawing them. Knows nothing of any network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

# Of tensors, and of torch.nn.init, whose functions arrive whole: what they call is not seen here.
_RANDOM = frozenset({"normal_", "uniform_", "trunc_normal_"}) | {
    f"{name}_{kind}_" for name in ("kaiming", "xavier") for kind in ("normal", "uniform")
}
_ARITHMETIC = frozenset({"erfinv_", "mul_", "add_", "clamp_"})  # that makes other distributions of those
_PLAIN = frozenset({"fill_", "zero_", "constant_", "ones_", "zeros_"})


def _filled(func: Any, fills: frozenset[str], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """What a call would fill, if it is one of those."""
    if getattr(func, "__name__", "") not in fills:
        return None
    filled = args[0] if args else kwargs.get("tensor")  # as torch.nn.init names it
    return filled if isinstance(filled, Tensor) else None


class WeightlessMode(TorchFunctionMode):
    """Makes the tensors that parameters start as on the meta device, and leaves out what would fill them.

    Narrower than ``torch.device("meta")``, under which RegNet cannot be built: it reads widths back from
    tensors.
    """

    _STARTS = (torch.empty, torch.zeros, torch.ones)
    # Of the meta device these are written in Python, with SymPy: it takes a third of a second to import.
    _FILLS = _RANDOM | _ARITHMETIC | _PLAIN

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in self._STARTS and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        filled = _filled(func, self._FILLS, args, kwargs)
        return func(*args, **kwargs) if filled is None or not filled.is_meta else filled


class ValuelessMode(TorchFunctionMode):
    """Makes random values zeros, for a network whose weights are loaded next: half a second for a ViT-B.

    Zeros, not whatever is in memory: some ways to draw go on until all values lie within bounds.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        filled = _filled(func, _RANDOM, args, kwargs or {})
        if filled is None:
            return func(*args, **(kwargs or {}))
        filled.detach().zero_()
        return filled
