"""`Scene`: what the rules of the pass may ask about the graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.graph.open_dimensions import OpenDimensions
from onnx_gapmil.ort.cpu import evaluate

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_graphsurgeon as gs

    from onnx_gapmil.graph.trace import Trace
    from onnx_gapmil.graph.view import ModelGraph
    from onnx_gapmil.lift.coordinates.looks import Looks

    #: From a node and what its inputs see to what its outputs see, in their order; outputs left out are not followed.
    Rule = Callable[[gs.Node, list[Looks], "Scene"], list[Looks]]

#: Weights with more elements are not read for the place that a kernel prefers.
_MAX_READ = 1 << 22


class Scene:
    """A graph and its trace."""

    def __init__(self, graph: ModelGraph, trace: Trace) -> None:
        self.graph = graph
        self.trace = trace
        self._open = OpenDimensions(graph, trace)

    def shape(self, tensor: str) -> tuple[int, ...] | None:
        """Traced shape; None if it was not measured."""
        return self.trace.shapes.get(tensor)

    def out_shape(self, node: gs.Node, place: int = 0) -> tuple[int, ...]:
        """Traced shape of one of a node's outputs."""
        return self.trace.shapes[node.outputs[place].name]

    def is_fixed(self, tensor: str) -> bool:
        """Whether a tensor is the same for all images of one size."""
        return not tensor or tensor in self.graph.constants or tensor in self.graph.shape_computed

    def value(self, tensor: str) -> np.ndarray | None:
        """Value of a fixed tensor in the trace."""
        if tensor in self.trace.values:
            return self.trace.values[tensor]
        return self.graph.value(tensor)

    def size_decides(self, tensor: str) -> bool:
        """Whether a fixed tensor may hold something else at another size, or batch, that the file leaves open."""
        return bool(tensor) and tensor not in self.graph.constants and self._open.decide(tensor)

    def input_value(self, node: gs.Node, place: int) -> np.ndarray | None:
        """Value of one of a node's inputs; None where it has none, or an unfixed one."""
        name = node.inputs[place].name if place < len(node.inputs) else ""
        return self.value(name) if name else None

    def numbers(self, node: gs.Node, attribute: str, place: int) -> list[int] | None:
        """Integers that older operator sets have as an attribute and newer ones as an input."""
        if attribute in node.attrs:
            given = node.attrs[attribute]
            return [int(entry) for entry in (given if isinstance(given, (list, tuple)) else [given])]
        value = self.input_value(node, place)
        return None if value is None else [int(entry) for entry in np.ravel(value)]

    def weights(self, tensor: str) -> np.ndarray | None:
        """Weights that are small enough to be read."""
        shape = self.shape(tensor)
        if not tensor or shape is None or tensor not in self.graph.constants or np.prod(shape) > _MAX_READ:
            return None
        return self.value(tensor)

    def run(self, node: gs.Node, feeds: dict[str, np.ndarray]) -> np.ndarray:
        """The first output of a node alone, by the runtime's own semantics; fixed inputs at their traced values."""
        proto = self.graph.node_proto(node)
        values = dict(feeds)
        for name in proto.input:
            if name and name not in values:
                value = self.value(name)
                if value is None:
                    raise LookupError(f"its input '{name}' is not fixed")
                values[name] = value
        outputs = [name for name in proto.output if name]
        return evaluate([proto], values, outputs[:1], self.graph.proto.opset_import)[0]
