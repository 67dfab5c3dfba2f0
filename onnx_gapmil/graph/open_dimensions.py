"""What is computed from shapes and comes out alike at every shape that the inputs allow.

PyTorch's legacy exporter asks for sizes at run time (a squeeze of an axis whose length it does not know is an If on
``Shape``), and so do models that are made for several sizes. Where the dimensions that are asked for are fixed, the
answer is too.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import onnx

from onnx_gapmil.errors import GapmilError
from onnx_gapmil.graph.light import light_copy
from onnx_gapmil.ort.cpu import evaluate

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.graph.trace import Trace
    from onnx_gapmil.graph.view import ModelGraph

#: Operators that only move or choose elements; of their inputs the first is what is moved, of Concat all are.
_MOVERS = frozenset({"Concat", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Unsqueeze"})
#: Operators that keep each element in its place.
_KEEPERS = frozenset({"Cast", "Neg", "Abs", "Not", "Floor", "Ceil"})


class OpenDimensions:
    """Tells what open dimensions of the inputs decide."""

    def __init__(self, graph: ModelGraph, trace: Trace) -> None:
        self._graph = graph
        self._trace = trace
        self._open: dict[str, np.ndarray | None] = {}

    def value(self, name: str) -> np.ndarray | None:
        """The value of a tensor that is a constant, or computed from dimensions that are fixed; None for others."""
        if name not in self._graph.shape_computed or name not in self._trace.values:
            return self._graph.value(name)
        return None if self.decide(name) else self._trace.values[name]

    def decide(self, name: str) -> bool:
        """Whether open dimensions decide, or may decide, what a tensor that is computed from shapes holds."""
        if not any(isinstance(dim, str) or dim is None for entry in self._trace.inputs for dim in entry.declared):
            return False
        mask = self._mask(name)
        return mask is None or bool(mask.any())

    def _mask(self, name: str) -> np.ndarray | None:
        """For each element whether open dimensions decide it, int64 of 0 and 1; None where that is not known."""
        if name not in self._open:
            self._open[name] = None  # a cycle is none that is known
            self._open[name] = self._made(name)
        return self._open[name]

    def _made(self, name: str) -> np.ndarray | None:
        node, value = self._graph.producer(name), self._trace.values.get(name)
        if name in self._graph.constants:
            known = self._graph.value(name)
            return None if known is None else np.zeros(known.shape, np.int64)
        if node is None or value is None:
            return None
        if node.op == "Shape":
            start, end = node.attrs.get("start"), node.attrs.get("end")
            dims = self._dims.get(str(node.inputs[0].name))
            return None if dims is None else np.array([dim is None for dim in dims], np.int64)[start:end]
        masks = [self._mask(str(read.name)) if read.name else np.zeros(0, np.int64) for read in node.inputs]
        if any(mask is None for mask in masks):
            return None
        if node.op in _KEEPERS:
            return masks[0]
        if node.op in _MOVERS and not any(mask.any() for mask in masks[1:] if mask is not None and node.op != "Concat"):
            return self._moved(node, masks)
        touched = any(mask.any() for mask in masks if mask is not None)
        return np.full(value.shape, int(touched), np.int64)

    def _moved(self, node: gs.Node, masks: list[np.ndarray | None]) -> np.ndarray | None:
        """A mover done to masks, by the runtime's own semantics."""
        data = len(node.inputs) if node.op == "Concat" else 1
        feeds = {}
        for place, (read, mask) in enumerate(zip(node.inputs, masks, strict=True)):
            held = mask if place < data else self.value(str(read.name))
            if read.name and held is not None:
                feeds[str(read.name)] = held
            elif read.name:
                return None
        try:
            found = evaluate(
                [self._graph.node_proto(node)], feeds, [str(node.outputs[0].name)], self._graph.proto.opset_import
            )
        except GapmilError:
            return None
        return np.asarray(found[0], np.int64)

    @cached_property
    def _dims(self) -> dict[str, list[int | None]]:
        """By tensor its dimensions as ONNX's own inference finds them for the declared inputs; None for open ones."""
        proto = onnx.ModelProto()
        proto.CopyFrom(light_copy(self._graph.proto)[0])
        del proto.graph.value_info[:]  # what a file says of its tensors may be wrong
        try:
            graph = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
        except Exception:  # noqa: BLE001 - inference is a help, and whatever it stumbles over leaves all open
            graph = proto.graph
        found = {tensor.name: list(tensor.dims) for tensor in self._graph.weights}
        known: dict[str, list[int | None]] = {name: list(dims) for name, dims in found.items()}
        for value in (*graph.input, *graph.value_info):
            kind = value.type.tensor_type
            if kind.HasField("shape"):
                known[value.name] = [dim.dim_value if dim.dim_value > 0 else None for dim in kind.shape.dim]
        return known
