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

if TYPE_CHECKING:
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
        self._constants: dict[tuple[str, tuple[int, ...], bytes], gs.Constant] = {}

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
        result = output if output is not None else self.unique(f"{_PREFIX}/{op}/output")
        self._nodes.append(
            gs.Node(
                op=op,
                name=name,
                attrs={key: value for key, value in attrs.items() if value is not None},
                inputs=[gs.Variable(tensor) for tensor in inputs],
                outputs=[gs.Variable(result)],
            )
        )
        return result

    def constant(self, value: np.ndarray) -> str:
        """A small new initializer (shapes, indices, scalars); equal ones are shared."""
        array = np.ascontiguousarray(value)
        key = (str(array.dtype), array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = gs.Constant(self.unique(f"{_PREFIX}/constant"), array)
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

    def slice_last(self, tensor: str, start: int, end: int) -> str:
        """``tensor[..., start:end]``, spelled as the model's operator set wants it."""
        if self.graph.opset >= 10:
            return self.node("Slice", [tensor, *(self.ints([value]) for value in (start, end, -1))])
        return self.node("Slice", [tensor], starts=[start], ends=[end], axes=[-1])

    def append_to(self, proto: onnx.ModelProto, outputs: list[str]) -> None:
        """Append what the given tensors need, in the order it was built, at the end of a ModelProto's graph.

        Rules may build nodes and then refuse; what nothing leads to is left out.
        """
        makers = {node.outputs[0].name: node for node in self._nodes}
        wanted, needed = list(outputs), set[str]()
        while wanted:
            name = wanted.pop()
            if name not in needed:
                needed.add(name)
                if name in makers:
                    wanted.extend(tensor.name for tensor in makers[name].inputs)
        constants = [constant for constant in self._constants.values() if constant.name in needed]
        tensors = [OnnxExporter.export_tensor_proto(constant) for constant in constants]
        if proto.ir_version < _FREE_INITIALIZERS:
            # Before IR 4 every initializer had to be a graph input too, and the vendor's inputs stay as they are.
            for tensor in tensors:
                proto.graph.node.extend(_constant_nodes(tensor, self.graph.opset))
        else:
            proto.graph.initializer.extend(tensors)
        proto.graph.node.extend(
            OnnxExporter.export_node(node) for node in self._nodes if node.outputs[0].name in needed
        )

    def __len__(self) -> int:
        return len(self._nodes)


def _constant_nodes(tensor: onnx.TensorProto, opset: int) -> list[onnx.NodeProto]:
    """An initializer as nodes; before opset 9 ``Constant`` holds floats only, so that integers need a Cast."""
    name = tensor.name
    if opset >= 9 or tensor.data_type != onnx.TensorProto.INT64:
        return [onnx.helper.make_node("Constant", [], [name], name=f"{name}/node", value=tensor)]
    wide = onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype(np.float64), f"{name}/float")
    return [
        onnx.helper.make_node("Constant", [], [wide.name], name=f"{name}/node", value=wide),
        onnx.helper.make_node("Cast", [wide.name], [name], name=f"{name}/cast", to=onnx.TensorProto.INT64),
    ]
