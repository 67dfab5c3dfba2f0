"""A read-only view of a model's main graph: who makes what, who reads it, what is constant."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx_graphsurgeon.logger import G_LOGGER

from onnx_gapmil.errors import ModelError
from onnx_gapmil.graph.branches import names_in
from onnx_gapmil.graph.sparse import attribute_tensors, dense_tensor
from onnx_gapmil.graph.subgraphs import bodies, captured, known, random_within
from onnx_gapmil.graph.tensors import tensor_array
from onnx_gapmil.ort.cpu import evaluate

if TYPE_CHECKING:
    from pathlib import Path

# graphsurgeon greets every import with hints about colours and types that concern no user of this package.
G_LOGGER.severity = G_LOGGER.CRITICAL + 1

#: Operators that ask for a shape and not for values: what they make depends on the input's size only.
_SHAPE_OPS = frozenset({"Shape", "Size"})
#: Constants above this are never folded to find a value: they are weights, and the graph refers to them by name.
_MAX_FOLDED_ELEMENTS = 1 << 26


class ModelGraph:
    """The main graph of a model, read through onnx-graphsurgeon. Nothing in it is ever changed.

    Attributes:
        proto: the vendor's ModelProto (after inlining, where that was needed).
        folder: where external data lies.
        weights: its initializers, sparse ones written out.
        opset: version of the default operator set.
    """

    def __init__(self, proto: onnx.ModelProto, folder: Path | None = None) -> None:
        self.proto = proto
        self.folder = folder
        self.opset = next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 1)
        self._graph = _imported(proto)
        # Whatever a node without outputs does, nobody can read it.
        self._nodes: list[gs.Node] = [node for node in self._graph.nodes if any(out.name for out in node.outputs)]
        self._producers = {out.name: node for node in self._nodes for out in node.outputs if out.name}
        self._protos = {name: node for node in proto.graph.node for name in node.output if name}
        # A pruned network's weights may be sparse. ONNX Runtime writes them out, too, so new nodes read them by name.
        sparse = [dense_tensor(tensor, folder) for tensor in proto.graph.sparse_initializer]
        self.weights: tuple[onnx.TensorProto, ...] = (*proto.graph.initializer, *sparse)
        self._initializers = {tensor.name: tensor for tensor in self.weights}
        self._functions = {(entry.domain, entry.name): entry for entry in proto.functions}
        self._values: dict[str, np.ndarray | None] = {}

    @property
    def nodes(self) -> list[gs.Node]:
        """The nodes in the file's order, but for those that make nothing."""
        return self._nodes

    @cached_property
    def inputs(self) -> list[onnx.ValueInfoProto]:
        """The real inputs: those that no initializer gives a value to (IR 3 lists weights as inputs too)."""
        return [value for value in self.proto.graph.input if value.name not in self._initializers]

    @property
    def outputs(self) -> list[onnx.ValueInfoProto]:
        """The graph's outputs."""
        return list(self.proto.graph.output)

    @cached_property
    def names(self) -> frozenset[str]:
        """Every name that is taken in the graph: tensors and nodes, subgraphs included."""
        return frozenset(names_in(self.proto.graph))

    @cached_property
    def consumers(self) -> dict[str, list[gs.Node]]:
        """The nodes that read each tensor."""
        readers: dict[str, list[gs.Node]] = {}
        for node in self.nodes:
            for tensor in node.inputs:
                if tensor.name:
                    readers.setdefault(tensor.name, []).append(node)
        return readers

    def producer(self, name: str) -> gs.Node | None:
        """The node that makes a tensor; None for inputs and initializers."""
        return self._producers.get(name)

    def behind(self, name: str) -> str:
        """The tensor of which another is a copy: behind Identities, and Dropouts that drop nothing."""
        while (node := self.producer(name)) is not None and node.op in ("Identity", "Dropout") and not node.domain:
            if node.outputs[0].name != name or self.random_operator(node):
                break
            name = str(node.inputs[0].name)
        return name

    def node_proto(self, node: gs.Node) -> onnx.NodeProto:
        """The vendor's own NodeProto of a node."""
        return self._protos[next(out.name for out in node.outputs if out.name)]

    def reads(self, node: gs.Node) -> list[str]:
        """The tensors that a node reads: its inputs, and what its branches or its body capture."""
        return [*(tensor.name for tensor in node.inputs if tensor.name), *captured(self.node_proto(node))]

    def random_operator(self, node: gs.Node) -> str:
        """The operator by which a node is random (itself, or one in its body), "" if it is not.

        Dropout and BatchNormalization in training mode count: they draw numbers, or mix the images of a batch.
        """
        return random_within(self.node_proto(node), known(self._initializers, self._protos), self._functions)

    def initializer(self, name: str) -> onnx.TensorProto | None:
        """The initializer of this name, if it is one."""
        return self._initializers.get(name)

    @cached_property
    def constants(self) -> frozenset[str]:
        """Tensors that do not depend on any input."""
        known = set(self._initializers)
        for node in self.nodes:
            names = [tensor.name for tensor in node.inputs if tensor.name]
            if all(name in known for name in names) and not self._is_unsteady(node):
                known.update(out.name for out in node.outputs if out.name)
        return frozenset(known)

    @cached_property
    def shape_computed(self) -> frozenset[str]:
        """Tensors that depend on the inputs' sizes but on none of their values (``Shape``, arithmetic on it, ...)."""
        known: set[str] = set()
        for node in self.nodes:
            names = [tensor.name for tensor in node.inputs if tensor.name]
            # Reshape targets with an open batch: Shape, Slice or Gather, Concat (PyTorch's legacy exporter,
            # paddle2onnx).
            from_shape = node.op in _SHAPE_OPS and not node.domain
            from_known = any(name in known for name in names) and all(
                name in known or name in self.constants for name in names
            )
            if (from_shape and not all(name in self.constants for name in names)) or (
                from_known and not self._is_unsteady(node)
            ):
                known.update(out.name for out in node.outputs if out.name)
        return frozenset(known)

    def _is_unsteady(self, node: gs.Node) -> bool:
        """Whether a node's output is not given by its inputs: it is random, or its body reads what it will."""
        return any(True for _ in bodies(self.node_proto(node))) or bool(self.random_operator(node))

    def value(self, name: str) -> np.ndarray | None:
        """The value of a constant tensor, through whatever nodes make it; None if it is none or too large."""
        if name not in self._values:
            self._values[name] = self._fold(name) if name in self.constants else None
        return self._values[name]

    def _fold(self, name: str) -> np.ndarray | None:
        tensor = self._initializers.get(name)
        if tensor is not None:
            return self._array(tensor)
        # Weights come through Constant, Cast, Transpose, DequantizeLinear (quantizers), Identity (PyTorch's legacy
        # exporter shares equal ones) and ConstantOfShape (the onnx package's light models).
        nodes = self._constant_ancestors(name)
        feeds: dict[str, np.ndarray] = {}
        for node in list(nodes):
            for tensor in attribute_tensors(node):  # given alone, ONNX Runtime leaves it sparse
                feeds[node.output[0]] = tensor_array(dense_tensor(tensor, self.folder, node.output[0]))
                nodes.remove(node)
        if name in feeds:
            return feeds[name]
        for node in nodes:
            for read in node.input:
                if read in self._initializers and read not in feeds:
                    array = self._array(self._initializers[read])
                    if array is None:
                        return None
                    feeds[read] = array
        return evaluate(nodes, feeds, [name], self.proto.opset_import)[0]

    def _constant_ancestors(self, name: str) -> list[onnx.NodeProto]:
        pending, seen, found = [name], set[str](), set[int]()
        while pending:
            current = pending.pop()
            node = self._protos.get(current)
            if current in seen or node is None:
                continue
            seen.add(current)
            found.add(id(node))
            pending.extend(read for read in node.input if read)
        return [node for node in self.proto.graph.node if id(node) in found]

    def _array(self, tensor: onnx.TensorProto) -> np.ndarray | None:
        if int(np.prod(tensor.dims, dtype=np.int64)) > _MAX_FOLDED_ELEMENTS:
            return None
        return tensor_array(tensor, self.folder)


def _imported(proto: onnx.ModelProto) -> gs.Graph:
    try:
        return gs.import_onnx(proto)
    except Exception as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise ModelError(f"{proto.graph.name or 'the model'}: its graph cannot be read: {reason}.") from error
