"""Building networks without memory for their weights. Knows nothing of any network."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class WeightlessMode(TorchFunctionMode):
    """Makes the tensors that parameters start as on the meta device.

    Narrower than ``torch.device("meta")``, under which RegNet cannot be built: it reads widths back from
    tensors.
    """

    _STARTS = (torch.empty, torch.zeros, torch.ones)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in self._STARTS and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)
