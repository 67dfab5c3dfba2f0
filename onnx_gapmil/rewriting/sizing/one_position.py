"""A size that leaves one position of the map that a head pools: the refusal says so, and not what stands behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_gapmil.graph.ancestors import ancestors
from onnx_gapmil.lift.verdict import Refusal
from onnx_gapmil.rewriting.sizing.record import said_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onnx_gapmil.graph.trace import Trace
    from onnx_gapmil.graph.view import ModelGraph
    from onnx_gapmil.rewriting.sizing.record import Size

_POOLS = frozenset(
    {
        "AveragePool",
        "GlobalAveragePool",
        "GlobalLpPool",
        "GlobalMaxPool",
        "MaxPool",
        "QLinearAveragePool",
        "QLinearGlobalAveragePool",
        "ReduceMax",
        "ReduceMean",
        "ReduceSum",
    }
)
_ADVICE = "Choose a larger --size: the grid needs two rows or two columns at the least."


def with_one_position(
    graph: ModelGraph, trace: Trace, refusals: Mapping[str, Refusal], size: Size
) -> dict[str, Refusal]:
    """The refusals of a model at another size; those of outputs whose nearest pool meets one position say that.

    The walk takes such a pool for none and goes on behind it, so that it refuses what it meets there.

    Args:
        graph: the model at that size.
        trace: its shapes there.
        refusals: by output.
        size: (height, width), for the message.
    """
    return {output: _of_one_position(graph, trace, output, size) or found for output, found in refusals.items()}


def _of_one_position(graph: ModelGraph, trace: Trace, output: str, size: Size) -> Refusal | None:
    for name in ancestors(graph, output, lambda *_: False):
        node = graph.producer(name)
        if node is None or node.op not in _POOLS:
            continue
        shape = trace.shapes.get(str(node.inputs[0].name), ())
        # One position: beside the batch and the channels no axis is wider.
        if len(shape) < 3 or sum(dim != 1 for dim in shape[1:]) > 1:
            return None
        where = f"{node.name or name} ({node.op})"
        message = (
            f"{where}: at --size {said_size(size)} the map that it pools has one position, and a grid of one cell "
            "tells no place"
        )
        return Refusal("no-spatial-pool", where, message, _ADVICE)
    return None
