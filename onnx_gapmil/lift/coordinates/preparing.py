"""Local functions inlined, constant branches put in place, loops written out: a pass then sees one plain graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx

from onnx_gapmil.errors import GapmilError
from onnx_gapmil.graph.branches import splice_branches
from onnx_gapmil.graph.functions import has_functions, inline_functions
from onnx_gapmil.graph.open_dimensions import OpenDimensions
from onnx_gapmil.graph.trace import trace as run_trace
from onnx_gapmil.graph.view import ModelGraph
from onnx_gapmil.lift.coordinates.fields import UNKNOWN
from onnx_gapmil.lift.coordinates.looks import look_the_same
from onnx_gapmil.lift.coordinates.tracing import trace_coordinates
from onnx_gapmil.lift.coordinates.unrolling import Unrolled, unrolled

if TYPE_CHECKING:
    from collections.abc import Callable

    from onnx_gapmil.graph.trace import Trace
    from onnx_gapmil.lift.coordinates.looks import Looks

    Value = Callable[[str], np.ndarray | None]


#: Conditions that are told by an open size or by the image, of which both branches are followed.
_BOTH = 4


def plain(graph: ModelGraph, trace: Trace) -> tuple[ModelGraph, Trace]:
    """The same model without functions, branches whose condition is fixed and loops of a fixed length, and its trace.

    A branch that an open size chooses, the batch's or the image's, or that the image itself does (one that divides by
    255 what is not divided yet), is put in place only where the other one gives the same places; the If stays where it
    does not, since what holds at the traced size may not hold at another.
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
        again = _written_out(splice_branches(again, _conditions(graph, trace, value)), graph, trace, turn, value)
        if again is proto:
            break
        proto = again
        graph = ModelGraph(proto, graph.folder)
        trace = run_trace(graph, at=[trace.inputs])
    return graph, trace


def _values(graph: ModelGraph, trace: Trace) -> Value:
    """The values of tensors that are fixed at the traced size."""
    return lambda name: trace.values[name] if name in trace.values else graph.value(name)


def _conditions(graph: ModelGraph, trace: Trace, value: Value) -> Value:
    """The values that branches are taken by: none where an open size or the image decides them, and it matters."""
    sizes = OpenDimensions(graph, trace)
    alike: dict[str, bool] = {}

    def condition(name: str) -> np.ndarray | None:
        held = value(name)
        if held is None and name not in graph.shape_computed:
            held = np.array(True)  # by the image
        elif held is None or not sizes.decide(name):
            return held
        if name not in alike:
            alike[name] = len(alike) < _BOTH and _same_both_ways(graph, trace, name, held)
        return held if alike[name] else None

    return condition


def _same_both_ways(graph: ModelGraph, trace: Trace, condition: str, held: np.ndarray) -> bool:
    """Whether what a condition chooses looks at the same places whichever branch is taken."""
    outputs = [
        tensor.name
        for node in graph.nodes
        if node.op == "If" and node.inputs[0].name == condition
        for tensor in node.outputs
        if tensor.name
    ]
    try:
        first, second = (_looks_if(graph, trace, condition, taken) for taken in (held, np.logical_not(held)))
    except GapmilError:  # it does not run at the traced size
        return False
    pairs = [(first.get(name), second.get(name)) for name in outputs]
    return all(one is not None and two is not None and _followed(one) and look_the_same(one, two) for one, two in pairs)


def _looks_if(graph: ModelGraph, trace: Trace, condition: str, taken: np.ndarray) -> dict[str, Looks]:
    """Where the tensors look, if a condition held or did not."""
    proto = splice_branches(graph.proto, lambda name: taken if name == condition else None)
    inner = ModelGraph(proto, graph.folder)
    return trace_coordinates(inner, run_trace(inner, at=[trace.inputs]))


def _followed(looks: Looks) -> bool:
    return not any((found.values >= UNKNOWN).any() for view in looks.views for found in view.values())


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
