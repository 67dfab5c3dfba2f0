"""Lift every output of a model, each by itself, or say why not."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.class_order import ClassOrder, SharesApart, find_order, in_order
from onnx_gapmil.lift.composed import compose
from onnx_gapmil.lift.features import made_of, unit_length
from onnx_gapmil.lift.lifting import Lifting
from onnx_gapmil.lift.logits import Activation, Logits, find_logits, find_members, real_outputs
from onnx_gapmil.lift.placing import PlacedHead, place
from onnx_gapmil.lift.quantization import QUANTIZING
from onnx_gapmil.lift.rules import RULES
from onnx_gapmil.lift.rules.classical import lift_scores_inside
from onnx_gapmil.lift.verdict import ADVICE, HeadRefused, LiftStep, Readout, Refusal, Verdict
from onnx_gapmil.lift.weighted_pools import WeightedPool, weighted_pools

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onnx_gapmil.graph.builder import GraphBuilder
    from onnx_gapmil.graph.trace import Trace
    from onnx_gapmil.graph.view import ModelGraph
    from onnx_gapmil.images.places import Places
    from onnx_gapmil.lift.lifted import FeatureGrid, Lifted
    from onnx_gapmil.lift.lifting import Rule
    from onnx_gapmil.lift.tokens.modes import ClassTokenMode


@dataclass(frozen=True)
class LiftedHead:
    """What the walk made of one head; `onnx_gapmil.rewriting.record.HeadRecord` is what is kept of it.

    Attributes:
        logits: where it starts.
        outputs: the graph outputs that are made from these logits.
        lifted: the prediction grid, class by class in the order of the outputs, its cells in reading order.
        chain: its operators from the pool to the logits, and what chooses or orders the classes behind them.
        places: where its cells look.
        scores: the lift of the logits as the vendor's graph has them.
        order: which of them the outputs' classes are; None if they are all, in that order.
        member: of an ensemble whose members' probabilities the output averages, this member's name; else "".
        features_of: the outputs whose scores are made of this one's by a dense layer, so that it is features and has no
            classes; empty for a head of classes.
        class_token: how far the class token that it reads is lifted; None where it reads none.
        pool_weights: of its pools those that do not weigh all positions alike.
    """

    logits: Logits
    outputs: tuple[str, ...]
    lifted: Lifted
    chain: tuple[LiftStep, ...]
    places: Places
    scores: Lifted
    order: ClassOrder | None = None
    member: str = ""
    features_of: tuple[str, ...] = ()
    class_token: ClassTokenMode | None = None
    pool_weights: tuple[WeightedPool, ...] = ()

    @property
    def output(self) -> str:
        """The head's name: the first output that it makes; a member of an ensemble has that of its logits."""
        return self.member or self.outputs[0]

    @property
    def verdict(self) -> Verdict:
        """``conditional`` if any step depends on the pooled tensor."""
        return "conditional" if self.lifted.conditional else "exact"

    @property
    def position_dependent(self) -> bool:
        """Whether it has weights of its own for each position: the same features mean another thing elsewhere."""
        # Each view has weights of its own, but for windows that are averaged.
        views = any(grid.laid is not None and not grid.laid.alike for grid in self.features)
        return views or any(step.position_dependent for step in self.chain)

    @property
    def rounding_bound(self) -> float | None:
        """How far rounding alone may move a logit; None where it does not round, or no bound is known."""
        if self.lifted.rounding is None or not np.isfinite(self.lifted.rounding).all():
            return None
        return float(self.lifted.rounding.max())

    @property
    def quantized(self) -> bool:
        """Whether it rounds to integers on the way."""
        rounds = self.lifted.rounding is not None  # a class token's trunk, too, which is no part of the chain
        return rounds or any(step.op.split("::")[-1] in QUANTIZING for step in self.chain)

    @property
    def features(self) -> tuple[FeatureGrid, ...]:
        """The grids that the head pools; nearly always one."""
        return self.lifted.features

    @property
    def classes(self) -> int:
        """K, the number of classes."""
        return self.lifted.channels


@dataclass(frozen=True)
class HeadSearch:
    """What became of each output.

    Attributes:
        heads: those that lift, in the order of the outputs; features that others are made of come last.
        refusals: by output, why the others do not.
        walk: the walk, which knows the lift of every tensor that it came by.
    """

    heads: tuple[LiftedHead, ...]
    refusals: dict[str, Refusal]
    walk: Lifting


