"""A head cut out of a rewritten model: the nodes from the maps that it pools to its logits and its grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx

from onnx_gapmil.errors import ModelError
from onnx_gapmil.graph.inputs import InputShape
from onnx_gapmil.graph.light import reads_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_gapmil.graph.trace import Trace

#: Heads whose own weights exceed this are not run alone either.
MAX_HEAD_BYTES = 1_500_000_000


def pooled_map(name: str, trace: Trace) -> InputShape:
    """A map that a head pools, as an input of what is cut out: its traced shape and element type."""
    shape = trace.shapes[name]
    return InputShape(name, tuple(shape), shape, trace.dtypes.get(name, np.dtype(np.float32)))


def cut_out(
    proto: onnx.ModelProto, sources: Sequence[str], outputs: Sequence[str], trace: Trace, name: str
) -> onnx.ModelProto:
    """The nodes that make some tensors from others; what is computed from shapes keeps its traced value.

    Args:
        proto: the model.
        sources: the inputs of what is cut out.
        outputs: its outputs.
        trace: the real shapes of the model's tensors.
        name: the model's name, for messages.

    Raises:
        ModelError: the outputs are made of more than the sources.
    """
    makers = {made: node for node in proto.graph.node for made in node.output if made}
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
    sparse = {tensor.values.name: tensor for tensor in proto.graph.sparse_initializer}
    held = tensors.keys() | sparse.keys()
    inputs = {value.name for value in proto.graph.input} - held
    wanted, seen, kept = list(outputs), set[str](), set[int]()
    while wanted:
        current = wanted.pop()
        # Computed shapes (`trace.values`) would lead through Shape into the trunk; they are constants of the cut.
        if current in seen or current in sources or current in trace.values or current in held:
            seen.add(current)
            continue
        seen.add(current)
        if current in inputs:
            raise ModelError(f"{name}: the head takes '{current}' past the map that it pools, so it cannot be cut out.")
        node = makers[current]
        kept.add(id(node))
        wanted.extend(reads_of(node))
    # Initializers that are no inputs need IR 4, and functions IR 8; the vendor's file may be older.
    cut = onnx.ModelProto(
        ir_version=max(proto.ir_version, 8), opset_import=proto.opset_import, functions=proto.functions
    )
    cut.graph.name = "head"
    cut.graph.node.extend(node for node in proto.graph.node if id(node) in kept)
    cut.graph.initializer.extend(tensor for key, tensor in tensors.items() if key in seen)
    cut.graph.sparse_initializer.extend(tensor for key, tensor in sparse.items() if key in seen)
    made = {tensor for node in cut.graph.node for tensor in node.output}
    cut.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.ascontiguousarray(value), key)
        for key, value in trace.values.items()
        if key in seen and key not in made
    )
    for source in dict.fromkeys(sources):
        entry = pooled_map(source, trace)
        kind = onnx.helper.np_dtype_to_tensor_dtype(entry.dtype)
        cut.graph.input.append(onnx.helper.make_tensor_value_info(source, kind, entry.traced))
    cut.graph.output.extend(onnx.ValueInfoProto(name=output) for output in outputs)
    return cut


def independent(proto: onnx.ModelProto, sources: Sequence[str], trace: Trace) -> list[str]:
    """The sources that are not made of others: a map and a crop of it cannot be fed with numbers of their own each.

    Args:
        proto: the model.
        sources: maps that a head pools.
        trace: the real shapes of the model's tensors.
    """
    makers = {made: node for node in proto.graph.node for made in node.output if made}
    fixed = {tensor.name for tensor in proto.graph.initializer} | set(trace.values)
    fixed |= {tensor.values.name for tensor in proto.graph.sparse_initializer}
    kept = list(dict.fromkeys(sources))
    for source in kept[:]:
        others, seen = set(kept) - {source}, set[str]()
        wanted = reads_of(makers[source]) if source in makers else [source]
        while wanted:
            current = wanted.pop()
            if current in seen or current in others or current in fixed:
                continue
            seen.add(current)
            if current not in makers:  # an input of the graph: it is made of more
                break
            wanted.extend(reads_of(makers[current]))
        else:
            if others:
                kept.remove(source)
    return kept
