"""Make a head's logits of another aggregator of its prediction grid: new nodes in the vendor's graph."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import onnx

from onnx_gapmil.aggregate.fitted import FittedPool, takes_probabilities
from onnx_gapmil.aggregate.fitted_nodes import FittedNodes
from onnx_gapmil.aggregate.nodes import CellNodes
from onnx_gapmil.errors import InputError
from onnx_gapmil.lift.lifted import elem_type
from onnx_gapmil.lift.verdict import ADVICE, Refusal, UnsupportedHeadError
from onnx_gapmil.rewriting.analysis import Analysis, analyse
from onnx_gapmil.rewriting.attachment.attach import attach
from onnx_gapmil.rewriting.head_choice import chosen_place
from onnx_gapmil.rewriting.proved_record import graph_digest, without_records
from onnx_gapmil.rewriting.repooled.exchanging import exchange, needed_tensors
from onnx_gapmil.rewriting.repooled.record import PoolRecord, RepooledHead, write_pools

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from onnx_gapmil.aggregate.aggregator import Aggregator
    from onnx_gapmil.graph.loading import LoadedModel
    from onnx_gapmil.lift.heads import LiftedHead
    from onnx_gapmil.lift.tokens.modes import ClassTokenMode


@dataclass(frozen=True)
class Pooling:
    """One tensor of logits, and the aggregator that makes it now.

    Attributes:
        head: what the record says of it.
        lifted: the heads that read these logits; nearly always one.
        grid: the prediction grid's tensor (N, K, H, W), channel by channel as the vendor's logits are.
        channels: K.
        dtype: of the logits.
        scores: the tensor (N, K) that the aggregator gives, before it has the logits' shape.
    """

    head: RepooledHead
    lifted: tuple[LiftedHead, ...]
    grid: str
    channels: int
    dtype: np.dtype
    scores: str


@dataclass(frozen=True)
class RepooledGraph:
    """A repooled model in memory, unproved.

    Attributes:
        model: the vendor's graph with the new pools.
        record: what it says of itself.
        poolings: its new pools.
        analysis: of the vendor's graph.
        refusals: by output, why others keep the vendor's pool.
    """

    model: onnx.ModelProto
    record: PoolRecord
    poolings: tuple[Pooling, ...]
    analysis: Analysis
    refusals: dict[str, Refusal]


def repool_graph(
    vendor: LoadedModel,
    wishes: Mapping[str, Aggregator | FittedPool],
    *,
    class_token: ClassTokenMode | None = None,
    analysis: Analysis | None = None,
) -> RepooledGraph:
    """Repool heads of a vendor's model in memory.

    Args:
        vendor: the model as its vendor wrote it.
        wishes: by head's output, the aggregator or fitted pool that is to give its logits; none is ``mean``.
        class_token: how far heads that read a class token are lifted.
        analysis: of the model, where there is one already.

    Raises:
        UnsupportedHeadError: none of these heads can be repooled.
        InputError: an output has no head; an aggregator sorts cells, which the operator set cannot; or a fitted pool
            is for another head.
        ModelError: the model cannot be read or run.
    """
    analysis = analyse(vendor, class_token=class_token) if analysis is None else analysis
    search, build = analysis.search, analysis.build
    named = [(head.output, head.outputs) for head in search.heads]
    groups: dict[str, list[tuple[LiftedHead, Aggregator | FittedPool]]] = {}
    for output, aggregator in wishes.items():
        head = search.heads[chosen_place(output, named, search.refusals, vendor.name)]
        groups.setdefault(head.logits.tensor, []).append((head, aggregator))
    refusals: dict[str, Refusal] = {}
    poolings: list[Pooling] = []
    for tensor, group in groups.items():
        heads = tuple(head for head, _ in group)
        refused = _refused(analysis, heads, group[0][1])
        if refused is not None:
            refusals |= dict.fromkeys((head.output for head in heads), refused)
        else:
            poolings.append(_pooling(analysis, tensor, heads, group[0][1]))
    if not poolings:
        raise UnsupportedHeadError(next(iter(refusals.values())), refusals)
    ends = [entry.head.mean for entry in poolings]
    attach(
        search.walk,
        maps=[grid.source for entry in poolings for head in entry.lifted for grid in head.features],
        logits=[],
        outputs=[*ends, *(entry.grid for entry in poolings)],
    )
    proto = onnx.ModelProto()
    proto.CopyFrom(analysis.graph.proto)
    proto = without_records(replace(vendor, proto=proto)).proto
    record = PoolRecord(
        tuple(entry.head for entry in poolings),
        vendor.sha256,
        graph_digest(proto),
        next((head.class_token for entry in poolings for head in entry.lifted if head.class_token is not None), None),
        analysis.inlined,
    )
    count = len(proto.graph.node)
    build.append_to(proto, ends)
    _insert(proto.graph, count, poolings)
    write_pools(proto, record)
    return RepooledGraph(proto, record, tuple(poolings), analysis, refusals)


def class_heads(analysis: Analysis) -> list[LiftedHead]:
    """The heads of classes: features of other outputs are none.

    Raises:
        UnsupportedHeadError: there is none.
    """
    search = analysis.search
    found = [head for head in search.heads if not head.features_of]
    if not found and search.refusals:
        first = next(iter(search.refusals.values()))
        refusal = next((entry for entry in search.refusals.values() if entry.code != "not-a-classifier"), first)
        raise UnsupportedHeadError(refusal, search.refusals)
    return found or list(search.heads)


def _refused(analysis: Analysis, heads: Sequence[LiftedHead], aggregator: Aggregator | FittedPool) -> Refusal | None:
    """Why these logits cannot be made by another pool; None where they can."""
    first, graph = heads[0], analysis.graph
    tensor = first.logits.tensor
    node = graph.producer(tensor)
    orders = [head.order for head in heads if head.order is not None]
    others = [
        value.name for value in graph.outputs if value.name not in {name for head in heads for name in head.outputs}
    ]
    made = [name for name in others if tensor in needed_tensors(graph.proto.graph, [name])]
    dtype = analysis.trace.dtypes.get(tensor)
    if first.features_of:
        what = f"it is features that {', '.join(map(repr, first.features_of))} are made of, and no classes"
    elif first.logits.inside or first.logits.axis is not None or node is None:
        what = "its logits are no tensor of the graph, but made within an operator or a part of a tensor"
    elif any(order.against or order.negated for order in orders):
        what = "its classes are differences or opposites of what the head computes, which no other pool gives alike"
    elif first.scores.quantization is not None or (dtype is not None and dtype.kind in "iu"):
        what = "its logits leave as integers, whose range is that of a mean over cells"
    elif made:
        what = f"output '{made[0]}' is made of these logits too, in a way that is not followed"
    elif takes_probabilities(aggregator) and len({_alone(head) for head in heads}) > 1:
        what = "its logits go through a softmax and a sigmoid, so that they have no one probability"
    else:
        return None
    where = analysis.search.walk.describe(node) if node is not None else f"'{tensor}'"
    message = f"{where}: output '{first.outputs[0]}' cannot be repooled: {what}"
    return Refusal("not-repoolable", where, message, ADVICE["not-repoolable"])


def _alone(head: LiftedHead) -> bool:
    """Whether each of its classes is read by itself."""
    return head.logits.activation == "sigmoid" or head.scores.channels == 1


def _pooling(
    analysis: Analysis, tensor: str, heads: tuple[LiftedHead, ...], aggregator: Aggregator | FittedPool
) -> Pooling:
    build, trace, lifted = analysis.build, analysis.trace, heads[0].scores
    dtype = trace.dtypes.get(tensor, lifted.dtype)
    open_size = any(entry.space_is_open for entry in trace.inputs)
    alone = _alone(heads[0])
    known = None if open_size else math.prod(lifted.size)
    grid, constants = lifted.name, {}
    if isinstance(aggregator, FittedPool):
        _check_fits(aggregator, heads[0], analysis)
        if aggregator.of_features:
            grid = lifted.features[0].name
        nodes = FittedNodes(build, grid, aggregator, dtype=lifted.dtype, cells=known, alone=alone)
        scores, constants = nodes.logits(), nodes.constants
    else:
        cells = CellNodes(build, grid, channels=lifted.channels, dtype=lifted.dtype, cells=known, alone=alone)
        scores = cells.logits(aggregator)
    shaped = _as_logits(analysis, heads[0], tensor, scores)
    mean = build.unique(f"{tensor}/gapmil_mean")
    # A Cast also where nothing is to be cast, so that the tensor has a name of its own.
    build.node("Cast", [shaped], output=mean, to=elem_type(dtype))
    head = RepooledHead(
        output=heads[0].output,
        names=tuple(entry.output for entry in heads),
        outputs=tuple(dict.fromkeys(name for entry in heads for name in entry.outputs)),
        aggregator=aggregator,
        logits=tensor,
        mean=mean,
        alone=alone,
        constants=constants,
    )
    return Pooling(head, heads, grid, lifted.channels, dtype, scores)


def _check_fits(pool: FittedPool, head: LiftedHead, analysis: Analysis) -> None:
    """Whether a fitted pool is for such a head.

    Raises:
        InputError: it is not.
    """
    lifted, size = head.scores, pool.size
    what = ""
    if pool.classes != lifted.channels:
        what = f"it is of {pool.classes} logits, and the head has {lifted.channels}"
    elif size is not None and (size != lifted.size or any(entry.space_is_open for entry in analysis.trace.inputs)):
        what = f"it weighs a grid of {size[0]} x {size[1]} cells, and the model's is another, or of open size"
    elif pool.of_features and (why := unlike_a_layer(head, analysis)):
        what = why
    elif pool.of_features and pool.arrays["weight"].shape[1] != lifted.features[0].channels:
        what = "its layer has another number of features than the head pools"
    if what:
        raise InputError(f"the pool '{pool.key}' does not fit output '{head.outputs[0]}': {what}.")


def unlike_a_layer(head: LiftedHead, analysis: Analysis) -> str:
    """Why a head is more than one linear layer on the cells of one feature grid; "" where it is that."""
    if head.lifted.conditional:
        return "what stands between its pool and its logits is not linear"
    if len(head.features) != 1 or head.class_token is not None:
        return "it pools several feature grids"
    if head.position_dependent or head.pool_weights:
        return "its weights depend on the position"
    if head.quantized or head.features[0].cells or head.features[0].prefix:
        return "it rounds to integers, or its cells are more than rows and columns"
    if not analysis.trace.measured:
        return "its weights exceed what a trial run may read"
    return ""


def _as_logits(analysis: Analysis, head: LiftedHead, tensor: str, scores: str) -> str:
    """Scores (N, K) in the shape of the vendor's logits."""
    build, lifted = analysis.build, head.scores
    shape, axis = analysis.trace.shapes.get(tensor, lifted.shape), lifted.batch_axis
    squeezed = any(step.op == "Squeeze" for step in head.chain)
    if not any(entry.batch_is_open for entry in analysis.trace.inputs):
        if axis is None or axis <= 0 or shape[axis] == 1:
            return scores if shape == (lifted.batch, lifted.channels) else build.reshape(scores, list(shape))
    elif squeezed or axis is None or axis < 0:  # a shape that depends on the batch: the vendor's own says it
        return build.node("Reshape", [scores, build.node("Shape", [tensor])])
    inner = [dim for place, dim in enumerate(shape) if place != axis]
    if inner != [lifted.channels]:
        scores = build.reshape(scores, [-1, *inner])
    order = [*range(1, axis + 1), 0, *range(axis + 1, len(shape))]
    return scores if axis == 0 else build.node("Transpose", [scores], perm=order)