def lift_heads(
    graph: ModelGraph,
    trace: Trace,
    build: GraphBuilder,
    readout: Readout = "contribution",
    rules: Mapping[tuple[str, str], Rule] = RULES,
    walk: Lifting | None = None,
) -> HeadSearch:
    """Follow every output back to its pool and lift its head.

    Args:
        graph: the model.
        trace: its real shapes.
        build: collects the new nodes.
        readout: which grid to build.
        rules: the lift rule of each operator; with one of your own, ``RULES | rule_table([lift_mine])``.
        walk: over another graph with the same outputs; made of the others if None.
    """
    walk = Lifting(graph, trace, build, readout, rules) if walk is None else walk
    found: dict[str, list[Logits]] = {}
    heads: list[LiftedHead] = []
    refusals: dict[str, Refusal] = {}
    for output in real_outputs(graph):
        for logits in find_members(graph, output, trace.shapes) or [find_logits(graph, output)]:
            # Put together from several probabilities: its classes have logits that are no tensor of the vendor's.
            if logits.path or logits.inside or logits.tensor != output or not _composed(walk, logits, heads, refusals):
                found.setdefault(logits.tensor, []).append(logits)
    for tensor, ends in found.items():
        result = _inside(walk, tensor) if ends[0].inside else walk.try_lift(tensor)
        if ends[0].inside and not isinstance(result, Refusal):
            tensor = result.step.output
            ends = [replace(logits, tensor=tensor) for logits in ends]
        if isinstance(result, Refusal):
            refused = _not_scores(walk, tensor, result) or result
            refusals |= {logits.output: _of_ensemble(walk, logits, refused) for logits in ends}
            continue
        placed = place(walk, result)
        if isinstance(placed, Refusal):
            refusals |= {logits.output: _of_ensemble(walk, logits, placed) for logits in ends}
        else:
            heads += _by_order(walk, placed, ends, refusals)
    heads = _of_classes(walk, heads, refusals)
    lifted = {output for head in heads for output in head.outputs}
    names = real_outputs(graph)
    heads.sort(key=lambda head: (bool(head.features_of), min(names.index(output) for output in head.outputs)))
    return HeadSearch(tuple(heads), {name: why for name, why in refusals.items() if name not in lifted}, walk)


def _of_classes(walk: Lifting, heads: list[LiftedHead], refusals: dict[str, Refusal]) -> list[LiftedHead]:
    """Heads that are features of others say so; vectors of fixed length are refused."""
    kept = []
    made = made_of(walk.graph, [(head.logits, head.outputs) for head in heads])
    for head, of in zip(heads, made, strict=True):
        refused = unit_length(walk, head.logits, head.classes)
        if refused is None:
            kept.append(replace(head, features_of=of))
        else:
            refusals |= dict.fromkeys(head.outputs, refused)
    return kept


def _inside(walk: Lifting, scores: str) -> Lifted | Refusal:
    """The lift of what a LinearClassifier makes probabilities of."""
    node = walk.graph.producer(scores)
    try:
        return lift_scores_inside(node, walk)
    except HeadRefused as refused:
        return replace(refused.refusal, walked=(walk.describe(node), *refused.refusal.walked))


def _composed(walk: Lifting, logits: Logits, heads: list[LiftedHead], refusals: dict[str, Refusal]) -> bool:
    """Lift an output as put together from probabilities; False if it is not."""
    try:
        made = compose(walk, logits.output)
    except HeadRefused as refused:
        refusals[logits.output] = refused.refusal
        return True
    # Sigmoids alone have a lift of their own, whose mean is the output itself.
    if made is None or (not made.of_softmax and not isinstance(walk.try_lift(logits.output), Refusal)):
        return False
    walk.remember(logits.output, made.lifted)
    placed = place(walk, made.lifted)
    if isinstance(placed, Refusal):
        refusals[logits.output] = placed
    elif refusal := _not_scores(walk, logits.output, made.lifted):
        refusals[logits.output] = refusal
    else:
        steps = tuple(walk.chain(logits.output))
        pools = weighted_pools(walk, steps, placed.lifted.features, placed)
        heads.append(
            LiftedHead(
                made.logits,
                (logits.output,),
                placed.lifted,
                steps,
                placed.places,
                placed.lifted,
                pool_weights=pools,
            )
        )
    return True


def _of_ensemble(walk: Lifting, logits: Logits, refused: Refusal) -> Refusal:
    """The refusal of an output, by the name of what it is where that is an ensemble."""
    if not logits.member:
        return refused
    where = walk.describe(walk.graph.producer(logits.joint))
    message = (
        f"{where}: it averages the probabilities of several members, of which '{logits.tensor}' is refused itself "
        f"({refused.code}): {refused.message}"
    )
    return Refusal("ensemble", where, message, ADVICE["ensemble"], refused.walked)


