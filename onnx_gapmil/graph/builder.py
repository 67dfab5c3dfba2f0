"""Build new nodes with onnx-graphsurgeon and append them to the vendor's own ModelProto.

A graphsurgeon round trip of the whole model would lose metadata, doc strings, quantization annotations and
order; so only the *new* nodes are made and exported with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter

from onnx_gapmil.graph.tensors import tensor_array

if TYPE_CHECKING:
    from collections.abc import Iterable

    from onnx_gapmil.graph.view import ModelGraph

_PREFIX = "gapmil"
#: The first IR version whose initializers need not be listed as graph inputs.
_FREE_INITIALIZERS = 4


class GraphBuilder:
    """Collects new nodes and small constants, under names that the vendor's graph does not use."""

    def __init__(self, graph: ModelGraph) -> None:
        self.graph = graph
        self._taken = set(graph.names)
        self._nodes: list[gs.Node] = []
        self._makers: dict[str, gs.Node] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes | int], gs.Constant] = {}
        self._values: dict[str, np.ndarray] = {}

    def unique(self, wish: str) -> str:
        """A name that is not taken, close to the wish; it is taken from now on."""
        name, count = wish, 1
        while name in self._taken:
            count += 1
            name = f"{wish}_{count}"
        self._taken.add(name)
        return name

    def node(self, op: str, inputs: list[str], *, output: str | None = None, **attrs: Any) -> str:
        """Append one node of the default domain.

        Args:
            op: operator type.
            inputs: tensor names, the vendor's or new ones; "" for an absent optional input.
            output: name of its only output; made up if None.
            attrs: attributes; None values are left out.

        Returns:
            The output's name.
        """
        name = self.unique(f"{_PREFIX}/{op}")
        result = output if output is not None else name
        self._append(op, inputs, [result], attrs, name=name)
        return result

    def repeat(self, node: gs.Node, inputs: list[str]) -> list[str]:
        """One of the vendor's nodes once more, with all its attributes, on other inputs.

        Returns:
            Names of its outputs; "" for those that the vendor leaves out.
        """
        name = self.unique(f"{_PREFIX}/{node.op}")
        outputs = [self.unique(f"{name}/{place}") if out.name else "" for place, out in enumerate(node.outputs)]
        if len(outputs) == 1:
            outputs = [name]
        self._append(node.op, inputs, outputs, dict(node.attrs), name=name, domain=node.domain)
        return outputs

    def _append(
        self,
        op: str,
        inputs: list[str],
        outputs: list[str],
        attrs: dict[str, Any],
        *,
        name: str | None = None,
        domain: str | None = None,
    ) -> None:
        # A node and the tensor that it makes share a name: in small files names are most of what is added.
        made = gs.Node(
            op=op,
            domain=domain,
            name=name if name is not None else self.unique(f"{_PREFIX}/{op}"),
            attrs={key: value for key, value in attrs.items() if value is not None},
            inputs=[gs.Variable(tensor) for tensor in inputs],
            outputs=[gs.Variable(tensor) for tensor in outputs],
        )
        self._nodes.append(made)
        self._makers |= {name: made for name in outputs if name}

    def maker(self, tensor: str) -> gs.Node | None:
        """The new node that makes a tensor; None for the vendor's tensors and for constants."""
        return self._makers.get(tensor)

    def value(self, tensor: str) -> np.ndarray | None:
        """The value of a new constant; None if the tensor is none."""
        return self._values.get(tensor)

    def is_constant(self, tensor: str) -> bool:
        """Whether a tensor, the vendor's or new, depends on no input."""
        leaves = [name for name in self.needed([tensor]) if name and name not in self._makers]
        return all(name in self._values or name in self.graph.constants for name in leaves)

    def redirect(self, node: gs.Node, old: str, new: str) -> None:
        """Have a new node read another tensor in place of one."""
        for place, tensor in enumerate(node.inputs):
            if tensor.name == old:
                node.inputs[place] = gs.Variable(new)

    def redirect_at(self, node: gs.Node, place: int, new: str) -> None:
        """Have a new node read another tensor as one of its inputs."""
        node.inputs[place] = gs.Variable(new)

    def needed_nodes(self, outputs: Iterable[str]) -> list[gs.Node]:
        """The new nodes that the given tensors need, each after those that make what it reads."""
        found: dict[int, gs.Node] = {}
        needed = self.needed(outputs)
        pending = [node for node in reversed(self._nodes) if not needed.isdisjoint(_made_by(node))]
        while pending:
            node = pending[-1]
            makers = (self._makers.get(tensor.name) for tensor in node.inputs)
            missing = [maker for maker in makers if maker is not None and id(maker) not in found]
            if id(node) in found or not missing:
                found.setdefault(id(node), node)
                pending.pop()
            else:
                pending += missing
        return list(found.values())

    def topk(self, tensor: str, count: int | str, axis: int) -> tuple[str, str]:
        """``TopK``, largest first, of equal ones the lowest index first.

        Args:
            tensor: float32 or float64 (runtimes have no other before operator set 11).
            count: how many: a number, or the name of a 1-D int64 tensor of one element, from operator set 10.
            axis: along which axis.

        Returns:
            Names of the values and of their indices (int64).
        """
        names = [self.unique(f"{_PREFIX}/TopK/{part}") for part in ("values", "indices")]
        if self.graph.opset >= 10:
            k = self.ints([count]) if isinstance(count, int) else count
            self._append("TopK", [tensor, k], names, {"axis": axis})
        else:
            self._append("TopK", [tensor], names, {"axis": axis, "k": count})
        return names[0], names[1]

    def constant(self, value: np.ndarray, *, shared: bool = True) -> str:
        """A small new initializer (shapes, indices, scalars); equal ones are shared, but those that must not be."""
        array = np.asarray(value, order="C")  # which, unlike ascontiguousarray, leaves a scalar one
        key = (str(array.dtype), array.shape, array.tobytes() if shared else len(self._constants))
        if key not in self._constants:
            self._constants[key] = gs.Constant(self.unique(f"{_PREFIX}/c"), array)
            self._values[str(self._constants[key].name)] = array
        return str(self._constants[key].name)

    def ints(self, values: list[int] | tuple[int, ...]) -> str:
        """A 1-D int64 constant, as Reshape, Slice and ReduceMean want it."""
        return self.constant(np.asarray(values, dtype=np.int64))

    def reshape(self, tensor: str, shape: list[int]) -> str:
        """``Reshape`` to a fixed target in which 0 copies and -1 infers a dimension."""
        return self.node("Reshape", [tensor, self.ints(shape)])

    def reduce(self, op: str, tensor: str, axes: list[int], *, keepdims: bool = True) -> str:
        """A reduction, spelled as the model's operator set wants its axes: attribute or input."""
        as_input_from = 13 if op == "ReduceSum" else 18
        if self.graph.opset >= as_input_from:
            return self.node(op, [tensor, self.ints(axes)], keepdims=int(keepdims))
        return self.node(op, [tensor], axes=axes, keepdims=int(keepdims))

    def unsqueeze(self, tensor: str) -> str:
        """``tensor[None]``, spelled as the model's operator set wants its axis: attribute or input."""
        if self.graph.opset >= 13:
            return self.node("Unsqueeze", [tensor, self.ints([0])])
        return self.node("Unsqueeze", [tensor], axes=[0])

    def at_least(self, tensor: str, low: np.ndarray) -> str:
        """No value below a limit: ``Max``, which from operator set 8 on broadcasts; before, ``Clip``."""
        if self.graph.opset >= 8:
            return self.node("Max", [tensor, self.constant(low)])
        return self.node("Clip", [tensor], min=float(low))

    def slice_last(self, tensor: str, start: int, end: int) -> str:
        """``tensor[..., start:end]``, spelled as the model's operator set wants it."""
        if self.graph.opset >= 10:
            return self.node("Slice", [tensor, *(self.ints([value]) for value in (start, end, -1))])
        return self.node("Slice", [tensor], starts=[start], ends=[end], axes=[-1])

    def append_to(self, proto: onnx.ModelProto, outputs: list[str]) -> None:
        """Append what the given tensors need, in the order it was built, at the end of a ModelProto's graph.

        Rules may build nodes and then refuse; what nothing leads to is left out.
        """
        needed = self.needed(outputs)
        constants = [constant for constant in self._constants.values() if constant.name in needed]
        tensors = [OnnxExporter.export_tensor_proto(constant) for constant in constants]
        if proto.ir_version < _FREE_INITIALIZERS:
            # Before IR 4 every initializer had to be a graph input too, and the vendor's inputs stay as they are.
            for tensor in tensors:
                proto.graph.node.extend(_constant_nodes(tensor, self.graph.opset))
        else:
            proto.graph.initializer.extend(tensors)
        proto.graph.node.extend(self.nodes_for(outputs))

    def nodes_for(self, outputs: list[str]) -> list[onnx.NodeProto]:
        """The new nodes that the given tensors need, each after those that make what it reads."""
        return [OnnxExporter.export_node(node) for node in self.needed_nodes(outputs)]

    def needed(self, outputs: Iterable[str]) -> set[str]:
        """The tensors, the vendor's and new, that new nodes make the given ones of, these included."""
        pending, needed = list(outputs), set[str]()
        while pending:
            name = pending.pop()
            if name not in needed:
                needed.add(name)
                if name in self._makers:
                    pending.extend(tensor.name for tensor in self._makers[name].inputs)
        return needed

    def __len__(self) -> int:
        return len(self._nodes)


def _made_by(node: gs.Node) -> set[str]:
    return {tensor.name for tensor in node.outputs if tensor.name}


def _constant_nodes(tensor: onnx.TensorProto, opset: int) -> list[onnx.NodeProto]:
    """An initializer as nodes; before opset 9 ``Constant`` holds floats only, so that integers need a Cast."""
    name = tensor.name
    if opset >= 9 or tensor.data_type != onnx.TensorProto.INT64:
        return [onnx.helper.make_node("Constant", [], [name], name=f"{name}/node", value=tensor)]
    wide = onnx.numpy_helper.from_array(tensor_array(tensor).astype(np.float64), f"{name}/float")
    return [
        onnx.helper.make_node("Constant", [], [wide.name], name=f"{name}/node", value=wide),
        onnx.helper.make_node("Cast", [wide.name], [name], name=f"{name}/cast", to=onnx.TensorProto.INT64),
    ]
