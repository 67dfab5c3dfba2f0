"""Rows behind operators that move, choose or join elements: the runtime says which ones they take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.tokens.boxes import Box
    from onnx_gapmil.lift.tokens.unrolling import Making, Unrolling

#: Operators whose first input's elements are those of the output.
MOVERS = (
    "DepthToSpace",
    "Expand",
    "Flatten",
    "Gather",
    "GatherElements",
    "GatherND",
    "Reshape",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
)


def move(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """The elements that it takes, in its order."""
    data = node.inputs[0].name
    if not all(own.walk.is_fixed(read.name) for read in node.inputs[1:] if read.name):
        raise own.refuse(node, "the image decides which elements it takes")
    source, order = own.box_of(node, own.moved(node, tensor).ravel()[box.numbers], data)
    row = yield data, source
    return own.rearranged(node, row, order, own.size(box))


def pass_on(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """Identity, and a Dropout that drops nothing."""
    del tensor
    if node.op == "Dropout" and own.walk.graph.random_operator(node):
        raise own.walk.refuse("random-head", node, "its training_mode is on, so the logits are random")
    return (yield node.inputs[0].name, box)


def join(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """Concat: of the operand that a token comes from, or of all of them side by side."""
    axis = int(node.attrs["axis"]) % len(box.shape)
    kept = np.asarray(box.kept[axis])
    parts: list[str] = []
    start = 0
    for read in node.inputs:
        extent = own.walk.shape(read.name)[axis]
        inside = kept[(kept >= start) & (kept < start + extent)] - start
        if inside.size:
            parts.append((yield read.name, box.replaced(axis, extent, tuple(inside.tolist()))))
        start += extent
    return parts[0] if len(parts) == 1 else own.emit(node, parts, own.size(box), tensor)
