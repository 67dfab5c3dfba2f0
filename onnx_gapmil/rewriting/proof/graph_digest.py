"""What an output of a graph is computed by, as one digest: equal digests are equal computations, whatever the names."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import onnx

from onnx_gapmil.graph.sparse import dense_tensor
from onnx_gapmil.graph.subgraphs import captured

if TYPE_CHECKING:
    from collections.abc import Sequence


def output_digests(model: onnx.ModelProto, outputs: Sequence[str]) -> list[str]:
    """For each output a digest of the operators, attributes, weights and inputs that it is made of, in their order.

    Args:
        model: the model; names of its nodes and of its inner tensors do not matter.
        outputs: names of its tensors.
    """
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output if name}
    weights = {tensor.name: tensor for tensor in graph.initializer}
    weights |= {tensor.values.name: dense_tensor(tensor) for tensor in graph.sparse_initializer}
    known: dict[str, str] = {"": ""}
    for name in outputs:
        pending = [name]
        while pending:
            current = pending[-1]
            node = makers.get(current)
            reads = [] if node is None else [*node.input, *captured(node)]
            missing = [read for read in reads if read not in known]
            if current in known or not missing:
                known.setdefault(current, _digest(current, node, weights.get(current), [known[read] for read in reads]))
                pending.pop()
            else:
                pending += missing
    return [known[name] for name in outputs]


def _digest(name: str, node: onnx.NodeProto | None, weight: onnx.TensorProto | None, reads: list[str]) -> str:
    parts = hashlib.sha256()
    if weight is not None:
        array = onnx.numpy_helper.to_array(weight)
        # One number is one number: the runtime shares scalars, whatever their number of axes.
        dims = list(weight.dims) if array.size != 1 else []
        parts.update(f"{weight.data_type} {dims}".encode() + array.tobytes())
    elif node is None:
        parts.update(name.encode())
    else:
        attributes = sorted(node.attribute, key=lambda entry: entry.name)
        parts.update(f"{node.domain}:{node.op_type}:{list(node.output).index(name)}".encode())
        parts.update(b"".join(entry.SerializeToString(deterministic=True) for entry in attributes))
        parts.update(" ".join(reads).encode())
    return parts.hexdigest()
