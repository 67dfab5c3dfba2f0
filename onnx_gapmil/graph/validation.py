"""Structural checks of a vendor's graph, without its weights: names, order, cycles, shapes."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import onnx
from google.protobuf.descriptor import FieldDescriptor

from onnx_gapmil.errors import ModelError
from onnx_gapmil.graph.tensors import MAX_ELEMENTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.message import Message

_ELEMENT_TYPES = frozenset(onnx.TensorProto.DataType.values())


def validate_structure(proto: onnx.ModelProto, where: str) -> None:
    """Check that a graph is well formed: unique names, no dangling inputs, no cycle, sane shapes.

    Args:
        proto: the model.
        where: its name, for messages.

    Raises:
        ModelError: naming the first tensor or node that is wrong.
    """
    graph = proto.graph
    _check_fields(proto, where)
    if not graph.output:
        raise ModelError(f"{where} has no outputs; export it again.")
    known = {value.name for value in graph.input}
    known |= {tensor.name for tensor in graph.initializer}
    known |= {sparse.values.name for sparse in graph.sparse_initializer}
    makers = _makers(graph, known, where)
    for output in graph.output:
        if output.name not in known and output.name not in makers:
            raise ModelError(f"{where}: no node makes the output '{output.name}'; the file is damaged.")
    _check_order(graph, known, makers, where)
    names = [tensor.name for tensor in graph.initializer]
    if len(set(names)) < len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise ModelError(f"{where}: the weight '{twice}' is defined twice; the file is damaged.")
    for value in graph.input:
        dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim if dim.HasField("dim_value")]
        # A negative extent is an open one (-1, as exporters of Paddle and MXNet wrote).
        if math.prod(max(dim, 1) for dim in dims) > MAX_ELEMENTS:
            raise ModelError(f"{where}: the input '{value.name}' declares an absurd shape {dims}.")


def _check_fields(message: Message, where: str, *, in_function: bool = False) -> None:
    """Names must be text (a flipped bit makes bytes of them), and element types must exist."""
    for field, value in message.ListFields():
        if field.name == "ref_attr_name" and not in_function:
            name = getattr(message, "name", "")
            raise ModelError(
                f"{where}: the attribute '{name}' refers to one of a function ('{value}'), and stands in none; the "
                "file is damaged."
            )
        values = [value] if isinstance(value, str | bytes | int | float) or hasattr(value, "ListFields") else value
        if field.type == FieldDescriptor.TYPE_STRING and not all(isinstance(entry, str) for entry in values):
            raise ModelError(f"{where}: a {field.full_name} is no readable text; the file is damaged.")
        if field.name in ("data_type", "elem_type") and any(
            isinstance(entry, int) and entry not in _ELEMENT_TYPES for entry in values
        ):
            raise ModelError(f"{where}: {values[0]} is no element type of ONNX; the file is damaged.")
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            inner = in_function or field.name == "functions"
            for entry in values:
                _check_fields(entry, where, in_function=inner)


def _makers(graph: onnx.GraphProto, known: set[str], where: str) -> dict[str, int]:
    makers: dict[str, int] = {}
    for index, node in enumerate(graph.node):
        for name in node.output:
            if not name:
                continue
            if name in makers or name in known:
                raise ModelError(f"{where}: the tensor '{name}' is made twice; the file is damaged.")
            makers[name] = index
    return makers


def _check_order(graph: onnx.GraphProto, known: set[str], makers: dict[str, int], where: str) -> None:
    """Kahn's algorithm over node indices: finds dangling inputs first, then cycles."""
    waiting = [0] * len(graph.node)
    users: dict[int, list[int]] = {}
    for index, node in enumerate(graph.node):
        for name in set(_reads(node)):
            if name in makers:
                waiting[index] += 1
                users.setdefault(makers[name], []).append(index)
            elif name not in known:
                raise ModelError(
                    f"{where}: node '{node.name or node.op_type}' reads '{name}', which nothing makes; "
                    "the file is damaged."
                )
    ready = [index for index, count in enumerate(waiting) if count == 0]
    done = 0
    while ready:
        index = ready.pop()
        done += 1
        for user in users.get(index, ()):
            waiting[user] -= 1
            if waiting[user] == 0:
                ready.append(user)
    if done != len(graph.node):
        stuck = next(node for node, count in zip(graph.node, waiting, strict=True) if count)
        raise ModelError(f"{where}: the graph is cyclic at node '{stuck.name or stuck.op_type}'; the file is damaged.")


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """Names a node takes from its own graph: its inputs, and what its subgraphs take from outside them."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        graphs = [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]
        for graph in graphs:
            inside = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
            inside |= {name for inner in graph.node for name in inner.output}
            yield from (name for inner in graph.node for name in _reads(inner) if name not in inside)
            yield from (value.name for value in graph.output if value.name and value.name not in inside)
