"""What a tensor is made of: questions about its origin, answered by walking back over the vendor's graph."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from onnx_gapmil.graph.ancestors import ancestors

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifting import Lifting

_WHOLE_MAP = frozenset(
    {"AveragePool", "Conv", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "LpPool", "MaxPool"}
)
_SORTING = frozenset({"NonMaxSuppression", "NonZero", "TopK", "Unique"})
#: What is chosen, or what is replaced, is told by their second input.
_CHOOSING = frozenset({"Compress", "Gather", "GatherElements", "GatherND", "ScatterElements", "ScatterND"})
_DENSE = frozenset({"Gemm", "FusedGemm", "MatMul"})


def places_are_lost(walk: Lifting, tensor: str) -> bool:
    """Whether every way to a tensor leads through a vector in which positions can no longer be told apart.

    Such a tensor may look like a map or like tokens (the members of an ensemble, a reshaped dense layer, the pooled
    frames of a video), but what it has along its axes are no places of the image. A squeeze-excite block is not
    meant: its map goes around the vector.
    """
    return not any(
        walk.graph.producer(name) is None
        for name in ancestors(walk.graph, tensor, lambda node, read: _drops_places(walk, node, read))
    )


def random_maker(walk: Lifting, tensor: str) -> gs.Node | None:
    """An operator that draws random numbers of which a tensor is made, if there is one.

    Batch normalization in training mode draws none. It mixes the images of a batch, which leaves an affine head what it
    is (files that were exported in training mode by mistake): the proof of places says it.
    """
    makers = map(walk.graph.producer, ancestors(walk.graph, tensor, lambda *_: False))
    return next(
        (
            node
            for node in makers
            if node is not None and node.op != "BatchNormalization" and walk.graph.random_operator(node)
        ),
        None,
    )


def chooser(walk: Lifting, tensor: str) -> gs.Node | None:
    """The operator that sorted or chose positions by their values before a tensor, if there is one."""
    for name in ancestors(walk.graph, tensor, lambda node, read: _drops_places(walk, node, read)):
        node = walk.graph.producer(name)
        if node is not None and _chooses(walk, node):
            return node
    return None


def _chooses(walk: Lifting, node: gs.Node) -> bool:
    """Whether an operator takes positions in an order, or a selection, that depends on the image."""
    if node.op in _SORTING:
        return True
    return node.op in _CHOOSING and not walk.is_fixed(node.inputs[1].name)


def _drops_places(walk: Lifting, node: gs.Node, read: str) -> bool:
    """Whether an operator leaves nothing of the positions of what it reads."""
    before, after = walk.trace.shapes.get(read, ()), walk.trace.shapes.get(node.outputs[0].name, ())
    if _chooses(walk, node):
        return True
    if node.op in _WHOLE_MAP:
        return len(before) >= 3 and math.prod(before[2:]) > 1 and math.prod(after[2:]) == 1
    if node.op in _DENSE:
        return len(before) == 2 and before[0] == walk.trace.batch
    wide = [sum(dim != 1 for dim in shape[1:]) for shape in (before, after)]
    return node.op.startswith("Reduce") and wide[0] >= 2 and wide[1] <= 1
