"""ONNX nodes written one after the other, each by the name of its operator. Knows no operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

OPSET = 18  # what torch's exporter writes; every ONNX Runtime since 1.14 reads it


class Steps:
    """A graph under construction; values are named, and :meth:`add` gives the name of what a node makes.

    Args:
        prefix: In front of every name, so that graphs can be joined.

    Attributes:
        nodes: So far, in order.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self._count = 0

    def add(self, operator: str, *inputs: str, outputs: int = 1, name: str = "", **attributes: Any) -> Any:
        """Adds a node; returns the name of its output, or a list of names where there are several."""
        made = [name or self.fresh(operator) for _ in range(outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), made, **attributes))
        return made if outputs > 1 else made[0]

    def constant(self, value: Any, kind: type[np.generic] = np.int64) -> str:
        """A number or a list of numbers that never changes."""
        tensor = numpy_helper.from_array(np.asarray(value, kind))
        return str(self.add("Constant", value=tensor))

    def fresh(self, what: str) -> str:
        """A name that no other value has."""
        self._count += 1
        return f"{self.prefix}{what.lower()}_{self._count}"

    def model(
        self, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]
    ) -> onnx.ModelProto:
        """The graph as a model of its own."""
        graph = helper.make_graph(self.nodes, self.prefix.rstrip("_/"), list(inputs), list(outputs))
        opset = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opset, ir_version=10)