def _by_order(walk: Lifting, placed: PlacedHead, ends: list[Logits], refusals: dict[str, Refusal]) -> list[LiftedHead]:
    """A head for each order of classes that the outputs made of the same logits have; nearly always one."""
    lifted = placed.lifted
    heads: list[LiftedHead] = []
    groups: dict[object, list[tuple[Logits, ClassOrder | None]]] = {}
    for logits in ends:
        try:
            order = find_order(walk, logits, lifted)
        except HeadRefused as refused:
            refusals[logits.output] = refused.refusal
            continue
        except SharesApart as apart:
            if logits.member:
                node = walk.graph.producer(logits.joint)
                message = f"its member '{logits.member}' has {len(apart.channels)} classes that are parts of softmaxes"
                refusals[logits.output] = walk.refuse("ensemble", node, message).refusal
            elif not _composed(walk, logits, heads, refusals):
                refusals[logits.output] = _no_logit(walk, logits, len(apart.channels), lifted.channels)
            continue
        if refusal := _not_scores(walk, logits.tensor if order is None else order.output, lifted):
            refusals[logits.output] = refusal
            continue
        key = None if order is None else (order.channels, order.against, order.negated)
        groups.setdefault(key, []).append((logits, order))
    for group in groups.values():
        # Scores and their ArgMax are two outputs of one head; the one with an activation says how it is read.
        logits, order = next((entry for entry in group if entry[0].activation != "none"), group[0])
        logits = replace(logits, activation=_read_as(logits, order, lifted.channels))
        classes = lifted if order is None else in_order(walk, lifted, order)
        steps = walk.chain(logits.tensor) + ([] if order is None else [classes.step])
        outputs = tuple(dict.fromkeys(entry.output for entry, _ in sorted(group, key=lambda end: bool(end[0].member))))
        member = _member_name(group)
        pools = weighted_pools(walk, steps, lifted.features, placed)
        heads.append(
            LiftedHead(logits, outputs, classes, tuple(steps), placed.places, lifted, order, member, pool_weights=pools)
        )
    return heads


def _read_as(logits: Logits, order: ClassOrder | None, total: int) -> Activation:
    """What makes probabilities of the classes' logits."""
    if order is None:
        return logits.activation
    if order.against:
        return "sigmoid" if logits.activation == "softmax" else "none"
    # 1 - softmax of two classes is the softmax of both with the other sign; of more it is none.
    turned = order.negated and logits.activation == "softmax" and total != 2
    # Nor are the kept classes of a larger softmax one (a dropped background): its divisor has the others too.
    return "none" if turned or order.partial else logits.activation


def _member_name(group: list[tuple[Logits, ClassOrder | None]]) -> str:
    """What a head is called that is one member of an ensemble; "" if an output is its own."""
    members = [logits for logits, _ in group if logits.member]
    if not members or len(members) < len(group):
        return ""
    first = members[0]
    return first.tensor if first.axis is None else f"{first.tensor}_{first.slot}"


def _no_logit(walk: Lifting, logits: Logits, count: int, total: int) -> Refusal:
    node = walk.graph.producer(logits.output)
    if total == 1:
        return walk.refuse(
            "not-a-classifier", node, "it is a softmax of one number, which is 1 for every image"
        ).refusal
    message = f"it leaves {count} of {total} classes, whose shares by the softmax are no function of their logits"
    return walk.refuse("not-a-classifier", node, message).refusal


def _not_scores(walk: Lifting, tensor: str, found: Lifted | Refusal) -> Refusal | None:
    """A refusal if the tensor cannot be a vector of class scores for each image."""
    node = walk.graph.producer(tensor)
    shape = walk.trace.shapes.get(tensor)
    if shape is None:
        return None
    # A file that ONNX Runtime saved for one CPU: its shapes mean nothing, so say that.
    if isinstance(found, Refusal) and found.code == "blocked-layout":
        return found
    # Any number of unit axes may stand around the classes: a head that ends in a 1x1 convolution leaves (N, K, 1, 1),
    # and an Einsum without an arrow may put the batch last.
    axis = 0 if isinstance(found, Refusal) or found.batch_axis is None else found.batch_axis
    wide = [dim for place, dim in enumerate(shape) if dim != 1 and not (place == axis and dim == walk.trace.batch)]
    dtype = walk.trace.dtypes.get(tensor)
    if len(wide) > 1 or math.prod(shape) == 0 or (dtype is not None and dtype.kind in "iub" and node is None):
        size = "x".join(str(dim) for dim in shape)
        where = walk.describe(node)
        message = f"{where}: the output has the shape {size}, which is no vector of class scores for each image"
        if len(shape) == 3 and len(wide) == 2:
            message += f", but one of {shape[2]} numbers for each of {shape[1]} tokens or positions"
        return Refusal("not-a-classifier", where, message, ADVICE["not-a-classifier"])
    return None
