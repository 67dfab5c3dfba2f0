"""Where the positions of a map lie: parts that were cut out of it, and positions that were moved."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.layout import CHANNELS_FIRST

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifting import Lifting

#: Operators that take some rows or columns of a map.
_CUTS = frozenset({"Gather", "Slice", "Split"})
#: Operators that may stand between the cut and the pool.
_ELEMENTWISE = frozenset(
    {
        "Abs",
        "BatchNormalization",
        "Cast",
        "Clip",
        "Dropout",
        "Exp",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "LeakyRelu",
        "PRelu",
        "Pow",
        "Relu",
        "Sigmoid",
        "Tanh",
    }
)
_CROP_STEPS = 8
#: Operators that move or choose elements, so that their rows and columns may be at other places.
_MOVES = _CUTS | {"Expand", "Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
#: Operators that work on the channels of every position by themselves, besides those on every element.
_PER_POSITION = _ELEMENTWISE | {"Add", "Div", "LayerNormalization", "MatMul", "Mul", "Sub"}
_MOVE_STEPS = 24


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
    source, lines = taken(walk, data, axes, elementwise=False)
    bounds = []
    for line in lines:
        ordered = np.sort(line)
        if len(line) == 0 or not np.array_equal(ordered, np.arange(ordered[0], ordered[0] + len(line))):
            return None  # it takes every second row, or the like
        bounds.append((int(ordered[0]), int(ordered[-1]) + 1))
    if all(np.array_equal(line, np.arange(walk.shape(source)[axis])) for line, axis in zip(lines, axes, strict=True)):
        return None
    return Crop(source, (bounds[0], bounds[1]))


def taken(walk: Lifting, data: str, axes: tuple[int, ...], *, elementwise: bool) -> tuple[str, tuple[np.ndarray, ...]]:
    """The map that a map was cut out of, and which of its rows and columns it has, in its own order.

    Args:
        walk: the walk.
        data: the map.
        axes: its rows and columns (or its one row of positions).
        elementwise: look through elementwise operators, and through cuts along the channels, too.
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
        if node.op in _CUTS:
            if not elementwise and any(before[axis] != after[axis] for axis in range(len(shape)) if axis not in axes):
                break
            cut = [_cut(walk, node, source, data, axis) for axis in axes]
            lines = tuple(line[own] for line, own in zip(cut, lines, strict=True))
            found = source, lines
        elif not elementwise or node.op not in _ELEMENTWISE or before != after:
            break
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


def in_reading_order(walk: Lifting, tensor: str, axes: tuple[int, ...]) -> bool:
    """Whether the positions of a tensor are those of the last map before it, all of them, row by row.

    What moved them since is run on the numbers of the places. Where the way back to a map is not a single line of
    operators that are known, nothing is said against it.

    Args:
        walk: the walk.
        tensor: a map, or a row of positions that were made of one.
        axes: its rows and columns, or its positions.
    """
    moves: list[tuple[gs.Node, str]] = []
    name = tensor
    for _ in range(_MOVE_STEPS):
        node, shape = walk.graph.producer(name), walk.shape(name)
        if node is None:
            return True
        if node.op in CHANNELS_FIRST and len(shape) == 4 and not node.attrs.get("channels_last", 0):
            return _same_order(walk, name, moves, walk.shape(tensor), axes)
        moving = [read.name for read in node.inputs if read.name and not walk.is_fixed(read.name)]
        if len(moving) != 1 or moving[0] != node.inputs[0].name or node.op not in _MOVES | _PER_POSITION:
            return True
        moves.append((node, name))
        name = moving[0]
    return True


def _same_order(
    walk: Lifting, source: str, moves: list[tuple[gs.Node, str]], shape: tuple[int, ...], axes: tuple[int, ...]
) -> bool:
    """Number the places of a map, move them as the graph does, and compare with their order in the end."""
    whole = walk.shape(source)
    if len(axes) == 2 and tuple(shape[axis] for axis in axes) != tuple(whole[2:]):
        return False
    count = whole[2] * whole[3]
    places = np.ascontiguousarray(np.broadcast_to(np.arange(count).reshape(whole[2:]), whole))
    for node, name in reversed(moves):
        out = walk.shape(name)
        if node.op == "Split":
            axis = int(node.attrs.get("axis", 0)) % len(out)
            places = np.take(places, _cut(walk, node, node.inputs[0].name, name, axis), axis=axis)
        elif node.op in _MOVES:
            places = walk.run_node(node, {node.inputs[0].name: places})[0]
        elif places.shape != out:
            if places.shape[:-1] != out[:-1] or (places != places[..., :1]).any():
                return True  # its channels are not last: which of them are positions is not followed
            places = np.ascontiguousarray(np.broadcast_to(places[..., :1], out))
    lines = np.moveaxis(places, axes, range(len(axes))).reshape(math.prod(shape[axis] for axis in axes), -1)
    return len(lines) == count and bool((lines == np.arange(count)[:, None]).all())
