"""A fence: three nodes that change nothing and that no optimizer of the runtime moves anything through."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.graph.builder import GraphBuilder


def fence(build: GraphBuilder, tensor: str, rank: int) -> str:
    """``Reshape(Flatten(t), Shape(t))``: the same tensor, under a name of its own.

    ONNX Runtime's transpose optimizer knows no way through Flatten, and its elimination of common nodes takes what
    reads the result for something else than what reads the tensor. An Identity would be removed before either.

    Args:
        build: collects the nodes.
        tensor: what to fence off.
        rank: its number of axes.
    """
    if rank == 0:
        return tensor
    shape = build.node("Shape", [tensor])
    return build.node("Reshape", [build.node("Flatten", [tensor], axis=rank - 1), shape])


def is_fence(build: GraphBuilder, node: gs.Node) -> bool:
    """Whether a new node is the last of a fence's three."""
    makers = [build.maker(str(read.name)) for read in node.inputs] if node.op == "Reshape" else []
    return [maker.op if maker is not None else "" for maker in makers] == ["Flatten", "Shape"]
