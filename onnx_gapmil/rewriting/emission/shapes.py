"""Shapes and element types of the new tensors, inferred from those that the vendor's tensors had in the trace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx

if TYPE_CHECKING:
    from onnx_gapmil.graph.builder import GraphBuilder
    from onnx_gapmil.graph.trace import Trace

#: Computed tensors up to this many elements may be a Reshape's target or a Slice's bounds.
_SMALL = 1024


@dataclass(frozen=True)
class Tensors:
    """What is known of the tensors between the vendor's graph and a new tensor, both included.

    Attributes:
        shapes: in the trace, by name; unknown ones left out.
        dtypes: element types by name.
    """

    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, np.dtype]


def traced_tensors(build: GraphBuilder, trace: Trace, tensor: str, shape: tuple[int, ...], dtype: np.dtype) -> Tensors:
    """Infer the shapes of all tensors that a new tensor is made of, from the vendor's tensors in the trace.

    Args:
        build: has the new nodes.
        trace: the vendor's tensors.
        tensor: the new tensor.
        shape: its shape in the trace.
        dtype: its type, which the vendor's tensors are taken to have where theirs is not known (behind operators that
            are not ONNX's own).
    """
    nodes = build.nodes_for([tensor])
    made = {name for node in nodes for name in node.output}
    read = {name for node in nodes for name in node.input if name} - made
    known = {name: trace.shapes[name] for name in (*read, tensor) if name in trace.shapes}
    kinds: dict[str, int] = {}
    inputs, constants = [], []
    for name in sorted(read):
        value = build.value(name)
        # Reshape targets that the vendor computes at run time (Shape, Gather, Concat) stand still for shape inference.
        if value is None and name in trace.values and trace.values[name].size <= _SMALL:
            value = trace.values[name]
        kind = _elem_type(build, trace, name) or int(onnx.helper.np_dtype_to_tensor_dtype(dtype))
        kinds[name] = kind
        if value is not None:
            kinds[name] = int(onnx.helper.np_dtype_to_tensor_dtype(value.dtype))
            known[name] = value.shape
            constants.append(onnx.numpy_helper.from_array(np.ascontiguousarray(value), name))
        elif name in known:
            inputs.append(onnx.helper.make_tensor_value_info(name, kind, known[name]))
    graph = onnx.helper.make_graph(nodes, "new", inputs, [onnx.ValueInfoProto(name=tensor)], constants)
    opsets = build.graph.proto.opset_import
    inferred = onnx.shape_inference.infer_shapes(
        onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), data_prop=True
    )
    for info in (*inferred.graph.value_info, *inferred.graph.output):
        dims = info.type.tensor_type.shape.dim
        kinds.setdefault(info.name, info.type.tensor_type.elem_type)
        if info.type.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in dims):
            known[info.name] = tuple(dim.dim_value for dim in dims)
    known[tensor] = shape
    dtypes = {name: np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind)) for name, kind in kinds.items() if kind}
    return Tensors(known, dtypes)


def _elem_type(build: GraphBuilder, trace: Trace, name: str) -> int:
    """ONNX's number for a vendor's tensor's type; 0 if it is not known."""
    initializer = build.graph.initializer(name)
    if initializer is not None:
        return int(initializer.data_type)
    dtype = trace.dtypes.get(name)
    return int(onnx.helper.np_dtype_to_tensor_dtype(dtype)) if dtype is not None else 0
