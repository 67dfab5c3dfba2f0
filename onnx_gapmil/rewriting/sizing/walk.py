"""`SizeWalk`: a graph from its inputs to its outputs, with every tensor's shape at the original size and at another.

Shapes at the original size are traced (`onnx_gapmil.graph.trace`), those at the new one are inferred node by node, in
order, so that a node that a baked number keeps from running at the new size is met before anything that follows from
it. Its rule mends it (`onnx_gapmil.rewriting.sizing.rules`), or refuses the size by its name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx.defs
import onnx.shape_inference

from onnx_gapmil.errors import GapmilError, ModelError
from onnx_gapmil.graph.subgraphs import bodies, captured
from onnx_gapmil.ort.cpu import evaluate
from onnx_gapmil.ort.limits import require_elements
from onnx_gapmil.rewriting.sizing.record import Size, said_size
from onnx_gapmil.rewriting.sizing.regrouping import Dim, Parts, whole

if TYPE_CHECKING:
    from onnx_gapmil.graph.trace import Trace
    from onnx_gapmil.graph.view import ModelGraph

#: Constants up to so many elements are looked at: shapes, sizes, axes, scalars.
_SMALL = 4096
_DEFAULT_DOMAINS = frozenset({"", "ai.onnx"})

Rule = Callable[["SizeWalk", onnx.NodeProto], Sequence[onnx.NodeProto]]
"""What becomes of a node that reads a tensor whose shape changes: itself, or what takes its place."""


class SizeWalk:
    """One walk over a graph.

    Args:
        graph: the model at its original size.
        trace: its shapes there.
        inputs: the shapes of its inputs at the new size; the others keep theirs.
        size: the new size, for messages.

    Attributes:
        graph: the model at its original size.
        changes: what was changed, one phrase a node.
    """

    def __init__(self, graph: ModelGraph, trace: Trace, inputs: Mapping[str, tuple[int, ...]], size: Size) -> None:
        self.graph = graph
        self.changes: list[str] = []
        self._size = size
        self._old = trace
        self._shapes = {entry.name: entry.traced for entry in trace.inputs} | dict(inputs)
        self._dtypes = dict(trace.dtypes) | {entry.name: entry.dtype for entry in trace.inputs}
        self._values: dict[str, np.ndarray] = {}
        self._origins: dict[Dim, tuple[str, int]] = {}
        self._parts: dict[tuple[str, int], Parts] = {}
        self._merged: dict[Dim, set[Parts]] = {}
        self._names = set(graph.names)
        for name in self._shapes:
            self._remember(name)

    def run(self, rules: Mapping[str, Rule]) -> list[onnx.NodeProto]:
        """All nodes of the graph, those mended that have to be.

        Raises:
            ModelError: the graph cannot be brought to the size; names the node and what it holds.
        """
        nodes: list[onnx.NodeProto] = []
        for node in self.graph.proto.graph.node:
            outputs = [name for name in node.output if name]
            if all(name in self.graph.constants for name in outputs) or not self._touched(node):
                nodes.append(node)
                continue
            if all(name in self.graph.shape_computed for name in outputs):
                nodes.append(node)
                self._compute(node)
                continue
            if any(True for _ in bodies(node)):
                raise self.refuse(node, "holds a graph of its own, which is not looked into")
            mended = list(rules.get(node.op_type, _as_it_is)(self, node))
            nodes += mended
            for made in mended:
                self._infer(made)
        return nodes

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape at the new size."""
        return self._shapes[name] if name in self._shapes else self.old_shape(name)

    def old_shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape at the original size."""
        found = self._old.shapes.get(name)
        if found is not None:
            return tuple(found)
        value = self.graph.value(name)
        return () if value is None else value.shape

    def dims(self, name: str) -> list[Dim]:
        """A tensor's dimensions, each at the original size and at the new one."""
        return list(zip(self.old_shape(name), self.shape(name), strict=True))

    def parts(self, name: str) -> list[Parts]:
        """Of each axis of a tensor what it was merged of: itself where it was not, or where two ways are known."""
        found = []
        for axis, dim in enumerate(self.dims(name)):
            ways = self._merged.get(dim, set())
            known = self._parts.get((name, axis))
            found.append(known or (next(iter(ways)) if len(ways) == 1 else (dim,)))
        return found

    def merge(self, name: str, parts: Sequence[Parts]) -> None:
        """Note what the axes of a tensor are merged of."""
        for axis, own in enumerate(parts):
            if len(own) > 1:
                self._parts[name, axis] = own
                self._merged.setdefault(whole(own), set()).add(own)

    def changed(self, name: str) -> list[int]:
        """The axes of a tensor that have another length at the new size."""
        return [axis for axis, (old, new) in enumerate(self.dims(name)) if old != new]

    def is_constant(self, name: str) -> bool:
        """Whether a tensor depends on no input."""
        return name in self.graph.constants

    def old_value(self, name: str) -> np.ndarray | None:
        """The value at the original size of a small constant, or of what is computed from shapes."""
        if name in self._old.values:
            return self._old.values[name]
        if not self.is_constant(name) or int(np.prod(self.old_shape(name), dtype=np.int64)) > _SMALL:
            return None
        return self.graph.value(name)

    def value(self, name: str) -> np.ndarray | None:
        """The same at the new size."""
        return self._values[name] if name in self._values else self.old_value(name)

    def tensor(self, wish: str) -> str:
        """A name for a new tensor that nothing has."""
        name, number = f"gapmil_size_{wish}", 0
        while name in self._names:
            number += 1
            name = f"gapmil_size_{wish}_{number}"
        self._names.add(name)
        return name

    def constant(self, array: np.ndarray, nodes: list[onnx.NodeProto], wish: str = "value") -> str:
        """Append a Constant to nodes; its tensor."""
        name = self.tensor(wish)
        nodes.append(onnx.helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(array, name)))
        return self.know(name, array)

    def know(self, name: str, array: np.ndarray) -> str:
        """Note what a new tensor holds at the new size; its name."""
        self._values[name], self._shapes[name], self._dtypes[name] = array, array.shape, array.dtype
        return name

    def length(self, dim: Dim, nodes: list[onnx.NodeProto]) -> str | None:
        """Append nodes that read a dimension off a tensor that has it: an int64 tensor of one element."""
        if dim[0] == dim[1]:
            return self.constant(np.array([dim[0]], np.int64), nodes, "length")
        if dim in self._origins:
            tensor, axis = self._origins[dim]
            whole, taken = self.tensor("shape"), self.tensor("length")
            nodes.append(onnx.helper.make_node("Shape", [tensor], [whole]))
            place = self.constant(np.array([axis], np.int64), nodes, "axis")
            nodes.append(onnx.helper.make_node("Gather", [whole, place], [taken], axis=0))
            self.know(whole, np.array(self.shape(tensor), np.int64))
            return self.know(taken, np.array([dim[1]], np.int64))
        merged = self._merged.get(dim, set())
        found = [self.length(part, nodes) for part in next(iter(merged))] if len(merged) == 1 else [None]
        product: str | None = None
        for name in found:
            if name is None:
                return None
            if product is None:
                product = name
                continue
            joined = self.tensor("length")
            nodes.append(onnx.helper.make_node("Mul", [product, name], [joined]))
            product = self.know(joined, self._values[product] * self._values[name])
        return product

    def entry(self, name: str, place: int, nodes: list[onnx.NodeProto]) -> str:
        """Append nodes that take one entry of a tensor that holds a shape: an int64 tensor of one element."""
        taken, value = self.tensor("entry"), self.value(name)
        index = self.constant(np.array([place], np.int64), nodes, "index")
        nodes.append(onnx.helper.make_node("Gather", [name, index], [taken], axis=0))
        return self.know(taken, np.zeros(1, np.int64) if value is None else value[[place]])

    def changing(self, node: onnx.NodeProto, what: str) -> None:
        """Note a change."""
        self.changes.append(f"{said_node(node)}: {what}")

    def refuse(self, node: onnx.NodeProto, what: str) -> ModelError:
        """The error of a graph that a node keeps from another size, to be raised by whoever found out."""
        return ModelError(
            f"--size {said_size(self._size)}: {said_node(node)} {what}. The model runs at the size that its graph "
            "fixes: leave --size out, or export it anew with open height and width."
        )

    def _touched(self, node: onnx.NodeProto) -> bool:
        """Whether anything that a node reads has another shape at the new size, or another value computed from one."""
        return any(
            name in self._values or (name in self._shapes and self._shapes[name] != self.old_shape(name))
            for name in (*node.input, *captured(node))
            if name
        )

    def _remember(self, name: str) -> None:
        for axis in self.changed(name):
            self._origins.setdefault(self.dims(name)[axis], (name, axis))

    def _compute(self, node: onnx.NodeProto) -> None:
        """The values that a node computes from shapes, at the new size."""
        feeds = {}
        for name in node.input:
            if not name:
                continue
            known = self.value(name)
            # Whatever such a node reads of a real tensor is its shape.
            feeds[name] = known if known is not None else np.zeros(self.shape(name), self.dtype(name))
        names = [name for name in node.output if name]
        for name, array in zip(names, self._evaluated(node, feeds, names), strict=True):
            before = self.old_value(name)
            if before is None or before.shape != array.shape or not np.array_equal(before, array):
                self._values[name] = array
                self._shapes[name] = array.shape

    def _infer(self, node: onnx.NodeProto) -> None:
        """The shapes that a node makes at the new size."""
        if all(name in self._values for name in node.output):
            return
        found = self._inferred(node)
        if found is None:
            found = self._measured(node)
        for name, (shape, dtype) in found.items():
            self._shapes[name], self._dtypes[name] = shape, dtype
            old = self._old.shapes.get(name)
            if old is not None and len(old) != len(shape):
                raise self.refuse(node, f"makes {list(shape)}, and {list(old)} at the original size")
            if old is not None:
                self._remember(name)
                self._inherit(node, name)

    def _inherit(self, node: onnx.NodeProto, name: str) -> None:
        """What an axis was merged of stays with it where a node leaves it as it is."""
        for axis, dim in enumerate(self.dims(name)):
            for read in node.input:
                known = self._parts.get((read, axis))
                if known is not None and self.dims(read)[axis] == dim:
                    self._parts.setdefault((name, axis), known)

    def _inferred(self, node: onnx.NodeProto) -> dict[str, tuple[tuple[int, ...], np.dtype]] | None:
        """By onnx's own inference; None where it does not know the operator, or leaves a length open."""
        if node.domain not in _DEFAULT_DOMAINS:
            return None
        try:
            schema = onnx.defs.get_schema(node.op_type, self.graph.opset, "")
            types = {name: self._type(name) for name in node.input if name}
            data = {name: self._data(name) for name in types}
            made = onnx.shape_inference.infer_node_outputs(
                schema,
                node,
                types,
                {name: tensor for name, tensor in data.items() if tensor is not None},
                opset_imports=list(self.graph.proto.opset_import),
            )
        except onnx.shape_inference.InferenceError as error:
            words = " ".join(str(error).split())
            raise self.refuse(node, f"cannot take {self._given(node)} ({words})") from error
        except Exception:  # noqa: BLE001 - an operator that this onnx does not know; the runtime is asked instead
            return None
        found: dict[str, tuple[tuple[int, ...], np.dtype]] = {}
        for name in node.output:
            if not name:
                continue
            kind = made[name].tensor_type if name in made else None
            if kind is None or not kind.HasField("shape") or not all(d.HasField("dim_value") for d in kind.shape.dim):
                return None
            shape = tuple(int(d.dim_value) for d in kind.shape.dim)
            found[name] = shape, np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
        return found

    def _measured(self, node: onnx.NodeProto) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """By the runtime, which runs the node alone on zeros."""
        count = sum(math.prod(self.shape(name)) for name in node.input if name)
        require_elements(count, f"{said_node(node)} at {said_size(self._size)}")
        feeds = {}
        for name in dict.fromkeys(node.input):
            if name:
                known = self.value(name) if self.is_constant(name) or name in self._values else None
                if known is None and self.is_constant(name):
                    known = self.graph.value(name)
                feeds[name] = known if known is not None else np.zeros(self.shape(name), self.dtype(name))
        names = [name for name in node.output if name]
        return {
            name: (tuple(array.shape), array.dtype)
            for name, array in zip(names, self._evaluated(node, feeds, names), strict=True)
        }

    def _evaluated(self, node: onnx.NodeProto, feeds: Mapping[str, np.ndarray], names: list[str]) -> list[np.ndarray]:
        try:
            return evaluate([node], feeds, names, self.graph.proto.opset_import)
        except GapmilError as error:
            words = str(error).rstrip(".")
            raise self.refuse(node, f"cannot take {self._given(node)} ({words})") from error

    def _given(self, node: onnx.NodeProto) -> str:
        return ", ".join(str(list(self.shape(name))) for name in node.input if name and self.shape(name))

    def _type(self, name: str) -> onnx.TypeProto:
        kind = onnx.helper.np_dtype_to_tensor_dtype(self.dtype(name))
        return onnx.helper.make_tensor_type_proto(kind, self.shape(name))

    def _data(self, name: str) -> onnx.TensorProto | None:
        known = self.value(name)
        return None if known is None else onnx.numpy_helper.from_array(np.ascontiguousarray(known), name)

    def dtype(self, name: str) -> np.dtype:
        """A tensor's element type."""
        known = self._dtypes.get(name)
        if known is None and self.is_constant(name):
            tensor = self.graph.initializer(name)
            if tensor is not None:
                known = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
            elif (value := self.graph.value(name)) is not None:
                known = value.dtype
        if known is None:  # behind operators that onnx does not know (QLinearAdd), tensors keep the type of their input
            maker = self.graph.producer(name)
            first = maker.inputs[0].name if maker is not None and maker.inputs else ""
            known = self.dtype(first) if first else np.dtype(np.float32)
        self._dtypes[name] = known
        return known


def _as_it_is(_: SizeWalk, node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
    return (node,)


def said_node(node: onnx.NodeProto) -> str:
    """``name (operator)``; without a name its first output's."""
    return f"{node.name or next(iter(node.output), '')} ({node.op_type})"
