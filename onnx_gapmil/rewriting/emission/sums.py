"""Sums of many: what is one number for each channel is added up first, and to the map once.

A class token's row is a sum over the trunk's branches, most of which no place brings: each of them would go over the
whole map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_graphsurgeon as gs

    from onnx_gapmil.graph.builder import GraphBuilder


def collect_sums(build: GraphBuilder, shapes: Mapping[str, tuple[int, ...]], tensor: str) -> None:
    """Reorder the sums that a tensor on the grid is made of; what is read twice is a term of each.

    Args:
        build: has its nodes, some of which read other sums afterwards.
        shapes: of all that it is made of.
        tensor: (N, C, H, W).
    """
    nodes = build.needed_nodes([tensor])
    readers: dict[str, list[gs.Node]] = {tensor: []}
    for node in nodes:
        for read in node.inputs:
            readers.setdefault(str(read.name), []).append(node)
    inner = {name for name, found in readers.items() if [node.op for node in found] == ["Add"]}
    for node in nodes:
        out = str(node.outputs[0].name)
        if node.op != "Add" or out in inner or not _is_map(shapes.get(out)):
            continue
        terms = _terms(build, node, inner)
        maps = [name for name in terms if _is_map(shapes.get(name))]
        vectors = [name for name in terms if name not in maps]
        if len(vectors) < 2 or not maps or any(name not in shapes for name in terms):
            continue
        for place, parts in enumerate((maps, vectors)):
            total = parts[0]
            for name in parts[1:]:
                total = build.node("Add", [total, name])
            build.redirect_at(node, place, total)


def _terms(build: GraphBuilder, node: gs.Node, inner: set[str]) -> list[str]:
    """What a sum adds up, first things first, over the sums within it that nothing else reads."""
    found, pending = list[str](), [str(read.name) for read in reversed(node.inputs)]
    while pending:
        name = pending.pop()
        maker = build.maker(name)
        if maker is not None and maker.op == "Add" and name in inner:
            pending += [str(read.name) for read in reversed(maker.inputs)]
        else:
            found.append(name)
    return found


def _is_map(shape: tuple[int, ...] | None) -> bool:
    return shape is not None and len(shape) == 4 and shape[2:] != (1, 1)
