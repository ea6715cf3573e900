"""A network of dense convolutions in 8-bit whole numbers, for CPUs that multiply those twice as fast as bf16.

Photos go in as they are. Activations are uint8 from one convolution to the next, with one scale a tensor, fitted to
what some photos give; weights are int8 with one scale a channel; what no convolution takes is float32. The bias of
each convolution takes back what rounding moves the means of its channels by, as in :mod:`tl_app.engine.rounding`.

Source: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference" (arXiv:1712.05877), with the bias correction of Nagel et al. 2019 (arXiv:1906.04721), section 4.2. The
convolutions are those of oneDNN that ``torch.compile`` calls for quantised networks. Knows nothing of speed or files.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.fx.node import Argument

from tl_app.data.preprocessing import Preprocessing
from tl_app.engine.surgery import NO_ACTIVATION, activation_of, drop, finished, layer_of, lone_conv, replace

_LEVELS = 255  # from the least to the largest value
_ACTIVATIONS = ("relu", "hardtanh", "hardswish", "swish")  # that these convolutions can have behind them
_SUMS = (operator.add, operator.iadd, torch.add)


class Scale(NamedTuple):
    """What a whole number q of 0 to 255 stands for: ``step * (q - zero)``."""

    step: float
    zero: int

    @classmethod
    def of(cls, values: Tensor) -> Scale:
        """From the least to the largest of some values; 0 is always one of those that are exact."""
        low, high = min(0.0, values.min().item()), max(0.0, values.max().item())
        step = max((high - low) / _LEVELS, 1e-12)
        return cls(step, round(-low / step))


def suits(network: nn.Module) -> bool:
    """Whether a network consists of dense convolutions in the main, for which whole numbers pay.

    One that lays maps side by side loses on the way into and out of whole numbers what it gains: on two cores with
    VNNI and bf16 units, densenet121 took 20 ms a photo against bf16's 18, squeezenet1_1 2.8 against 2.2; resnet18 took
    4.3 against 8.4, resnet50 10.5 against 20, vgg16 37 against 68.
    """
    if not isinstance(network, fx.GraphModule) or any(
        node.target is torch.cat for node in network.graph.nodes
    ):
        return False
    convs = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    others = sum(isinstance(layer, nn.Linear) for layer in network.modules())
    return len(convs) > others and all(map(_is_dense, convs))


def in_eight_bits(network: fx.GraphModule, preprocessing: Preprocessing, photos: Tensor) -> fx.GraphModule:
    """Computes a network's convolutions in 8 bits, with the normalisation of photos in the first of them.

    Args:
        network: That :func:`suits`, from :func:`tl_app.engine.fusing.fold_batchnorm`, float32, on the CPU. It is
            changed, and shares its other layers with what it was copied from.
        preprocessing: What is folded in.
        photos: Uint8 (B, 3, S, S), with more contrast than most, as scales are fitted to them.

    Returns:
        The network: from uint8 photos (B, 3, S, S), which are not written into, to float32. It can be neither moved
        nor copied.

    Raises:
        RuntimeError: The network begins with something else than a convolution, or this CPU cannot do it.
        AttributeError: This build of torch cannot.
    """
    whole = {_take_photos(network, preprocessing)}
    seen = _Seen(network, whole)
    with torch.inference_mode():
        seen.run(photos)
    _fuse_activations(network, seen)
    _fuse_sums(network, seen)
    _pass_on(network, seen, whole)
    _convert(network, seen, whole)
    return finished(network)


class EightBitConv(nn.Module):
    """A convolution of whole numbers with the sum and the activation behind it; several threads may call it.

    Args:
        conv: On the CPU, float32.
        taken: The scale of what goes in.
        sample: Some of it, float32 (B, C, H, W).
        expected: What ``conv`` makes of that, (B, C', H', W').

    Attributes:
        made: The scale of what comes out; None for float32.
        under: The scale of what it is added to; None where it is not.
        activation: What comes last.
    """

    def __init__(self, conv: nn.Conv2d, taken: Scale, sample: Tensor, expected: Tensor) -> None:
        super().__init__()
        self.made: Scale | None = None
        self.under: Scale | None = None
        self.activation = NO_ACTIVATION
        weight, self._taken = conv.weight.detach(), taken
        self._steps = (weight.abs().amax((1, 2, 3)) / 127).clamp_min(1e-12)  # (C',)
        whole = (weight / self._steps[:, None, None, None]).round_()
        assert not isinstance(conv.padding, str)
        self._geometry = list(conv.stride), list(conv.padding), list(conv.dilation), conv.groups
        self._weight = _onednn().qconv_prepack(
            whole.to(torch.int8), self._steps, *taken, *self._geometry, list(sample.shape)
        )
        self._zeros = torch.zeros(len(self._steps), dtype=torch.int32)
        self._bias = torch.zeros(len(self._steps))
        lossy = self(_whole(sample, *taken))
        self._bias = (expected - lossy).mean((0, 2, 3))  # its own with what rounding would shift

    def forward(self, x: Tensor, under: Tensor | None = None) -> Tensor:
        """Uint8 (B, C, H, W) -> (B, C', H', W'), written over ``under`` where it is added to that."""
        conv = (x, *self._taken, self._weight, self._steps, self._zeros)
        scale, dtype = (self.made, torch.uint8) if self.made is not None else (Scale(1.0, 0), torch.float32)
        made = (self._bias, *self._geometry, *scale, dtype)
        name, numbers = self.activation
        if under is None:
            result: Tensor = _onednn().qconv2d_pointwise(*conv, *made, name, numbers, "")
            return result
        assert self.under is not None
        added = (*self.under, "sum", 1.0)
        result = _onednn().qconv2d_pointwise.binary(*conv, under, *made, *added, name, numbers, "")
        return result


def _onednn() -> Any:
    return torch.ops.onednn


def _is_dense(conv: nn.Conv2d) -> bool:
    return conv.groups == 1 and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)


def _take_photos(network: fx.GraphModule, preprocessing: Preprocessing) -> fx.Node:
    """Lets the first convolution take photos as they are; returns the step that gives them to it.

    What is padded with zeros after normalisation is padded with the mean colour before it.
    """
    (photos,) = (node for node in network.graph.nodes if node.op == "placeholder")
    first = next(iter(photos.users)) if len(photos.users) == 1 else None
    conv = layer_of(network, first, nn.Conv2d) if first is not None else None
    if first is None or conv is None or conv.in_channels != len(preprocessing.mean):
        raise RuntimeError("the network does not begin with a convolution")
    mean, std = (255 * torch.tensor(each)[:, None, None] for each in (preprocessing.mean, preprocessing.std))
    own, (rows, columns) = copy.copy(conv), _pair(conv.padding)
    own._parameters = dict(conv._parameters)
    own.padding = (0, 0)
    own.weight = nn.Parameter(conv.weight.detach() / std, requires_grad=False)
    shift = (own.weight * mean).sum((1, 2, 3))
    own.bias = nn.Parameter((0 if conv.bias is None else conv.bias.detach()) - shift, requires_grad=False)
    replace(network, first, own)
    colours = mean.round().flatten().to(torch.uint8).tolist()
    with network.graph.inserting_after(photos):
        padded = network.graph.call_function(_padded, (photos, rows, columns, colours))
    first.args = (padded,)
    return padded


class _Seen(fx.Interpreter):
    """Runs a network on photos: the scale of each step's result, and each convolution in 8 bits.

    Args:
        network: On photos as they are.
        whole: Steps whose results are whole numbers of 0 to 255 anyway.
    """

    def __init__(self, network: fx.GraphModule, whole: set[fx.Node]) -> None:
        super().__init__(network)
        self.network, self._whole = network, whole
        self.scales: dict[fx.Node, Scale] = {}
        self.convs: dict[fx.Node, EightBitConv] = {}

    def run_node(self, n: fx.Node) -> Any:
        """One step."""
        result = super().run_node(n)
        if n in self._whole:
            self.scales[n] = Scale(1.0, 0)
            return result.float()
        source = n.args[0] if n.args else None
        if isinstance(source, fx.Node) and layer_of(self.network, n, nn.MaxPool2d):
            self.scales[n] = self.scales[source]  # the largest of some numbers is one of them
        elif isinstance(result, Tensor) and n.op != "placeholder":
            self.scales[n] = Scale.of(result)
        conv = layer_of(self.network, n, nn.Conv2d)
        if conv is not None and isinstance(source, fx.Node):
            self.convs[n] = EightBitConv(conv, self.scales[source], self.env[source], result)
        return result


def _fuse_activations(network: fx.GraphModule, seen: _Seen) -> None:
    for node, layer in seen.convs.items():
        alone = lone_conv(network, node) is not None
        replace(network, node, layer)
        if alone:
            _fuse_activation(network, seen, node, next(iter(node.users)))


def _fuse_activation(network: fx.GraphModule, seen: _Seen, node: fx.Node, user: fx.Node) -> None:
    activation = activation_of(network, user)
    if activation is not None and activation[0] in _ACTIVATIONS:
        seen.convs[node].activation, seen.scales[node] = activation, seen.scales[user]
        drop(user, node)


def _fuse_sums(network: fx.GraphModule, seen: _Seen) -> None:
    """Lets the later of two convolutions write its result, and the activation behind their sum, over the other's."""
    order = {node: number for number, node in enumerate(network.graph.nodes)}
    for node in list(network.graph.nodes):
        if node.target not in _SUMS or node.kwargs or len(node.args) != 2:
            continue
        for conv, under in (node.args, node.args[::-1]):
            if _can_add(network, seen, order, conv, under):
                seen.convs[conv].under, seen.scales[conv] = seen.scales[under], seen.scales[node]
                conv.args = (*conv.args, under)
                drop(node, conv)
                if len(conv.users) == 1:
                    _fuse_activation(network, seen, conv, next(iter(conv.users)))
                break


def _can_add(
    network: fx.GraphModule, seen: _Seen, order: dict[fx.Node, int], conv: Argument, under: Argument
) -> bool:
    """Whether a convolution can be added to whole numbers that nobody needs afterwards."""
    if not (isinstance(conv, fx.Node) and isinstance(under, fx.Node) and conv in seen.convs):
        return False
    layer, pool = seen.convs[conv], layer_of(network, under, nn.MaxPool2d)
    is_whole = under in seen.convs or (pool is not None and under.args[0] in seen.convs)
    is_last = all(
        order[user] < order[conv] for user in under.users if len(conv.users) == 1 and user not in conv.users
    )
    return (
        is_whole
        and is_last
        and len(conv.users) == len(conv.args) == 1
        and layer.activation == NO_ACTIVATION
        and conv.args[0] is not under
        and order[under] < order[conv]
    )


def _pass_on(network: fx.GraphModule, seen: _Seen, whole: set[fx.Node]) -> None:
    """Lets convolutions, and pools between them, give whole numbers where another convolution takes them."""
    for node in list(network.graph.nodes):
        layer, pool = seen.convs.get(node), layer_of(network, node, nn.MaxPool2d)
        if layer is not None and (layer.under or any(_takes(network, seen, user) for user in node.users)):
            layer.made = seen.scales[node]
            whole.add(node)
        elif pool is not None and node.args[0] in whole and _takes(network, seen, node):
            node.op, node.target = "call_function", _pooled
            node.args = (node.args[0], *map(_pair, (pool.kernel_size, pool.stride, pool.padding)))
            node.kwargs = {}
            whole.add(node)


def _takes(network: fx.GraphModule, seen: _Seen, node: fx.Node) -> bool:
    """Whether a step can be given whole numbers, and hands them on to a convolution if it is none."""
    pool = layer_of(network, node, nn.MaxPool2d)
    if pool is None:
        return node in seen.convs
    plain = not pool.ceil_mode and not pool.return_indices and _pair(pool.dilation) == (1, 1)
    return plain and any(_takes(network, seen, user) for user in node.users)


def _convert(network: fx.GraphModule, seen: _Seen, whole: set[fx.Node]) -> None:
    """Rounds what convolutions are given in float32, and gives all other steps float32."""
    for node in list(network.graph.nodes):
        takers = {user for user in node.users if user in seen.convs or user.target is _pooled}
        convert, users = (_floats, node.users.keys() - takers) if node in whole else (_whole, takers)
        if users:
            _insert(network, node, users, convert, seen.scales.get(node, Scale(1.0, 0)))


def _insert(
    network: fx.GraphModule, node: fx.Node, users: set[fx.Node], convert: Callable[..., Tensor], scale: Scale
) -> None:
    with network.graph.inserting_after(node):
        made = network.graph.call_function(convert, (node, *scale))
    for user in users:
        user.replace_input_with(node, made)


def _whole(values: Tensor, step: float, zero: int) -> Tensor:
    """Float32 as whole numbers, uint8."""
    return values.mul(1 / step).add_(zero).round_().clamp_(0, _LEVELS).to(torch.uint8)


def _floats(whole: Tensor, step: float, zero: int) -> Tensor:
    """What whole numbers stand for, float32."""
    return whole.float().sub_(zero).mul_(step)


def _padded(photos: Tensor, rows: int, columns: int, colours: list[int]) -> Tensor:
    """Photos (B, 3, H, W), channels last, with so many lines of a colour on each side."""
    count, channels, height, width = photos.shape
    made = photos.new_empty(count, height + 2 * rows, width + 2 * columns, channels)
    colour = torch.tensor(colours, dtype=photos.dtype)
    # Only what is around: filling all of it with three numbers in turn takes a fiftieth of ResNet-18's time.
    for axis, lines in ((1, rows), (2, columns)):
        for start in (0, made.shape[axis] - lines):
            made.narrow(axis, start, lines)[:] = colour
    made[:, rows : rows + height, columns : columns + width] = photos.permute(0, 2, 3, 1)
    return made.permute(0, 3, 1, 2)


def _pooled(
    whole: Tensor, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """The largest numbers of windows, as ``nn.MaxPool2d`` for uint8, which torch has none for; channels last."""
    rows = whole.permute(0, 2, 3, 1)  # (B, H, W, C)
    for axis in (0, 1):
        rows = _largest(rows, axis + 1, kernel[axis], stride[axis], padding[axis])
    return rows.permute(0, 3, 1, 2)


def _largest(rows: Tensor, axis: int, kernel: int, stride: int, padding: int) -> Tensor:
    """Of windows along one axis: number ``i`` begins at ``i * stride - padding``."""
    length, shape = rows.shape[axis], list(rows.shape)
    shape[axis] = windows = (length + 2 * padding - kernel) // stride + 1
    best = rows.new_zeros(shape)
    for place in range(kernel):
        # The windows in which this place is not beyond an edge, where nothing is smaller than the zeros above.
        first = max(0, -((place - padding) // stride))
        last = min(windows, (length - 1 - place + padding) // stride + 1)
        start = first * stride + place - padding
        found = rows.narrow(axis, start, 1 + (last - first - 1) * stride)
        part = best.narrow(axis, first, last - first)
        torch.maximum(part, found[(slice(None),) * axis + (slice(None, None, stride),)], out=part)
    return best


def _pair(sides: int | str | tuple[int, ...]) -> tuple[int, int]:
    assert not isinstance(sides, str)
    return (sides, sides) if isinstance(sides, int) else (sides[0], sides[1])
