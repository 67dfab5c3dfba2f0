"""Parts of a map that are pooled by themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifting import Lifting

#: Operators that take some rows or columns of a map.
_CUTS = frozenset({"Gather", "Slice", "Split"})
_CROP_STEPS = 8


@dataclass(frozen=True)
class Crop:
    """A part of a map that is pooled by itself.

    Attributes:
        source: the whole map.
        bounds: (start, end) along the rows and along the columns.
    """

    source: str
    bounds: tuple[tuple[int, int], tuple[int, int]]


def find_crop(walk: Lifting, data: str, axes: tuple[int, ...]) -> Crop | None:
    """Whether a map is a part of another along its rows and columns, or turns it over, for inputs of a fixed size."""
    if len(axes) != 2 or len(walk.shape(data)) != 4 or any(entry.space_is_open for entry in walk.trace.inputs):
        return None
    source, lines = _taken(walk, data, axes)
    bounds = []
    for line in lines:
        ordered = np.sort(line)
        if len(line) == 0 or not np.array_equal(ordered, np.arange(ordered[0], ordered[0] + len(line))):
            return None  # it takes every second row, or the like
        bounds.append((int(ordered[0]), int(ordered[-1]) + 1))
    if all(np.array_equal(line, np.arange(walk.shape(source)[axis])) for line, axis in zip(lines, axes, strict=True)):
        return None
    # Turned over as a whole, perhaps back (the mirrored view of test-time augmentation): there is nothing to cut.
    size = (len(lines[0]), len(lines[1]))
    if bounds == [(0, walk.shape(source)[axis]) for axis in axes] and walk.places(data, axes, size).order is None:
        return None
    return Crop(source, (bounds[0], bounds[1]))


def _taken(walk: Lifting, data: str, axes: tuple[int, ...]) -> tuple[str, tuple[np.ndarray, ...]]:
    """The map that a map was cut out of, and which of its rows and columns it has, in its own order.

    Args:
        walk: the walk.
        data: the map.
        axes: its rows and columns.
    """
    shape = walk.shape(data)
    lines = tuple(np.arange(shape[axis]) for axis in axes)
    found = data, lines
    for _ in range(_CROP_STEPS):
        node = walk.graph.producer(data)
        if node is None or not node.inputs or len(walk.trace.shapes.get(node.inputs[0].name, ())) != len(shape):
            break
        source = node.inputs[0].name
        before, after = walk.shape(source), walk.shape(data)
        if not all(walk.is_fixed(tensor.name) for tensor in node.inputs[1:] if tensor.name):
            break
        if node.op not in _CUTS or any(before[axis] != after[axis] for axis in range(len(shape)) if axis not in axes):
            break
        cut = [_cut(walk, node, source, data, axis) for axis in axes]
        lines = tuple(line[own] for line, own in zip(cut, lines, strict=True))
        found = source, lines
        data = source
    return found


def _cut(walk: Lifting, node: gs.Node, source: str, data: str, axis: int) -> np.ndarray:
    """Which places along an axis a Slice, Split or Gather takes."""
    whole = walk.shape(source)
    if node.op == "Split":
        if int(node.attrs.get("axis", 0)) % len(whole) != axis:
            return np.arange(whole[axis])
        start = 0
        for tensor in node.outputs:
            extent = walk.shape(tensor.name)[axis]
            if tensor.name == data:
                break
            start += extent
        return np.arange(start, start + extent)
    shape = [1] * len(whole)
    shape[axis] = whole[axis]
    places = np.broadcast_to(np.arange(whole[axis], dtype=np.float32).reshape(shape), whole)
    taken = walk.run_node(node, {source: np.ascontiguousarray(places)})[0]
    line: np.ndarray = np.moveaxis(taken, axis, -1).reshape(-1, taken.shape[axis])[0].astype(np.int64)
    return line
