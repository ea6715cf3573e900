"""Convolution, BatchNorm and activation as one step, wherever a network does them in a row.

Two rewrites: :func:`fold_batchnorm` for every device, :func:`use_onednn` for CPUs. Knows nothing of photos, of
precision choices or of speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, fx, nn
from torch.fx.node import Argument
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.ops import stochastic_depth

_Layer = TypeVar("_Layer", bound=nn.Module)

_ONLY_WHILE_TRAINING = (nn.Dropout, nn.Identity)

# What oneDNN calls the activations that it can append to a convolution, and their numbers.
_ACTIVATIONS: dict[type[nn.Module], tuple[str, list[float]]] = {
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
    nn.Hardswish: ("hardswish", []),
    nn.Hardsigmoid: ("hardsigmoid", []),
    nn.SiLU: ("swish", []),
    nn.Sigmoid: ("sigmoid", []),
}
_NO_ACTIVATION: tuple[str, list[float]] = ("none", [])


def folded(module: nn.Module) -> nn.Module:
    """:func:`fold_batchnorm`; the network itself where it cannot be traced."""
    try:
        return fold_batchnorm(module)
    except Exception:  # tracing runs the network's own code with stand-ins; without it all works, only slower
        return module


def fold_batchnorm(module: nn.Module) -> fx.GraphModule:
    """The same network with each BatchNorm behind a convolution folded into the convolution's weights.

    Args:
        module: In eval mode. It is left as it is, and shares its other layers with the result.

    Raises:
        Exception: Of any kind: tracing runs the network's own code with stand-ins for tensors.
    """
    traced = fx.GraphModule(module, fx.Tracer().trace(module))
    for node in list(traced.graph.nodes):
        if _only_while_training(traced, node):
            _drop(node, node.args[0])
        norm = _layer(traced, node, nn.BatchNorm2d)
        conv = _lone_conv(traced, node.args[0]) if norm else None
        if norm and conv:
            _replace(traced, node.args[0], fuse_conv_bn_eval(conv, norm))
            _drop(node, node.args[0])
    return _finished(traced)


def use_onednn(folded: fx.GraphModule, dtype: torch.dtype) -> fx.GraphModule:
    """Makes each convolution, with the activation behind it, one call of oneDNN.

    That saves a trip of the activations through memory per layer, and weights are packed once instead of in every
    call. ``folded`` itself is changed; it can then be neither moved nor copied.

    Args:
        folded: From :func:`fold_batchnorm`, float32, on the CPU.
        dtype: What to compute in; biases stay float32. Everything but the convolutions is the caller's to cast.

    Raises:
        Exception: This build of torch, or this CPU, cannot do it.
    """
    for node in list(folded.graph.nodes):
        conv = _layer(folded, node, nn.Conv2d)
        if conv is None or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
            continue
        user = next(iter(node.users)) if _lone_conv(folded, node) else None
        activation = _activation(folded, user) if user else None
        _replace(folded, node, OneDnnConv(conv, dtype, *(activation or _NO_ACTIVATION)))
        if user and activation:
            _drop(user, node)
    return _finished(folded)


class OneDnnConv(nn.Module):
    """A convolution and the activation behind it in one call.

    The first call packs the weights in the layout that is fastest for images of that size, so it must not be made by
    two threads at once; all later ones may be.

    Args:
        conv: On the CPU, float32.
        dtype: What to compute in.
        activation: What oneDNN calls it.
        numbers: Of the activation.
    """

    def __init__(
        self, conv: nn.Conv2d, dtype: torch.dtype, activation: str, numbers: Sequence[float]
    ) -> None:
        super().__init__()
        assert not isinstance(conv.padding, str)
        # No parameters: what is packed has no strides, and a float32 bias is to stay float32 beside bf16 weights.
        self._weight, self._packed = conv.weight.detach().to(dtype), False
        self._bias = None if conv.bias is None else conv.bias.detach()
        self._geometry = list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups
        self._activation = activation, numbers, ""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        if not self._packed:
            weight, shape = self._weight.to_mkldnn(), list(x.shape)
            pack: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
            self._weight = pack(weight, *self._geometry, shape)
            self._packed = True
        result: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._weight, self._bias, *self._geometry, *self._activation
        )
        return result


def _activation(traced: fx.GraphModule, node: fx.Node) -> tuple[str, list[float]] | None:
    if node.target is functional.relu:
        return _ACTIVATIONS[nn.ReLU]
    layer = _layer(traced, node, nn.Module)
    return _ACTIVATIONS.get(type(layer)) if layer else None


def _only_while_training(traced: fx.GraphModule, node: fx.Node) -> bool:
    return node.target is stochastic_depth or any(_layer(traced, node, kind) for kind in _ONLY_WHILE_TRAINING)


def _layer(traced: fx.GraphModule, node: fx.Node, kind: type[_Layer]) -> _Layer | None:
    """The layer that a step calls, if it is of exactly that kind or a kind of it."""
    if node.op != "call_module":
        return None
    layer = traced.get_submodule(cast(str, node.target))
    return layer if isinstance(layer, kind) else None


def _lone_conv(traced: fx.GraphModule, node: Argument) -> nn.Conv2d | None:
    """The convolution of a step whose result goes to a single other step."""
    if not isinstance(node, fx.Node) or len(node.users) != 1:
        return None
    return _layer(traced, node, nn.Conv2d)


def _replace(traced: fx.GraphModule, node: Argument, layer: nn.Module) -> None:
    """Lets this step alone call ``layer``; others that call the same layer go on doing so."""
    assert isinstance(node, fx.Node)
    name = f"fused_{node.name}"
    traced.add_submodule(name, layer)
    node.target = name


def _drop(node: fx.Node, instead: Argument) -> None:
    assert isinstance(instead, fx.Node)
    node.replace_all_uses_with(instead)
    node.graph.erase_node(node)


def _finished(traced: fx.GraphModule) -> fx.GraphModule:
    traced.delete_all_unused_submodules()
    traced.graph.lint()
    traced.recompile()
    return traced
