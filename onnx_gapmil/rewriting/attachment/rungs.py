"""The rungs of the ladder: how much is done so that the vendor's outputs stay what they are as deployed."""

from __future__ import annotations

from typing import Literal, get_args

import onnx

#: ``plain``: new nodes read maps, constants and logits alone; of a class token also the sums of the trunk's branches
#: and products of its dense layers (`rows`).
#: ``named``: not those, and logits that are an output of the vendor's are that output, and nothing of ours reads it.
#: ``shadow``: beside that, nothing of ours reads int8
#: activations; the part of the trunk that makes a map is repeated.
Attachment = Literal["plain", "named", "shadow"]
RUNGS: tuple[Attachment, ...] = get_args(Attachment)


def has_int8_activations(proto: onnx.ModelProto) -> bool:
    """Whether a graph quantizes anything to int8, which ONNX Runtime turns to uint8 where nobody else reads it."""
    kinds = {tensor.name: tensor.data_type for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Constant":
            kinds[node.output[0]] = next((entry.t.data_type for entry in node.attribute if entry.name == "value"), 0)
    zeros = (node.input[2] for node in proto.graph.node if node.op_type == "QuantizeLinear" and len(node.input) > 2)
    return any(kinds.get(zero) == onnx.TensorProto.INT8 for zero in zeros)
