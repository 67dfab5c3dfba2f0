"""Average pools with windows behind the last map, whose outputs are pooled again: seen through to the map behind.

A 7x7 pool of stride 1 over a larger map and then a mean (old ResNets and Slim's networks at another size than they were
trained at) is linear: the mean of windows is a weighted mean of what they average. The windows' outputs, large and
overlapping, are no places to speak of; the map's cells are. Windows that do not overlap are cells like any others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.ort.cpu import evaluate

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifting import Lifting

#: Operators between the windows and the pool that leave every number as it is.
_KEEPING = frozenset({"Dropout", "Identity"})
#: Operators that do the same to every position, so that they may as well come before the windows.
_EVERYWHERE = frozenset({"Add", "BatchNormalization", "Conv", "Div", "Mul", "Sub"})
_MAX_STEPS = 8
#: Maps with more positions are not taken apart: every position is sent through the windows by itself.
_MOST_POSITIONS = 4096


@dataclass(frozen=True)
class Windows:
    """Windows that a pool reads, and the map that they read.

    Attributes:
        behind: the map.
        shares: what each window takes of each position of the map, (windows, positions), float64.
        size: the map's extent along its axes, all but batch and channels.
        between: operators between the windows and the pool that do the same to every position, in the graph's order.
    """

    behind: str
    shares: np.ndarray
    size: tuple[int, ...]
    between: tuple[gs.Node, ...]

    @property
    def axes(self) -> tuple[int, ...]:
        """The map's axes that are pooled."""
        return tuple(range(2, 2 + len(self.size)))

    def weights(self, outer: np.ndarray | None, *, summed: bool) -> np.ndarray | None:
        """What the pool of the windows gives each position of the map, in units of a plain mean's; None if alike.

        Args:
            outer: what the pool gives each window, in the same units; None for a plain mean.
            summed: the pool sums instead of averaging.
        """
        windows, positions = self.shares.shape
        own = np.ones(windows) if outer is None else outer.ravel()
        weights = own @ self.shares * (1 if summed else positions / windows)
        return None if np.allclose(weights, 1.0, rtol=1e-5, atol=0) else weights.reshape(self.size)

    def spread(self, walk: Lifting, tensor: str, channels: int, dtype: np.dtype) -> str:
        """What is said of each window, (N, C, windows along the axes), for each position of the map that it reads."""
        build = walk.build
        windows, positions = self.shares.shape
        matrix = build.constant((self.shares * (positions / windows)).astype(dtype))
        flat = build.reshape(tensor, [0, channels, windows])
        rows = self.size if len(self.size) > 1 else (1, *self.size)
        return build.reshape(build.node("MatMul", [flat, matrix]), [0, channels, *rows])

    def apply(self, walk: Lifting, tensor: str) -> str:
        """The operators between, on the map's positions."""
        for node in self.between:
            moving = next(read.name for read in node.inputs if read.name and not walk.is_fixed(read.name))
            inputs = [tensor if read.name == moving else read.name for read in node.inputs]
            tensor = walk.clone(node, inputs)
        return tensor


def find_windows(walk: Lifting, data: str, axes: tuple[int, ...]) -> Windows | None:
    """The overlapping windows whose outputs a pool reads, for inputs of a fixed size; None where there are none.

    Args:
        walk: the walk.
        data: what the pool reads.
        axes: the axes that it pools.
    """
    if any(entry.space_is_open for entry in walk.trace.inputs):
        return None
    between: list[gs.Node] = []
    shares: np.ndarray | None = None
    result: Windows | None = None
    for _ in range(_MAX_STEPS):
        node = walk.graph.producer(data)
        if node is None or not node.inputs or data not in walk.trace.shapes:
            break
        if all(walk.is_fixed(read.name) for read in node.inputs if read.name):
            break
        found = shares_of(walk, node, axes) if node.op == "AveragePool" else None
        behind = next(read.name for read in node.inputs if read.name and not walk.is_fixed(read.name))
        if found is not None:
            shares = found if shares is None else shares @ found
            if (np.count_nonzero(found, axis=0) > 1).any():
                result = Windows(behind, shares, walk.shape(behind)[2:], tuple(between))
        elif shares is not None or not _is_everywhere(walk, node, data):
            break
        elif node.op not in _KEEPING:
            between.insert(0, node)
        data = behind
    # What stands between is made for maps of its rank, and the grid has rows and columns.
    return None if result is not None and result.between and len(result.size) != 2 else result


def shares_of(walk: Lifting, node: gs.Node, axes: tuple[int, ...]) -> np.ndarray | None:
    """What each window of an average pool takes of each position, by the runtime's own semantics.

    Of a max pool it tells which positions each window reads. (windows, positions), float64; None where the map is too
    large, or the windows leave positions along other axes.
    """
    if node.domain not in (None, "", "ai.onnx"):
        return None
    before, after = (walk.trace.shapes.get(tensor.name, ()) for tensor in (node.inputs[0], node.outputs[0]))
    if len(before) not in (3, 4) or axes != tuple(axis for axis in range(2, len(before)) if axis in axes):
        return None
    count = math.prod(before[2:])
    if any(after[axis] != 1 for axis in range(2, len(after)) if axis not in axes):
        return None  # some of what the windows leave is not pooled
    if math.prod(after[2:]) == 1 or not 1 < count <= _MOST_POSITIONS:
        return None
    # One map for each position, in one run: so pads, ceil_mode and dilations count as the runtime counts them.
    hot = np.eye(count, dtype=np.float32).reshape(count, 1, *before[2:])
    proto = walk.graph.node_proto(node)
    (answer,) = evaluate([proto], {node.inputs[0].name: hot}, [node.outputs[0].name], walk.graph.proto.opset_import)
    return answer.reshape(count, -1).T.astype(np.float64)


def _is_everywhere(walk: Lifting, node: gs.Node, data: str) -> bool:
    """Whether an operator does the same affine thing to every position of a map (N, C, ...)."""
    moving = [read.name for read in node.inputs if read.name and not walk.is_fixed(read.name)]
    if len(moving) != 1 or len(walk.trace.shapes.get(moving[0], ())) != len(walk.shape(data)):
        return False
    before, after = walk.shape(moving[0]), walk.shape(data)
    if node.op in _KEEPING:
        return before == after
    if node.op not in _EVERYWHERE or before[2:] != after[2:] or node.inputs[0].name != moving[0]:
        # ``1 - x`` and ``c + x`` are as good, a quotient of which the map is the divisor is not.
        turned = node.op in ("Add", "Mul", "Sub") and before == after
        return turned and _is_same_everywhere(walk, node.inputs[0].name, after)
    if node.op == "Conv":
        kernel = walk.trace.shapes.get(node.inputs[1].name, (0,) * len(after))
        return math.prod(kernel[2:]) == 1 and not any(node.attrs.get("pads", ()))
    if node.op == "BatchNormalization":
        return not int(node.attrs.get("training_mode", 0))
    return before == after and _is_same_everywhere(walk, node.inputs[1].name, after)


def _is_same_everywhere(walk: Lifting, factor: str, shape: tuple[int, ...]) -> bool:
    """Whether a fixed operand that broadcasts to a map is the same at every position."""
    own = walk.trace.shapes.get(factor)
    if own is None or not walk.is_fixed(factor):
        return False
    aligned = (1,) * (len(shape) - len(own)) + tuple(own)
    return all(dim == 1 for dim in (aligned[0], *aligned[2:]))
