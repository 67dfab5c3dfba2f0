"""Local functions inlined, constant branches put in place, loops written out: a pass then sees one plain graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

from onnx_gapmil.errors import GapmilError
from onnx_gapmil.graph.functions import has_functions, inline_functions
from onnx_gapmil.graph.trace import trace as run_trace
from onnx_gapmil.graph.view import ModelGraph
from onnx_gapmil.lift.coordinates.unrolling import Unrolled, unrolled

if TYPE_CHECKING:
    import numpy as np

    from onnx_gapmil.graph.trace import Trace


def plain(graph: ModelGraph, trace: Trace) -> tuple[ModelGraph, Trace]:
    """The same model without functions, branches whose condition is fixed and loops of a fixed length, and its trace.

    A model that does not run like that is given back as it is.
    """
    try:
        return _opened_up(graph, trace)
    except GapmilError:
        return graph, trace


def _opened_up(graph: ModelGraph, trace: Trace) -> tuple[ModelGraph, Trace]:
    proto = graph.proto
    for turn in range(8):  # branches may hold branches
        again = inline_functions(proto) if has_functions(proto) else proto
        again = _written_out(_spliced(again, graph, trace), graph, trace, turn)
        if again is proto:
            break
        proto = again
        graph = ModelGraph(proto, graph.folder)
        trace = run_trace(graph)
    return graph, trace


def _spliced(proto: onnx.ModelProto, graph: ModelGraph, trace: Trace) -> onnx.ModelProto:
    """A copy in which each If with a fixed condition is the branch that it takes; the model itself if it has none."""
    taken = {}
    for place, node in enumerate(proto.graph.node):
        if node.op_type == "If" and node.domain in ("", "ai.onnx"):
            name = node.input[0]
            value = trace.values[name] if name in trace.values else graph.value(name)
            if value is not None and value.size == 1:
                wanted = "then_branch" if bool(value.reshape(())) else "else_branch"
                taken[place] = next(entry.g for entry in node.attribute if entry.name == wanted)
    if not taken:
        return proto
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    del copy.graph.node[:]
    for place, node in enumerate(proto.graph.node):
        branch = taken.get(place)
        copy.graph.node.extend([node] if branch is None else _opened(branch, node))
        if branch is not None:
            copy.graph.initializer.extend(branch.initializer)
    return copy


def _written_out(proto: onnx.ModelProto, graph: ModelGraph, trace: Trace, turn: int) -> onnx.ModelProto:
    """A copy in which each Scan and Loop of a fixed length is its iterations; the model itself if it has none."""

    def value(name: str) -> np.ndarray | None:
        return trace.values[name] if name in trace.values else graph.value(name)

    made: dict[int, Unrolled] = {}
    for place, node in enumerate(proto.graph.node):
        found = unrolled(node, value, trace.shapes, graph.opset, f"{turn}.{place}")
        if found is not None:
            made[place] = found
    if not made:
        return proto
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    del copy.graph.node[:]
    for place, node in enumerate(proto.graph.node):
        copy.graph.node.extend(made[place].nodes if place in made else [node])
    for loop in made.values():
        copy.graph.initializer.extend(loop.initializers)
    return copy


def _opened(branch: onnx.GraphProto, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """A branch's nodes, whose names hide no outer ones, and nodes that give its results the names they have outside."""
    ends = [
        onnx.helper.make_node("Identity", [inner.name], [outer])
        for inner, outer in zip(branch.output, node.output, strict=True)
        if outer
    ]
    return [*branch.node, *ends]
