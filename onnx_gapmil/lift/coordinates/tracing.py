"""One forward pass that gives every tensor of a graph the coordinates that its elements look at."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.errors import GapmilError
from onnx_gapmil.lift.coordinates import contractions, movers, pointwise, sampling, windows
from onnx_gapmil.lift.coordinates.cancelled import left_over
from onnx_gapmil.lift.coordinates.fields import DECIDED, MIXED, NONE, POOLED, UNKNOWN
from onnx_gapmil.lift.coordinates.looks import Looks, conflicts, joined, look_the_same, pixels, seen_nowhere, stated
from onnx_gapmil.lift.coordinates.scene import Scene
from onnx_gapmil.lift.coordinates.sums import whole_sum
from onnx_gapmil.lift.coordinates.unrolling import carried_before, is_counted, is_written_out

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import onnx_graphsurgeon as gs

    from onnx_gapmil.graph.trace import Trace
    from onnx_gapmil.graph.view import ModelGraph
    from onnx_gapmil.lift.coordinates.cancelled import Term
    from onnx_gapmil.lift.coordinates.scene import Rule

#: ONNX's operators and those of ONNX Runtime; what others mean by the same name is theirs to know.
_DOMAINS = (None, "", "ai.onnx", "com.microsoft", "com.microsoft.nchwc")

RULES: dict[str, Rule] = {
    **movers.RULES,
    **sampling.RULES,
    **windows.RULES,
    **contractions.RULES,
    **pointwise.RULES,
}


def trace_coordinates(graph: ModelGraph, trace: Trace) -> dict[str, Looks]:
    """Where the elements of every tensor look, at the traced size.

    Args:
        graph: the model, its local functions inlined, constant branches put in place and loops written out: what
            stands in others is not followed.
        trace: its real shapes.

    Returns:
        By tensor; constants, and what depends on shapes alone, are left out.
    """
    found = _traced(graph, trace, memory=False)
    # A recurrent layer over rows joins what it says of a row with what it kept of the rows before.
    joined = any(is_written_out(name) and any(map(conflicts, looks.views)) for name, looks in found.items())
    return _traced(graph, trace, memory=True) if joined else found


def _traced(graph: ModelGraph, trace: Trace, *, memory: bool) -> dict[str, Looks]:
    """One pass; with ``memory``, states that look elsewhere in each iteration count as mixtures of many places."""
    scene = Scene(graph, trace)
    found = {entry.name: pixels(entry.name, entry.traced) for entry in trace.inputs}
    for node in graph.nodes:
        outputs = [tensor.name for tensor in node.outputs if tensor.name]
        if outputs and not all(scene.is_fixed(name) for name in outputs):
            for name, looks in zip((tensor.name for tensor in node.outputs), _apply(node, found, scene), strict=False):
                if name:
                    found[name] = _carried(name, looks, found) if memory else looks
    return found


def _carried(name: str, looks: Looks, found: Mapping[str, Looks]) -> Looks:
    """A state that an iteration hands to the next: where it looks elsewhere each time, it is a memory of many places.

    A map that layer after layer is applied to keeps its places.
    """
    before = found.get(carried_before(name) or "")
    if before is None or before.shape != looks.shape or len(before.views) != len(looks.views):
        return looks
    return looks if look_the_same(before, looks) else stated([looks], looks.shape, MIXED, looks.why)


def _apply(node: gs.Node, found: dict[str, Looks], scene: Scene) -> list[Looks]:
    summed = whole_sum(node, scene)
    if summed is not None and summed.source in found:
        return [summed.looks(found[summed.source], scene.out_shape(node))]
    parts = [found.get(tensor.name) or seen_nowhere(scene.shape(tensor.name) or ()) for tensor in node.inputs]
    rule = RULES.get(node.op) if node.domain in _DOMAINS else None
    subgraphs = [value for value in node.attrs.values() if hasattr(value, "nodes")]
    what = f"{node.op} '{node.name}'"
    if rule is None or subgraphs or scene.shape(node.outputs[0].name) is None:
        parts = [*parts, *_captured(subgraphs, found)]
        if why := _decided(node, scene):
            return _unknown(node, parts, scene, f"{what} {why}", DECIDED)
        return _unknown(node, parts, scene, f"{what} is not followed")
    try:
        with np.errstate(all="ignore"):  # a file's weights may be NaN or enormous; what follows from them is not finite
            left = left_over(node, scene)
            if left is not None:
                parts = [_term(term, found, scene) for term in left]
            made = rule(node, parts, scene) if left is None else [joined(parts, scene.out_shape(node))]
            return _attended(parts, made)
    except (GapmilError, LookupError, ValueError, TypeError, IndexError) as error:
        # A file that the rule does not expect: nothing is claimed of what it makes.
        return _unknown(node, parts, scene, f"{what} is not followed ({str(error).splitlines()[0][:200]})")


def _term(term: Term, found: Mapping[str, Looks], scene: Scene) -> Looks:
    """What a term of a sum sees, where it is added."""
    looks = found.get(term.name) or seen_nowhere(scene.shape(term.name) or ())
    for move in term.moves:
        (looks,) = _attended([looks], RULES[move.op](move, [looks], scene))
    return looks


def _attended(parts: list[Looks], made: list[Looks]) -> list[Looks]:
    """What a node makes of an attention's output has the places of its queries, unless another operand has its own.

    Where a matrix of the image weighed places, no other operand keeps them for sure.
    """
    weighed = any(part.weighed for part in parts)
    kept = any(part.has_places and not part.attended for part in parts)
    attended = weighed or (any(part.attended for part in parts) and not kept)
    return [
        replace(looks, attended=looks.attended or looks.weighed or attended, weighed=looks.weighed or weighed)
        for looks in made
    ]


def _decided(node: gs.Node, scene: Scene) -> str:
    """What runs in a node by an open size or by the image, as a clause; "" where that is told by the file.

    Stripes of noise show one size and one kind of image, and the other branch may turn the map: they are not asked.
    """
    if node.op == "If":
        if scene.is_fixed(node.inputs[0].name):
            return "takes another branch at another size of the input, which the file leaves open"
        return "takes the branch that the image decides"
    if node.op == "Loop" and not is_counted(scene.graph.node_proto(node), scene.is_fixed):
        return "runs as often as the image decides"
    return ""


def _captured(subgraphs: Iterable[gs.Graph], found: dict[str, Looks]) -> list[Looks]:
    """What branches and bodies read of the graph around them."""
    names = set()
    pending = list(subgraphs)
    while pending:
        graph = pending.pop()
        for node in graph.nodes:
            names |= {tensor.name for tensor in node.inputs if tensor.name}
            pending += [value for value in node.attrs.values() if hasattr(value, "nodes")]
        names |= {tensor.name for tensor in graph.outputs}
    return [found[name] for name in names if name in found]


def _unknown(node: gs.Node, parts: list[Looks], scene: Scene, why: str, state: float = UNKNOWN) -> list[Looks]:
    """Nothing is known of a node's outputs, unless its inputs had no places left either."""
    seen = [view for part in parts for view in part.views if view]
    states = [field.values for view in seen for (_, axis), field in view.items() if axis > 0]
    gone = bool(states) and all(((values == POOLED) | (values == NONE)).all() for values in states)
    if gone:
        state, why = POOLED, ""
    return [stated(parts, scene.shape(tensor.name) or (), state, why) for tensor in node.outputs]
