"""Lift every output of a model, each by itself, or say why not."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.class_order import ClassOrder, find_order, in_order
from onnx_gapmil.lift.lifting import Lifting
from onnx_gapmil.lift.logits import Logits, find_logits, real_outputs
from onnx_gapmil.lift.placing import PlacedHead, place
from onnx_gapmil.lift.quantization import QUANTIZING
from onnx_gapmil.lift.rules import RULES
from onnx_gapmil.lift.verdict import ADVICE, HeadRefused, LiftStep, Readout, Refusal, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onnx_gapmil.graph.builder import GraphBuilder
    from onnx_gapmil.graph.trace import Trace
    from onnx_gapmil.graph.view import ModelGraph
    from onnx_gapmil.images.places import Places
    from onnx_gapmil.lift.lifted import FeatureGrid, Lifted
    from onnx_gapmil.lift.lifting import Rule


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
    """

    logits: Logits
    outputs: tuple[str, ...]
    lifted: Lifted
    chain: tuple[LiftStep, ...]
    places: Places
    scores: Lifted
    order: ClassOrder | None = None

    @property
    def output(self) -> str:
        """The first output that the head makes."""
        return self.outputs[0]

    @property
    def verdict(self) -> Verdict:
        """``conditional`` if any step depends on the pooled tensor."""
        return "conditional" if self.lifted.conditional else "exact"

    @property
    def position_dependent(self) -> bool:
        """Whether it has weights of its own for each position: the same features mean another thing elsewhere."""
        views = any(grid.laid is not None for grid in self.features)  # each has weights of its own
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
        return any(step.op.split("::")[-1] in QUANTIZING for step in self.chain)

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
        heads: those that lift, in the order of the outputs.
        refusals: by output, why the others do not.
    """

    heads: tuple[LiftedHead, ...]
    refusals: dict[str, Refusal]


def lift_heads(
    graph: ModelGraph,
    trace: Trace,
    build: GraphBuilder,
    readout: Readout = "contribution",
    rules: Mapping[tuple[str, str], Rule] = RULES,
) -> HeadSearch:
    """Follow every output back to its pool and lift its head.

    Args:
        graph: the model.
        trace: its real shapes.
        build: collects the new nodes.
        readout: which grid to build.
        rules: the lift rule of each operator; with one of your own, ``RULES | rule_table([lift_mine])``.
    """
    walk = Lifting(graph, trace, build, readout, rules)
    found: dict[str, list[Logits]] = {}
    for output in real_outputs(graph):
        logits = find_logits(graph, output)
        found.setdefault(logits.tensor, []).append(logits)
    heads: list[LiftedHead] = []
    refusals: dict[str, Refusal] = {}
    for tensor, ends in found.items():
        result = _not_scores(walk, tensor) or walk.try_lift(tensor)
        placed = result if isinstance(result, Refusal) else place(walk, result)
        if isinstance(placed, Refusal):
            refusals |= dict.fromkeys((logits.output for logits in ends), placed)
        else:
            heads += _by_order(walk, placed, ends, refusals)
    return HeadSearch(tuple(heads), refusals)


def _by_order(walk: Lifting, placed: PlacedHead, ends: list[Logits], refusals: dict[str, Refusal]) -> list[LiftedHead]:
    """A head for each order of classes that the outputs made of the same logits have; nearly always one."""
    lifted = placed.lifted
    groups: dict[tuple[int, ...], list[tuple[Logits, ClassOrder | None]]] = {}
    for logits in ends:
        try:
            order = find_order(walk, logits, lifted)
        except HeadRefused as refused:
            refusals[logits.output] = refused.refusal
            continue
        groups.setdefault(() if order is None else order.channels, []).append((logits, order))
    heads = []
    for group in groups.values():
        # Scores and their ArgMax are two outputs of one head; the one with an activation says how it is read.
        logits, order = next((entry for entry in group if entry[0].activation != "none"), group[0])
        if order is not None and order.against is not None:
            logits = replace(logits, activation="sigmoid")
        classes = lifted if order is None else in_order(walk, lifted, order)
        steps = walk.chain(logits.tensor) + ([] if order is None else [classes.step])
        outputs = tuple(entry.output for entry, _ in group)
        heads.append(LiftedHead(logits, outputs, classes, tuple(steps), placed.places, lifted, order))
    return heads


def _not_scores(walk: Lifting, tensor: str) -> Refusal | None:
    """A refusal if the tensor cannot be a vector of class scores for each image."""
    node = walk.graph.producer(tensor)
    shape = walk.trace.shapes.get(tensor)
    if shape is None:
        return None
    # Any number of unit axes may stand around the classes: a head that ends in a 1x1 convolution leaves (N, K, 1, 1).
    wide = [dim for axis, dim in enumerate(shape) if dim != 1 and not (axis == 0 and dim == walk.trace.batch)]
    dtype = walk.trace.dtypes.get(tensor)
    if len(wide) > 1 or math.prod(shape) == 0 or (dtype is not None and dtype.kind in "iub" and node is None):
        size = "x".join(str(dim) for dim in shape)
        where = walk.describe(node)
        found = walk.try_lift(tensor)
        # A file that ONNX Runtime saved for one CPU: its shapes mean nothing, so say that.
        if isinstance(found, Refusal) and found.code == "blocked-layout":
            return found
        message = f"{where}: the output has the shape {size}, which is no vector of class scores for each image"
        return Refusal("not-a-classifier", where, message, ADVICE["not-a-classifier"])
    return None
