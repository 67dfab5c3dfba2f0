"""What a tensor is computed from."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import onnx_graphsurgeon as gs

    from onnx_gapmil.graph.view import ModelGraph


def ancestors(graph: ModelGraph, tensor: str, closed: Callable[[gs.Node, str], bool]) -> Iterator[str]:
    """A tensor and everything it is computed from, the nearest first; values of shapes and constants left out."""
    queue, seen = deque([tensor]), {tensor}
    while queue:
        name = queue.popleft()
        yield name
        node = graph.producer(name)
        for read in graph.reads(node) if node is not None else ():
            fixed = read in graph.constants or read in graph.shape_computed
            if read not in seen and not fixed and not closed(node, read):
                seen.add(read)
                queue.append(read)
