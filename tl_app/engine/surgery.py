"""The steps of a traced network: looked at, given another layer, dropped. Knows nothing of what for."""

from __future__ import annotations

import copy
from typing import TypeVar, cast

from torch import fx, nn
from torch.fx.node import Argument
from torch.nn import functional

Activation = tuple[str, list[float]]  # as oneDNN calls it, and its numbers
_Layer = TypeVar("_Layer", bound=nn.Module)
_Network = TypeVar("_Network", bound=nn.Module)

NO_ACTIVATION: Activation = ("none", [])
# Those that oneDNN can append to a convolution.
_ACTIVATIONS: dict[type[nn.Module], Activation] = {
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
    nn.Hardswish: ("hardswish", []),
    nn.Hardsigmoid: ("hardsigmoid", []),
    nn.SiLU: ("swish", []),
    nn.Sigmoid: ("sigmoid", []),
}


def layer_of(traced: fx.GraphModule, node: fx.Node, kind: type[_Layer]) -> _Layer | None:
    """The layer that a step calls, if it is of exactly that kind or a kind of it."""
    if node.op != "call_module":
        return None
    layer = traced.get_submodule(cast(str, node.target))
    return layer if isinstance(layer, kind) else None


def lone_conv(traced: fx.GraphModule, node: Argument) -> nn.Conv2d | None:
    """The convolution of a step whose result goes to a single other step."""
    if not isinstance(node, fx.Node) or len(node.users) != 1:
        return None
    return layer_of(traced, node, nn.Conv2d)


def activation_of(traced: fx.GraphModule, node: fx.Node) -> Activation | None:
    """What a step does, if it is an activation that oneDNN knows."""
    if node.target is functional.relu:
        return _ACTIVATIONS[nn.ReLU]
    layer = layer_of(traced, node, nn.Module)
    return _ACTIVATIONS.get(type(layer)) if layer else None


def replace(traced: fx.GraphModule, node: Argument, layer: nn.Module) -> None:
    """Lets this step alone call ``layer``; others that call the same layer go on doing so."""
    assert isinstance(node, fx.Node)
    name = f"fused_{node.name}"
    traced.add_submodule(name, layer)
    node.target = name


def drop(node: fx.Node, instead: Argument) -> None:
    """Takes a step out; whoever uses its result uses that of another one."""
    assert isinstance(instead, fx.Node)
    node.replace_all_uses_with(instead)
    node.graph.erase_node(node)


def copied(network: _Network) -> _Network:
    """A copy whose layers can be replaced; its weights are those of ``network``, and not to be written into."""
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    return copy.deepcopy(network, shared)


def finished(traced: fx.GraphModule) -> fx.GraphModule:
    """The network with its steps as they are now."""
    traced.delete_all_unused_submodules()
    traced.graph.lint()
    traced.recompile()
    return traced
