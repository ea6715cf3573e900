"""Building networks without memory for their weights. Knows nothing of any network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class WeightlessMode(TorchFunctionMode):
    """Makes the tensors that parameters start as on the meta device, and leaves out what would fill them.

    Narrower than ``torch.device("meta")``, under which RegNet cannot be built: it reads widths back from
    tensors.
    """

    _STARTS = (torch.empty, torch.zeros, torch.ones)
    # Of the meta device these are written in Python, with SymPy: it takes a third of a second to import.
    _FILLS = {"normal_", "uniform_", "fill_", "zero_", "erfinv_", "mul_", "add_", "clamp_"}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in self._STARTS and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        filled = args[0] if args else kwargs.get("tensor")  # as torch.nn.init names it
        if isinstance(filled, Tensor) and filled.is_meta and getattr(func, "__name__", "") in self._FILLS:
            return filled
        return func(*args, **kwargs)
