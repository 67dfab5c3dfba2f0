"""A shadow: the part of an int8 trunk that makes a map, once more, where the map itself cannot be read.

On x86 ONNX Runtime turns int8 activations to uint8, for which it has the faster kernels, but only a QuantizeLinear
with a single reader. Any reader of ours, of the integers or of the floats behind them, leaves the vendor's next
operator with other integers, and so with another kernel that rounds and saturates otherwise. So nothing of ours reads
there: the part from the nearest anchor on is repeated, with the pairs spelled in uint8 as the runtime would turn them.
An anchor is an input of the graph, or a tensor whose QuantizeLinear has several readers, which is not turned anyway.

Weights are the vendor's, through a Reshape that the runtime folds to a copy in memory: the file grows by nodes alone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.graph.subgraphs import bodies
from onnx_gapmil.rewriting.attachment.fences import fence

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifting import Lifting

_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
#: Constants of so few integers are copied.
_SMALL = 16
#: From int8 to uint8 integers and zero points move by this; what they stand for stays.
_TURN = 128


class Shadow:
    """Repeats parts of an int8 trunk, each once.

    Attributes:
        nodes: how many of the vendor's nodes were repeated.
    """

    def __init__(self, walk: Lifting) -> None:
        self.nodes = 0
        self._walk = walk
        self._build = walk.build
        self._outputs = {value.name for value in walk.graph.outputs}
        self._made: dict[str, str] = {}

    def value(self, tensor: str) -> str:
        """The same tensor in the shadow; itself where it is no tensor behind int8 activations."""
        part = self._part(tensor)
        # Operators on integers (QLinearConv) are what the runtime makes of pairs; it turns none that they read.
        if not any(self._is_int8(node) for node in part) or any(self._is_fused(node) for node in part):
            return tensor
        for node in part:
            self._repeat(node)
        return self._own(tensor)

    def _part(self, tensor: str) -> list[gs.Node]:
        """The vendor's nodes between a tensor and its anchors, the anchors' own DequantizeLinear included, in order."""
        graph, found = self._walk.graph, set[int]()
        pending = [tensor]
        while pending:
            node = graph.producer(pending.pop())
            if node is None or id(node) in found or any(True for _ in bodies(graph.node_proto(node))):
                continue
            found.add(id(node))
            if not self._is_anchor(node):
                pending += [str(read.name) for read in node.inputs if read.name and not self._is_constant(read.name)]
        return [node for node in graph.nodes if id(node) in found]

    def _is_constant(self, name: str) -> bool:
        return self._walk.is_fixed(name)

    def _is_int8(self, node: gs.Node) -> bool:
        zero = str(node.inputs[2].name) if len(node.inputs) > 2 else ""
        value = self._walk.value(zero) if zero else None
        return node.op in (_QUANTIZE, _DEQUANTIZE) and value is not None and value.dtype == np.int8

    def _is_fused(self, node: gs.Node) -> bool:
        readers = self._walk.graph.consumers.get(str(node.outputs[0].name), [])
        return node.op == _QUANTIZE and any(reader.op != _DEQUANTIZE for reader in readers)

    def _is_anchor(self, node: gs.Node) -> bool:
        """Whether a DequantizeLinear of activations is read as it is: its integers stay what they are."""
        if node.op != _DEQUANTIZE:
            return False
        if not self._is_int8(node):
            return True
        integers = str(node.inputs[0].name)
        readers = self._walk.graph.consumers.get(integers, [])
        count: int = sum(self._readers(str(reader.outputs[0].name)) for reader in readers if reader.op == _DEQUANTIZE)
        count += sum(reader.op != _DEQUANTIZE for reader in readers) + (integers in self._outputs)
        return count > 1

    def _readers(self, name: str) -> int:
        return len(self._walk.graph.consumers.get(name, [])) + (name in self._outputs)

    def _repeat(self, node: gs.Node) -> None:
        outputs = [str(out.name) for out in node.outputs]
        if outputs[0] in self._made:
            return
        build = self._build
        if self._is_anchor(node):
            # A pair of our own, so that what is repeated behind it is not merged with what stands there.
            made = [self._pair(node, outputs[0]) if self._is_int8(node) else outputs[0]]
        elif node.op in (_QUANTIZE, _DEQUANTIZE) and self._is_int8(node):
            inputs = [self._own(str(node.inputs[0].name)), str(node.inputs[1].name), self._turned(node)]
            made = build.repeat(node, inputs)
        else:
            made = build.repeat(node, [self._read(str(read.name)) for read in node.inputs])
        self._made |= {name: own for name, own in zip(outputs, made, strict=True) if name}
        self.nodes += 1

    def _pair(self, node: gs.Node, tensor: str) -> str:
        build, scale, zero = self._build, str(node.inputs[1].name), self._turned(node)
        return build.node(_DEQUANTIZE, [build.node(_QUANTIZE, [tensor, scale, zero]), scale, zero])

    def _turned(self, node: gs.Node) -> str:
        value = self._walk.value(str(node.inputs[2].name))
        assert value is not None  # noqa: S101 - asked only of int8 zero points
        return self._build.constant((value.astype(np.int16) + _TURN).astype(np.uint8))

    def _own(self, name: str) -> str:
        return self._made.get(name, name)

    def _read(self, name: str) -> str:
        """What a repeated operator reads: the shadow's, a weight, or the vendor's own behind a fence."""
        if not name or name in self._made:
            return self._own(name)
        if self._is_constant(name):
            return self._weight(name)
        return fence(self._build, name, len(self._walk.shape(name)))

    def _weight(self, name: str) -> str:
        """A constant; integers behind a DequantizeLinear are shared through a Reshape."""
        node = self._walk.graph.producer(name)
        if node is None or node.op != _DEQUANTIZE:
            return name
        if name not in self._made:
            integers, scale, *zero = (str(read.name) for read in node.inputs)
            inputs = [self._copied(integers), scale, *(self._copied(read) for read in zero)]
            self._made[name] = self._build.repeat(node, inputs)[0]
        return self._made[name]

    def _copied(self, name: str) -> str:
        """A constant of integers that no DequantizeLinear of the vendor's reads."""
        shape = self._walk.shape(name) if name else ()
        if name and math.prod(shape) > _SMALL:
            return self._build.reshape(name, list(shape))
        value = self._walk.value(name) if name else None
        return name if value is None else self._build.constant(value, shared=False)
