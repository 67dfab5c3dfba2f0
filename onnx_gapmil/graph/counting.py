"""How large a model is before anything is expanded, run or walked: nodes with local functions inlined, bytes, work."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import onnx

from onnx_gapmil.errors import LimitError, ModelError
from onnx_gapmil.ort.limits import require_elements, require_memory, require_parts, require_work

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import numpy as np

    from onnx_gapmil.graph.inputs import InputShape

#: Local functions that may call each other in a row; exporters nest a handful.
_DEEPEST_CALLS = 100
_Key = tuple[str, str, str]


def require_walkable(proto: onnx.ModelProto, where: str) -> None:
    """Refuse a model that has more parts than can be walked in the time that is allowed.

    Args:
        proto: the model.
        where: its name.

    Raises:
        LimitError: more parts than the limit of time does for, with local functions inlined.
        ModelError: a local function calls itself.
    """
    graph = proto.graph
    try:
        require_parts(len(proto.metadata_props), "entries of metadata")
        require_parts(len(proto.functions), "local functions")
        declared = len(graph.input) + len(graph.output) + len(graph.value_info) + len(graph.initializer)
        require_parts(declared, "inputs, outputs, weights and declared shapes")
        require_parts(len(graph.node), "nodes")
        require_parts(inlined_nodes(proto), "nodes, local functions inlined")
    except LimitError as error:
        raise LimitError(f"{where}: {error}") from error
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from error


def inlined_nodes(proto: onnx.ModelProto) -> int:
    """How many nodes a model has, those of subgraphs too, once every call of a local function is its body.

    Each function is counted once, whatever the number of its calls: a file of 40 functions may stand for 2^39 nodes.

    Raises:
        ModelError: a function calls itself, or functions call each other too deeply.
    """
    functions = {(entry.domain, entry.name, entry.overload): entry for entry in proto.functions}
    counts: dict[_Key, int] = {}
    if functions:
        _count_functions(functions, counts)
    return _count(proto.graph.node, counts)


def _count_functions(functions: Mapping[_Key, onnx.FunctionProto], counts: dict[_Key, int]) -> None:
    """Fill in the nodes of each function, callees first, without recursion."""
    calls = {key: {call for call in _calls(entry.node) if call in functions} for key, entry in functions.items()}
    depths: dict[_Key, int] = {}
    for start in functions:
        stack, open_ = [start], set[_Key]()
        while stack:
            key = stack[-1]
            if key in counts:
                stack.pop()
                continue
            missing = [call for call in calls[key] if call not in counts]
            if not missing:
                counts[key] = _count(functions[key].node, counts)
                depths[key] = 1 + max((depths[call] for call in calls[key]), default=0)
                if depths[key] > _DEEPEST_CALLS:
                    raise ModelError(
                        f"its local functions call each other {depths[key]} deep, more than {_DEEPEST_CALLS}; export "
                        "the model without local functions."
                    )
                open_.discard(key)
                stack.pop()
                continue
            open_.add(key)
            if any(call in open_ for call in missing):
                raise ModelError(f"its local function '{key[1]}' calls itself; the file is damaged.")
            stack.extend(missing[:1])


def _count(nodes: Iterable[onnx.NodeProto], counts: Mapping[_Key, int]) -> int:
    return sum(counts.get((node.domain, node.op_type, node.overload), 1) for node in _all_nodes(nodes))


def _calls(nodes: Iterable[onnx.NodeProto]) -> Iterator[_Key]:
    for node in _all_nodes(nodes):
        yield node.domain, node.op_type, node.overload


def _all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Nodes and those of their subgraphs; protobuf itself bounds how deep these are nested."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _all_nodes(attribute.g.node)
            for graph in attribute.graphs:
                yield from _all_nodes(graph.node)


def require_affordable_inputs(inputs: tuple[InputShape, ...]) -> None:
    """Refuse inputs that do not fit the memory that is allowed, before they are made.

    Raises:
        LimitError: they do not.
    """
    needed = sum(math.prod(entry.traced) * entry.dtype.itemsize for entry in inputs)
    shapes = ", ".join(f"'{entry.name}' {list(entry.traced)}" for entry in inputs[:3])
    require_memory(needed, f"an input of the declared shape ({shapes})")
    require_elements(sum(math.prod(entry.traced) for entry in inputs), f"an input of the declared shape ({shapes})")


def require_affordable_run(
    proto: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, np.dtype]
) -> None:
    """Refuse a run whose largest tensor, or whose work, has no hope within the limits.

    Args:
        proto: the model.
        shapes: of its tensors, as far as they are known.
        dtypes: their types; 4 bytes where unknown.

    Raises:
        LimitError: it has none.
    """
    macs = 0.0
    for node in proto.graph.node:
        needed = 0
        for name in node.output:
            if (shape := shapes.get(name)) is not None:
                size = math.prod(shape)
                needed += size * (dtypes[name].itemsize if name in dtypes else 4)
                macs += size * _depth(node, shapes)
        require_memory(needed, f"what node '{(node.name or node.op_type)[:80]}' ({node.op_type}) makes")
    require_work(macs, "one run at the shape that was tried")


def _depth(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Multiply-adds for each element of the output, at least."""
    first, second = ((shapes.get(name) if name else None) for name in (*node.input, "", "")[:2])
    if node.op_type == "Conv" and second is not None:
        return math.prod(second[1:])
    if node.op_type in ("MatMul", "Gemm", "MatMulInteger", "QLinearMatMul") and first:
        return first[-1]
    return 1
