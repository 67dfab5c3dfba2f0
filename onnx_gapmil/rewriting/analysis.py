"""Read a model, trace it and lift what heads it has: what ``inspect`` shows and ``rewrite`` writes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from onnx_gapmil.errors import ModelError
from onnx_gapmil.graph.branches import splice_branches
from onnx_gapmil.graph.builder import GraphBuilder
from onnx_gapmil.graph.functions import has_functions, inline_functions
from onnx_gapmil.graph.loading import LoadedModel, ModelSource, limited_for, load_model
from onnx_gapmil.graph.open_dimensions import OpenDimensions
from onnx_gapmil.graph.trace import Trace, trace
from onnx_gapmil.graph.view import ModelGraph
from onnx_gapmil.lift.class_tokens import lift_class_tokens
from onnx_gapmil.lift.heads import HeadSearch, lift_heads
from onnx_gapmil.rewriting.open_sizes import with_open_sizes
from onnx_gapmil.rewriting.sizing.one_position import with_one_position
from onnx_gapmil.rewriting.sizing.record import said_size, size_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import onnx

    from onnx_gapmil.lift.tokens.modes import ClassTokenMode
    from onnx_gapmil.lift.verdict import Readout


#: Branches may hold functions and branches, so many deep.
_NESTED = 8


@dataclass(frozen=True)
class Analysis:
    """A model read, traced and searched for heads.

    Attributes:
        source: the model as it was read.
        graph: a view of it, after inlining where that was needed.
        trace: the real shapes of its tensors.
        build: the nodes of all lifted heads; none of them is in the graph yet.
        search: what became of each output.
        inlined: whether local functions were inlined, or branches that are always taken opened up.
        readout: which grid was built.
    """

    source: LoadedModel
    graph: ModelGraph
    trace: Trace
    build: GraphBuilder
    search: HeadSearch
    inlined: bool
    readout: Readout


def analyse(
    model: ModelSource, *, readout: Readout = "contribution", class_token: ClassTokenMode | None = None
) -> Analysis:
    """Read a model, trace it and lift what heads it has; nothing is written.

    Args:
        model: path of an ``.onnx`` file, a ModelProto, or a model that was read already.
        readout: which grid to build.
        class_token: how far heads that read a class token are lifted; None refuses them.

    Raises:
        ModelError: the model cannot be read or run.
    """
    with limited_for(model):
        return _analysed(load_model(model), readout, class_token)


def _analysed(source: LoadedModel, readout: Readout, class_token: ClassTokenMode | None) -> Analysis:
    analysis = _analyse(source, source.proto, readout, class_token, inlined=False)
    # Local functions, as jax2onnx writes them, may hide the pool, and so may an If that always takes one branch.
    # Opening them up is the one change to the vendor's graph, so it is made only where a head cannot be found without.
    opened = source.proto
    for turn in range(_NESTED if analysis.search.refusals else 0):
        inner = inline_functions(opened) if has_functions(opened) else opened
        inner = splice_branches(inner, _conditions(source, inner, analysis if not turn else None))
        if inner is opened:
            break
        opened = inner
    if opened is not source.proto:
        again = _analyse(source, opened, readout, class_token, inlined=True)
        if len(again.search.heads) > len(analysis.search.heads):
            analysis = again
    sized = size_of(source.metadata)
    if sized is None or not analysis.search.refusals:
        return analysis
    search = analysis.search
    refusals = with_one_position(analysis.graph, analysis.trace, search.refusals, sized.size)
    return replace(analysis, search=replace(search, refusals=refusals))


def _conditions(
    source: LoadedModel, proto: onnx.ModelProto, analysis: Analysis | None
) -> Callable[[str], np.ndarray | None]:
    """The values of tensors that are the same for every input of any allowed shape: what branches may be taken by."""
    if not any(node.op_type == "If" for node in proto.graph.node):
        return lambda _: None
    if analysis is not None and analysis.graph.proto is proto:
        return OpenDimensions(analysis.graph, analysis.trace).value
    graph = ModelGraph(proto, source.folder)
    try:
        return OpenDimensions(graph, trace(graph)).value
    except ModelError:
        return graph.value


def _analyse(
    source: LoadedModel, proto: onnx.ModelProto, readout: Readout, class_token: ClassTokenMode | None, *, inlined: bool
) -> Analysis:
    graph = ModelGraph(proto, source.folder)
    try:
        traced = trace(graph)
    except ModelError as error:
        sized = size_of(source.metadata)
        at = "" if sized is None else f" at --size {said_size(sized.size)}"
        raise type(error)(f"{source.name}{at}: {error}") from error
    build = GraphBuilder(graph)
    search = lift_heads(graph, traced, build, readout)
    if class_token is not None and search.refusals:
        search = lift_class_tokens(search, class_token)
        traced = search.walk.trace
    search = with_open_sizes(source, graph, traced, search)
    return Analysis(source, graph, traced, build, search, inlined, readout)
