"""Local functions inlined, constant branches put in place, loops written out: a pass then sees one plain graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

from onnx_gapmil.errors import GapmilError
from onnx_gapmil.graph.branches import splice_branches
from onnx_gapmil.graph.functions import has_functions, inline_functions
from onnx_gapmil.graph.trace import trace as run_trace
from onnx_gapmil.graph.view import ModelGraph
from onnx_gapmil.lift.coordinates.unrolling import Unrolled, unrolled

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from onnx_gapmil.graph.trace import Trace

    Value = Callable[[str], np.ndarray | None]


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
        value = _values(graph, trace)
        again = _written_out(splice_branches(again, value), graph, trace, turn, value)
        if again is proto:
            break
        proto = again
        graph = ModelGraph(proto, graph.folder)
        trace = run_trace(graph)
    return graph, trace


def _values(graph: ModelGraph, trace: Trace) -> Value:
    """The values of tensors that are fixed at the traced size."""
    return lambda name: trace.values[name] if name in trace.values else graph.value(name)


def _written_out(proto: onnx.ModelProto, graph: ModelGraph, trace: Trace, turn: int, value: Value) -> onnx.ModelProto:
    """A copy in which each Scan and Loop of a fixed length is its iterations; the model itself if it has none."""

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