def _insert(graph: onnx.GraphProto, count: int, poolings: Sequence[Pooling]) -> None:
    """Put each block, which was appended, behind the node that makes the vendor's logits, and exchange the names."""
    appended = onnx.GraphProto()
    appended.node.extend(graph.node[count:])
    del graph.node[count:]
    makers = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    own = onnx.GraphProto()
    own.node.extend(appended.node)
    blocks: dict[int, list[onnx.NodeProto]] = {}
    placed: set[int] = set()
    for entry in sorted(poolings, key=lambda found: makers[found.head.logits]):
        wanted = needed_tensors(own, [entry.head.mean])
        block = [
            index
            for index, node in enumerate(appended.node)
            if index not in placed and wanted.intersection(node.output)
        ]
        placed |= set(block)
        blocks[makers[entry.head.logits]] = [appended.node[index] for index in block]
    nodes = onnx.GraphProto()
    ours: list[int] = []
    for index, node in enumerate(graph.node):
        nodes.node.append(node)
        ours += range(len(nodes.node), len(nodes.node) + len(blocks.get(index, ())))
        nodes.node.extend(blocks.get(index, ()))
    del graph.node[:]
    graph.node.extend(nodes.node)
    pairs = {entry.head.logits: entry.head.mean for entry in poolings}
    exchange(graph, pairs | {mean: logits for logits, mean in pairs.items()}, own=ours)
