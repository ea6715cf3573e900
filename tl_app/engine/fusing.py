"""Convolution, BatchNorm and activation as one step, wherever a network does them in a row.

Two rewrites: :func:`fold_batchnorm` for every device, :func:`use_onednn` for CPUs. Knows nothing of photos, of
precision choices or of speed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.ops import stochastic_depth

from tl_app.engine.surgery import (
    NO_ACTIVATION,
    Activation,
    activation_of,
    drop,
    finished,
    layer_of,
    lone_conv,
    replace,
)

_ONLY_WHILE_TRAINING = (nn.Dropout, nn.Identity)


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
            drop(node, node.args[0])
        norm = layer_of(traced, node, nn.BatchNorm2d)
        conv = lone_conv(traced, node.args[0]) if norm else None
        if norm and conv:
            replace(traced, node.args[0], fuse_conv_bn_eval(conv, norm))
            drop(node, node.args[0])
    return finished(traced)


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
        conv = layer_of(folded, node, nn.Conv2d)
        if conv is None or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
            continue
        user = next(iter(node.users)) if lone_conv(folded, node) else None
        activation = activation_of(folded, user) if user else None
        replace(folded, node, OneDnnConv(conv, dtype, activation or NO_ACTIVATION))
        if user and activation:
            drop(user, node)
    return finished(folded)


class OneDnnConv(nn.Module):
    """A convolution and the activation behind it in one call.

    The first call packs the weights in the layout that is fastest for images of that size, so it must not be made by
    two threads at once; all later ones may be. Pooled to a single pixel, as in squeeze-and-excitation, one photo and
    several have layouts of their own, and oneDNN repacks at every call what is not in its own: with AMX such calls
    took 1 to 2 ms instead of 0.05, a fifth of MobileNetV3-small in bf16.

    Args:
        conv: On the CPU, float32.
        dtype: What to compute in.
        activation: As oneDNN calls it.
    """

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype, activation: Activation) -> None:
        super().__init__()
        assert not isinstance(conv.padding, str)
        # No parameters: what is packed has no strides, and a float32 bias is to stay float32 beside bf16 weights.
        self._plain: Tensor | None = conv.weight.detach().to(dtype)  # as long as there may be more to pack
        self._packed: dict[bool, Tensor] = {}  # for a lone pixel, and for all else
        self._bias = None if conv.bias is None else conv.bias.detach()
        self._geometry = list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups
        self._activation = *activation, ""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        result: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._packed_for(x), self._bias, *self._geometry, *self._activation
        )
        return result

    def _packed_for(self, x: Tensor) -> Tensor:
        if self._plain is None:
            return self._packed[False]
        pooled = x.shape[2] == x.shape[3] == 1
        lone = pooled and len(x) == 1
        if lone not in self._packed:
            pack: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
            self._packed[lone] = pack(self._plain.to_mkldnn(), *self._geometry, list(x.shape))
        packed = self._packed[lone]
        if not pooled:  # one layout does for all
            self._plain, self._packed = None, {False: packed}
        return packed


def _only_while_training(traced: fx.GraphModule, node: fx.Node) -> bool:
    return node.target is stochastic_depth or any(
        layer_of(traced, node, kind) for kind in _ONLY_WHILE_TRAINING
    )
