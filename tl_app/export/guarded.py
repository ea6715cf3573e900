"""An ONNX file made by a stranger: read whole, and refused unless it is plainly one of our graphs.

Nothing of it is run here, no path in it is followed, and no code can be in what passes: only operators that ONNX
Runtime has itself and networks for photos need, no loops in loops, no texts, no data outside the file. How much
memory it takes is limited where it is run. Knows nothing of photos.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tl_app.errors import ResourceError, UsageError
from tl_app.export import described
from tl_app.export.contract import KEY, PHOTOS, PROBABILITIES
from tl_app.export.described import Described

if TYPE_CHECKING:
    from onnx import ModelProto

MOST_BYTES = 1500 * 2**20  # the largest network of the catalogue is 1.2 GB
_DOMAINS = ("", "ai.onnx", "com.microsoft")  # what ONNX Runtime brings; others come from libraries
# What our graphs for all networks of the catalogue are made of, and their kin; none handles texts or files.
_OPERATORS = frozenset(
    """
    Abs Add And ArgMax ArgMin AveragePool BatchNormalization BitShift Cast Ceil Celu Clip Concat Constant
    ConstantOfShape Conv ConvInteger ConvTranspose Cos CumSum DepthToSpace DequantizeLinear Div Dropout
    DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand Flatten Floor Gather GatherElements GatherND Gelu Gemm
    GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GroupNormalization HardSigmoid HardSwish Identity If
    InstanceNormalization IsNaN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax Loop LpNormalization
    LRN MatMul MatMulInteger Max MaxPool Mean MeanVarianceNormalization Min Mish Mod Mul Neg NonZero Not OneHot Or
    PRelu Pad Pow QLinearConv QLinearMatMul QuantizeLinear Range Reciprocal ReduceL1 ReduceL2 ReduceMax ReduceMean
    ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize Round Scan ScatterElements ScatterND Selu
    Shape Sigmoid Sign Sin Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tanh Tile
    TopK Transpose Trilu Unsqueeze Where Xor
    """.split()
)
# Weights that many nodes share are copied for each of them when ONNX Runtime makes a graph faster.
_SHARED_BYTES = 64 * 2**20
# Our graphs resize photos in loops, one tap of the filter a turn; whoever runs a graph sets it a time limit.
_LOOPS = ("Loop", "Scan", "SequenceMap")
_WANTED = "Wanted is an ONNX file that tl-app exported: it holds its classes and preprocessing."


@dataclass(frozen=True)
class Graph:
    """A file that has passed every check.

    Attributes:
        content: The file, byte by byte.
        about: What it says of itself.
    """

    content: bytes
    about: Described


def read_onnx(path: Path) -> Graph:
    """Reads and checks an ONNX file.

    Raises:
        UsageError: It is no ONNX file, not one that tl-app exported, or holds something that is not allowed.
        ResourceError: It cannot be read.
    """
    content = _content(path)
    import onnx

    try:
        model = onnx.load_model_from_string(content)  # parses; opens no other file
    except Exception as error:  # protobuf's own error types depend on its version
        raise UsageError(f"{path.name} is no ONNX file, or it is damaged.", _WANTED) from error
    if not model.graph.node:
        raise UsageError(f"{path.name} is no ONNX file, or it is damaged.", _WANTED)
    texts = {each.key: each.value for each in model.metadata_props}
    if KEY not in texts:
        raise UsageError(
            f"{path.name} was not exported by tl-app: it does not say its classes and preprocessing.",
            _WANTED,
            "Export the run again with `tl-app export RUN --to onnx`.",
        )
    about = described.parse(texts[KEY], path.name)
    _check_nodes(model, path.name)
    _check_ends(model, about, path.name)
    return Graph(content, about)


def _content(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise UsageError(
                f"{path.name} has {size / 1e6:,.0f} MB.", f"Allowed: {MOST_BYTES / 1e6:,.0f} MB."
            )
        with open(path, "rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ResourceError(
            f"{path} cannot be read: {error.strerror or error}.", remedy="Check the path."
        ) from error


def _check_nodes(model: ModelProto, name: str) -> None:
    from onnx import TensorProto

    if model.functions or model.training_info:
        _refuse(name, "it defines operators of its own")
    held = named = 0
    sizes: dict[str, int] = {}
    for graph, depth in _graphs(model.graph):
        if graph.sparse_initializer:
            _refuse(name, "it holds sparse weights")
        for tensor in graph.initializer:
            _check_tensor(tensor, name)
            sizes[tensor.name] = tensor.ByteSize()
            held += tensor.ByteSize()
        for node in graph.node:
            named += sum(sizes.get(each, 0) for each in node.input)
            if node.domain not in _DOMAINS or node.op_type not in _OPERATORS:
                _refuse(name, f"it needs the operator {node.domain[:40]}.{node.op_type[:40]}")
            if depth and node.op_type in _LOOPS:
                _refuse(name, "it holds a loop in a loop, which could run for ever")
            for attribute in node.attribute:
                for tensor in (attribute.t, *attribute.tensors):
                    _check_tensor(tensor, name)
                if attribute.s and node.op_type == "Constant" or attribute.strings:
                    _refuse(name, "it handles texts")
                if attribute.name == "to" and attribute.i == TensorProto.STRING:
                    _refuse(name, "it handles texts")
    if named > 2 * held + _SHARED_BYTES:
        _refuse(name, "very many of its nodes share weights")


def _graphs(graph: Any, depth: int = 0) -> Iterator[tuple[Any, int]]:
    """A graph and those inside its nodes, with how deep; protobuf itself refuses more than 100 levels."""
    yield graph, depth
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                yield from _graphs(inner, depth + 1)


def _check_tensor(tensor: Any, name: str) -> None:
    if tensor.string_data:
        _refuse(name, "it handles texts")
    if tensor.external_data or tensor.data_location:
        _refuse(name, "its weights are in another file")


def _check_ends(model: ModelProto, about: Described, name: str) -> None:
    """Input ``photos``, uint8 (N, H, W, 3); output ``probabilities``, float32 (N, classes)."""
    from onnx import TensorProto

    constant = {tensor.name for tensor in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in constant]
    for ends, wanted, kind, shape in (
        (inputs, PHOTOS, TensorProto.UINT8, (None, None, None, 3)),
        (list(model.graph.output), PROBABILITIES, TensorProto.FLOAT, (None, len(about.classes))),
    ):
        if [each.name for each in ends] != [wanted]:
            _refuse(name, f"wanted is one '{wanted}', and it has {[each.name[:40] for each in ends][:5]}")
        tensor = ends[0].type.tensor_type
        sides = [each.dim_value if each.HasField("dim_value") else None for each in tensor.shape.dim]
        fits = len(sides) == len(shape) and all(
            side in (None, asked) for side, asked in zip(sides, shape, strict=True) if asked is not None
        )
        if tensor.elem_type != kind or not fits:
            _refuse(name, f"its '{wanted}' has another type or shape than its description says")


def _refuse(name: str, why: str) -> NoReturn:
    raise UsageError(
        f"{name} is not opened: {why}.", _WANTED, "Export it again, or ask whoever sent it for such a file."
    )
