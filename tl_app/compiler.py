"""torch's compiler, ``torch._dynamo``: loaded when something is to be compiled, not whenever torch is used.

torchvision and torch's optimisers import it for functions that do nothing where nothing is being compiled. Stand-ins
for those save every command a second, and every process 100 MB; one for what torchvision tells torch's exporter of
detectors, which there are none of here, another 25 ms. Imports no torch.
"""

from __future__ import annotations

import functools
import importlib
import sys
import types
from collections.abc import Callable
from typing import Any

_COMPILER, _UTILITIES = "torch._dynamo", "torch._dynamo.utils"
_DETECTORS = "torchvision.ops._register_onnx_ops"


def load_later() -> None:
    """Puts the compiler off until somebody asks it for more than that; to be called before torch is imported."""
    if _COMPILER in sys.modules:
        return
    compiler, utilities = _Later(_COMPILER), _Later(_UTILITIES)
    vars(compiler).update(disable=_disable, graph_break=_graph_break)
    vars(utilities).update(is_compile_supported=_is_compile_supported)
    sys.modules.update({_COMPILER: compiler, _UTILITIES: utilities})
    if "torchvision.ops" not in sys.modules:
        detectors = types.ModuleType(_DETECTORS)
        vars(detectors).update(_register_custom_op=lambda: None)
        sys.modules[_DETECTORS] = detectors


class _Later(types.ModuleType):
    """Stands for a module until something of it is needed that it has not."""

    def __getattr__(self, name: str) -> Any:
        # Who lists all modules there are asks for these, and is to learn no more than of one without a file. But
        # whoever imports a module inside the compiler asks for its path.
        if name.startswith("__") and (self.__name__, name) != (_COMPILER, "__path__"):
            raise AttributeError(name)
        return getattr(_loaded(self.__name__), name)


def _loaded(name: str = _COMPILER) -> Any:
    """The real module."""
    for each in (_COMPILER, _UTILITIES):
        if isinstance(sys.modules.get(each), _Later):
            sys.modules.pop(each, None)
    return importlib.import_module(name)


def _is_there() -> bool:
    return not isinstance(sys.modules.get(_COMPILER), _Later)


def _disable(function: Callable[..., Any], *how: Any, **other: Any) -> Callable[..., Any]:
    """What the compiler is not to look into: nothing to do before it is there."""
    real = functools.cache(lambda: _loaded().disable(function, *how, **other))

    @functools.wraps(function)
    def called(*args: Any, **keywords: Any) -> Any:
        return (real() if _is_there() else function)(*args, **keywords)

    return called


def _graph_break(*args: Any, **keywords: Any) -> None:
    if _is_there():
        _loaded().graph_break(*args, **keywords)


def _is_compile_supported(device: str) -> bool:
    return bool(_loaded(_UTILITIES).is_compile_supported(device))
