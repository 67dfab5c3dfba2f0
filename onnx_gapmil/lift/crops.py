"""Parts of a map that are pooled by themselves, and borders that repeat some of it; borders of zeros are cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifting import Lifting

#: Operators that take some rows or columns of a map, or repeat some around it.
_CUTS = frozenset({"CenterCropPad", "Gather", "Pad", "Slice", "Split"})
_CROP_STEPS = 8
#: In place of the number of a row or column: one that an operator puts there.
_OTHER = -1


@dataclass(frozen=True)
class Crop:
    """Rows and columns of a map that are pooled by themselves.

    Attributes:
        source: the whole map.
        axes: its rows and columns.
        lines: the rows, and the columns, that are pooled, by their numbers.
        counts: how often each row, and each column, of the whole map is among them.
    """

    source: str
    axes: tuple[int, ...]
    lines: tuple[np.ndarray, np.ndarray]
    counts: tuple[np.ndarray, np.ndarray]

    @property
    def seen(self) -> np.ndarray:
        """(H, W) of the whole map: whether a position is pooled."""
        rows, columns = self.counts
        return np.outer(rows > 0, columns > 0)

    def weights(self, *, summed: bool) -> np.ndarray | None:
        """(H, W) of the whole map: what its pool gives each position, in units of a plain mean's; None for that.

        Args:
            summed: the pool sums instead of averaging.
        """
        rows, columns = self.counts
        weights = np.outer(rows, columns).astype(np.float64)
        if not summed:
            weights *= weights.size / (len(self.lines[0]) * len(self.lines[1]))
        return None if (weights == 1).all() else weights

    def describe(self) -> str:
        """One phrase for people: which rows and columns they are."""
        names = ("rows", "columns")
        said = [_said(name, counts) for name, counts in zip(names, self.counts, strict=True)]
        return f"of {', '.join(said)}"


def find_crop(walk: Lifting, data: str, axes: tuple[int, ...]) -> Crop | None:
    """Whether a map is rows and columns of another, perhaps with a border, for inputs of a fixed size.

    Args:
        walk: the walk.
        data: the map, or tokens, which a map was laid out as.
        axes: what it is pooled over.
    """
    if any(entry.space_is_open for entry in walk.trace.inputs):
        return None
    data, axes = _plane(walk, data, axes)
    if len(axes) != 2 or len(walk.shape(data)) != 4:
        return None
    source, behind, lines = _taken(walk, data, axes)
    if behind[0] > behind[1]:  # of a map that was transposed, by the names that its own axes have
        behind, lines = behind[::-1], lines[::-1]
    whole = [walk.shape(source)[axis] for axis in behind]
    if any(len(line) == 0 or (line == _OTHER).any() for line in lines):  # zeros around a map are cells like others
        return None
    counts = [np.bincount(line, minlength=dim).astype(np.int64) for line, dim in zip(lines, whole, strict=True)]
    if all(np.array_equal(line, np.arange(dim)) for line, dim in zip(lines, whole, strict=True)):
        return None
    # Turned over as a whole, perhaps back (the mirrored view of test-time augmentation): there is nothing to cut.
    turned = all(len(line) == dim and (own == 1).all() for line, dim, own in zip(lines, whole, counts, strict=True))
    if turned and walk.places(data, axes, (len(lines[0]), len(lines[1]))).order is None:
        return None
    return Crop(source, behind, (lines[0], lines[1]), (counts[0], counts[1]))


def _said(name: str, counts: np.ndarray) -> str:
    taken = np.flatnonzero(counts)
    if len(taken) == taken[-1] - taken[0] + 1:
        said = f"{name} {taken[0]} to {taken[-1] + 1}"
    else:
        said = f"{len(taken)} of {len(counts)} {name}"
    if (counts > 1).any():
        said += f", {int((counts > 1).sum())} of them several times"
    return said


def _plane(walk: Lifting, data: str, axes: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    """The map with rows and columns that tokens were laid out of; the same map of what is one."""
    for _ in range(_CROP_STEPS):
        node = walk.graph.producer(walk.graph.behind(data))
        if len(axes) != 1 or node is None or node.op not in ("Reshape", "Flatten", "Transpose"):
            break
        source, (axis,) = node.inputs[0].name, axes
        before, after = walk.trace.shapes.get(source, ()), walk.shape(data)
        if node.op == "Transpose":
            axes = (_order(node, len(after))[axis],)
        elif len(before) == 4 and before[:axis] == after[:axis] and before[axis + 2 :] == after[axis + 1 :]:
            axes = (axis, axis + 1)
        else:
            break
        data = source
    return data, axes


def _order(node: gs.Node, rank: int) -> list[int]:
    """Which axis of a Transpose's input each axis of its output is."""
    return [int(axis) for axis in node.attrs.get("perm", range(rank)[::-1])]


def _taken(walk: Lifting, data: str, axes: tuple[int, ...]) -> tuple[str, tuple[int, ...], list[np.ndarray]]:
    """The map that a map was cut out of, its rows and columns, and which of them the other has, in its own order.

    Args:
        walk: the walk.
        data: the map.
        axes: its rows and columns.
    """
    shape = walk.shape(data)
    lines = [np.arange(shape[axis]) for axis in axes]
    found = data, axes, lines
    for _ in range(_CROP_STEPS):
        node = walk.graph.producer(walk.graph.behind(data))
        if node is None or not node.inputs or len(walk.trace.shapes.get(node.inputs[0].name, ())) != len(shape):
            break
        source = node.inputs[0].name
        before, after = walk.shape(source), walk.shape(data)
        if node.op == "Transpose":  # NHWC for the pool, and back for a layer before it
            order = _order(node, len(shape))
            data, axes = source, tuple(order[axis] for axis in axes)
            continue
        if not all(walk.is_fixed(tensor.name) for tensor in node.inputs[1:] if tensor.name):
            break
        if (
            node.op not in _CUTS
            or 0 in (*before, *after)
            or any(before[axis] != after[axis] for axis in range(len(shape)) if axis not in axes)
        ):
            break
        cuts = [_cut(walk, node, source, walk.graph.behind(data), axis) for axis in axes]
        if any(cut is None for cut in cuts):
            break
        lines = [
            np.where(own == _OTHER, _OTHER, cut[own]) for cut, own in zip(cuts, lines, strict=True) if cut is not None
        ]
        found = source, axes, lines
        data = source
    return found


def _cut(walk: Lifting, node: gs.Node, source: str, data: str, axis: int) -> np.ndarray | None:
    """Which places along an axis an operator takes, `_OTHER` for zeros of its own; None where it has other numbers."""
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
    # Counted from 1, and again from higher up: what an operator adds of its own does not move.
    found = []
    for first in (1, 1 + whole[axis]):
        places = np.broadcast_to(np.arange(first, first + whole[axis], dtype=np.float32).reshape(shape), whole)
        made = np.moveaxis(walk.run_node(node, {source: np.ascontiguousarray(places)})[0], axis, -1)
        # A border along other axes is 0 all along: the line that holds most is one of the map's own.
        rows = made.reshape(-1, made.shape[-1])
        found.append(rows[np.count_nonzero(rows, axis=1).argmax()].astype(np.int64))
    own = found[1] != found[0]
    if found[0][~own].any():
        return None
    line: np.ndarray = np.where(own, found[0] - 1, _OTHER)
    return line
