"""A model with its large weights apart, so that a session takes them where they lie: neither copied nor serialized."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx

from onnx_gapmil.graph.tensors import is_external, tensor_array, tensor_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Weights above this many bytes are handed to the runtime where they lie.
_SMALL = 4096
#: Element types that NumPy and ONNX Runtime both have.
_PLAIN = frozenset(
    {
        onnx.TensorProto.DOUBLE,
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.INT32,
        onnx.TensorProto.INT64,
        onnx.TensorProto.INT8,
        onnx.TensorProto.UINT8,
    }
)


def light_copy(
    source: onnx.ModelProto, outputs: Sequence[str] | None = None
) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """Take a model's large weights out of it.

    Args:
        source: the model, which is not changed.
        outputs: give these tensors alone, and keep only what they need; the model's own outputs and all of it if None.

    Returns:
        A copy without value_info and metadata, whose large weights are declared as external, and those weights by
        name, for `onnx_gapmil.ort.cpu.cpu_session`. What was external before still is.
    """
    proto = onnx.ModelProto(ir_version=source.ir_version, opset_import=source.opset_import, functions=source.functions)
    proto.graph.name = source.graph.name
    nodes = list(source.graph.node) if outputs is None else _needed(source.graph, outputs)
    proto.graph.node.extend(nodes)
    proto.graph.input.extend(source.graph.input)
    if outputs is None:
        proto.graph.output.extend(source.graph.output)
    else:
        proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(outputs))
    proto.graph.sparse_initializer.extend(source.graph.sparse_initializer)
    weights: dict[str, np.ndarray] = {}
    listed = {value.name for value in source.graph.input}
    read = {name for node in nodes for name in node.input}
    kept = None if outputs is None else {*outputs, *(name for node in nodes for name in reads_of(node))}
    for tensor in source.graph.initializer:
        if kept is not None and tensor.name not in kept | listed:
            continue
        # Weights that are inputs too (IR 3: MXNet, Chainer and the Caffe2 zoo list them all) may be overridden, and
        # stay; ONNX Runtime takes none for a weight that no node reads.
        apart = tensor_bytes(tensor) > _SMALL and tensor.data_type in _PLAIN and tensor.name in read - listed
        if is_external(tensor) or not apart:
            proto.graph.initializer.append(tensor)
            continue
        weights[tensor.name] = tensor_array(tensor)
        proto.graph.initializer.append(
            onnx.TensorProto(
                name=tensor.name,
                data_type=tensor.data_type,
                dims=tensor.dims,
                data_location=onnx.TensorProto.EXTERNAL,
                external_data=[onnx.StringStringEntryProto(key="location", value="in memory")],
            )
        )
    return proto, weights


def _needed(graph: onnx.GraphProto, outputs: Sequence[str]) -> list[onnx.NodeProto]:
    """The nodes that some tensors are made by, in their order."""
    makers = {made: place for place, node in enumerate(graph.node) for made in node.output if made}
    wanted, kept = list(outputs), set[int]()
    while wanted:
        place = makers.get(wanted.pop())
        if place is not None and place not in kept:
            kept.add(place)
            wanted.extend(reads_of(graph.node[place]))
    return [graph.node[place] for place in sorted(kept)]


def reads_of(node: onnx.NodeProto) -> list[str]:
    """Tensors of the main graph that a node may read, its subgraphs' included."""
    names = [read for read in node.input if read]
    for attribute in node.attribute:
        for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
            inside = {made for inner in graph.node for made in inner.output} | {value.name for value in graph.input}
            inside |= {tensor.name for tensor in graph.initializer}
            names += [read for inner in graph.node for read in reads_of(inner) if read not in inside]
    return names
