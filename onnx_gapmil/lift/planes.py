"""Maps with rows and columns behind a row of tokens: they tell how the tokens are arranged."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.layout import Layout
    from onnx_gapmil.lift.lifting import Lifting

#: Nodes looked at for the two-dimensional arrangement of a row of tokens.
SEARCH_LIMIT = 5000


@dataclass(frozen=True)
class Plane:
    """A map with rows and columns.

    Attributes:
        size: its height and width.
        tensor: the vendor's tensor that has them.
        axes: which of its axes they are.
    """

    size: tuple[int, int]
    tensor: str
    axes: tuple[int, int]


def map_of(walk: Lifting, layout: Layout, source: str, count: int) -> tuple[Plane | None, bool]:
    """The nearest map upstream with as many positions as there are tokens: it tells how they are arranged.

    Returns:
        The map, or None; and whether any map was met at all.
    """
    queue, seen, has_maps = deque([source]), {source}, False
    is_told = any(walk.holds_places(source, axis) for axis in range(len(walk.trace.shapes.get(source, ()))))

    def holds(tensor: str, axes: tuple[int, int]) -> bool:
        """Whether two axes may be rows and columns: heads and channels are as many as tokens, too (CrossViT).

        One of them is enough, as a layer over all rows leaves only columns apart.
        """
        shape = walk.trace.shapes[tensor]
        longer = [axis for axis in axes if shape[axis] > 1]
        return not (is_told and longer) or any(walk.holds_places(tensor, axis) for axis in longer)

    while queue and len(seen) < SEARCH_LIMIT:
        name = queue.popleft()
        shape = walk.trace.shapes.get(name, ())
        if len(shape) == 4:
            roles = layout.roles(name)
            space = [axis for axis in range(4) if roles[axis] == "space"]
            has_maps = has_maps or len(space) == 2
            if len(space) == 2 and shape[space[0]] * shape[space[1]] == count and holds(name, (space[0], space[1])):
                return Plane((shape[space[0]], shape[space[1]]), name, (space[0], space[1])), has_maps
        node = walk.graph.producer(name)
        if node is None:
            continue
        found = _split_tokens(walk, layout, node, name, count)
        if found is not None and holds(found.tensor, found.axes):
            return found, has_maps
        for tensor in node.inputs:
            if tensor.name and tensor.name not in seen and tensor.name not in walk.graph.constants:
                seen.add(tensor.name)
                queue.append(tensor.name)
    return None, has_maps


def _split_tokens(walk: Lifting, layout: Layout, node: gs.Node, name: str, count: int) -> Plane | None:
    """(N, H, W, C) reshaped to (N, H*W, C), or (N, C, H, W) to (N, C, H*W): the reshape tells H and W.

    Where both readings fit, the layout of the map decides, and without one the channels are taken to be first.
    """
    if node.op not in ("Reshape", "Flatten"):
        return None
    before, after = walk.trace.shapes.get(node.inputs[0].name, ()), walk.trace.shapes.get(name, ())
    if len(before) < 4 or len(after) != 3 or count not in after[1:]:
        return None
    if len(before) > 4:  # patches of the image, (N, rows, columns, ...), each written out as one token
        patches = before[1] * before[2] == count == after[1] and math.prod(before[3:]) == after[2]
        return _plane(walk, node, (1, 2)) if patches else None
    last = before[1] * before[2] == count == after[1] and before[3] == after[2]
    first = before[2] * before[3] == count == after[2] and before[1] == after[1]
    if last and first:
        last = layout.roles(node.inputs[0].name)[3] == "channel"
    if last:
        return _plane(walk, node, (1, 2))
    return _plane(walk, node, (2, 3)) if first else None


def _plane(walk: Lifting, node: gs.Node, axes: tuple[int, int]) -> Plane:
    """Two axes of what a node reads, as rows and columns."""
    tensor = node.inputs[0].name
    shape = walk.shape(tensor)
    return Plane((shape[axes[0]], shape[axes[1]]), tensor, axes)
