"""Local functions inlined and constant branches put in place, so that a pass sees one plain graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_gapmil.errors import GapmilError
from onnx_gapmil.graph.branches import splice_branches
from onnx_gapmil.graph.functions import has_functions, inline_functions
from onnx_gapmil.graph.trace import trace as run_trace
from onnx_gapmil.graph.view import ModelGraph

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from onnx_gapmil.graph.trace import Trace


def plain(graph: ModelGraph, trace: Trace) -> tuple[ModelGraph, Trace]:
    """The same model without functions and without branches whose condition is fixed, and its trace.

    A model that does not run like that is given back as it is.
    """
    try:
        return _opened_up(graph, trace)
    except GapmilError:
        return graph, trace


def _opened_up(graph: ModelGraph, trace: Trace) -> tuple[ModelGraph, Trace]:
    proto = graph.proto
    for _ in range(8):  # branches may hold branches
        again = inline_functions(proto) if has_functions(proto) else proto
        again = splice_branches(again, _conditions(graph, trace))
        if again is proto:
            break
        proto = again
        graph = ModelGraph(proto, graph.folder)
        trace = run_trace(graph)
    return graph, trace


def _conditions(graph: ModelGraph, trace: Trace) -> Callable[[str], np.ndarray | None]:
    """The values of tensors that are fixed at the traced size."""
    return lambda name: trace.values[name] if name in trace.values else graph.value(name)
