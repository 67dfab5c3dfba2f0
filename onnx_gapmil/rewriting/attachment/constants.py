"""The vendor's constants as new nodes may read them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.lifted import elem_type

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifting import Lifting

_DEQUANTIZE = "DequantizeLinear"
#: Constants made by more nodes than these are read as they are.
_MOST_NODES = 64


class Constants:
    """Gives for each constant a tensor that is read without touching how the runtime treats the vendor's readers."""

    def __init__(self, walk: Lifting) -> None:
        self._walk = walk
        self._build = walk.build
        self._safe: dict[str, str] = {}

    def safe(self, name: str) -> str:
        """The tensor to read in place of a constant; itself where nothing is to be feared."""
        if name not in self._safe:
            self._safe[name] = self._make(name)
        return self._safe[name]

    def _make(self, name: str) -> str:
        graph = self._walk.graph
        tensor, node = graph.initializer(name), graph.producer(name)
        if tensor is not None:
            # ONNX Runtime casts fp16 on a CPU; the Cast of a weight is folded only if one kind of reader has it.
            shared = tensor.data_type == elem_type(np.dtype(np.float16))
            return self._build.reshape(name, list(tensor.dims)) if shared else name
        if node is None or name not in graph.constants or not self._is_dequantized(name):
            return name
        if node.op == _DEQUANTIZE:
            return self._integers(node, name)
        # A weight that is transposed or reshaped after it was dequantized.
        inputs = [self.safe(str(tensor.name)) if tensor.name else "" for tensor in node.inputs]
        made = self._build.repeat(node, inputs)
        return made[[out.name for out in node.outputs].index(name)]

    def _is_dequantized(self, name: str) -> bool:
        """Whether a DequantizeLinear takes part in a constant, within as many nodes as weights are made by."""
        pending, seen, found = [name], set[str](), False
        while pending:
            current = pending.pop()
            node = self._walk.graph.producer(current)
            if current in seen or node is None:
                continue
            seen.add(current)
            found = found or node.op == _DEQUANTIZE
            pending += [str(read.name) for read in node.inputs if read.name]
            if len(seen) > _MOST_NODES:
                return False
        return found

    def _integers(self, node: gs.Node, name: str) -> str:
        """``(q - z) * s`` spelled Cast, Sub, Mul."""
        data, scale, *rest = (str(tensor.name) for tensor in node.inputs)
        shapes, build = self._walk.trace.shapes, self._build
        if node.attrs.get("block_size") or data not in shapes or scale not in shapes:
            return name
        rank, count = len(shapes[data]), math.prod(shapes[scale])
        kind = elem_type(self._walk.dtype(name, np.dtype(np.float32)))
        # One scale for each slice along an axis, or one for all; the axis is 1 where it is not said.
        along = [1] * rank
        if rank and count != 1:
            along[int(node.attrs.get("axis", 1)) % rank] = count

        def lying(tensor: str) -> str:
            return build.reshape(tensor, along) if count != 1 or len(shapes[scale]) > rank else tensor

        value = build.node("Cast", [data], to=kind)
        if rest and rest[0]:
            value = build.node("Sub", [value, lying(build.node("Cast", [rest[0]], to=kind))])
        return build.node("Mul", [value, lying(self.safe(scale))])
