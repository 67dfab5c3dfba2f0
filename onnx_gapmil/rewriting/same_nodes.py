"""Whether two graphs make some tensors in the same way: by the same nodes and constants, whatever their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

from onnx_gapmil.graph.subgraphs import captured
from onnx_gapmil.graph.tensors import tensor_array

if TYPE_CHECKING:
    from collections.abc import Iterable


def same_tensors(first: onnx.ModelProto, second: onnx.ModelProto, pairs: Iterable[tuple[str, str]]) -> bool:
    """Whether each pair of tensors is made by equal nodes of equal tensors, down to inputs and constants.

    Args:
        first: a model.
        second: another one, which holds the vendor's part of the first.
        pairs: a tensor of each.
    """
    one, other = _Graph(first), _Graph(second)
    pending, seen = list(pairs), set[tuple[str, str]]()
    while pending:
        left, right = pending.pop()
        left, right = one.behind_identities(left), other.behind_identities(right)
        if (left, right) in seen:
            continue
        seen.add((left, right))
        made, remade = one.makers.get(left), other.makers.get(right)
        if made is None or remade is None:
            if made is not None or remade is not None or not _same_leaves(one, left, other, right):
                return False
            continue
        if not _same_nodes(made, remade) or list(made.output).index(left) != list(remade.output).index(right):
            return False
        # Names tell nothing: a lift gives its own nodes the same ones each time, and a forger keeps them.
        pending += zip(made.input, remade.input, strict=True)
        pending += zip(captured(made), captured(remade), strict=True)
    return True


class _Graph:
    def __init__(self, model: onnx.ModelProto) -> None:
        self.makers = {name: node for node in model.graph.node for name in node.output if name}
        self.constants: dict[str, onnx.TensorProto | onnx.SparseTensorProto]
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.constants |= {tensor.values.name: tensor for tensor in model.graph.sparse_initializer}

    def behind_identities(self, tensor: str) -> str:
        while (node := self.makers.get(tensor)) is not None and node.op_type == "Identity" and not node.domain:
            tensor = node.input[0]
        return tensor


def _same_leaves(one: _Graph, left: str, other: _Graph, right: str) -> bool:
    """Inputs by name; constants by value, and those that lie in a file of their own by name and place in it."""
    held, kept = one.constants.get(left), other.constants.get(right)
    if held is None or kept is None:
        return held is None and kept is None and left == right
    if isinstance(held, onnx.SparseTensorProto) or isinstance(kept, onnx.SparseTensorProto):
        return left == right and held == kept
    return (left == right and held == kept) or _same_values(held, kept)


def _same_values(held: onnx.TensorProto, kept: onnx.TensorProto) -> bool:
    external = onnx.TensorProto.EXTERNAL
    if (
        held.data_type != kept.data_type
        or held.dims != kept.dims
        or external in (held.data_location, kept.data_location)
    ):
        return False
    one, other = (tensor_array(tensor).tobytes() for tensor in (held, kept))
    return bool(one == other)


def _same_nodes(made: onnx.NodeProto, remade: onnx.NodeProto) -> bool:
    if (made.op_type, made.domain, len(made.input), len(made.output)) != (
        remade.op_type,
        remade.domain,
        len(remade.input),
        len(remade.output),
    ):
        return False
    first, second = ({entry.name: entry for entry in node.attribute} for node in (made, remade))
    return first.keys() == second.keys() and all(_same_attributes(first[key], second[key]) for key in first)


def _same_attributes(first: onnx.AttributeProto, second: onnx.AttributeProto) -> bool:
    if first.type == second.type == onnx.AttributeProto.TENSOR:
        return _same_values(first.t, second.t)
    return bool(first == second)
