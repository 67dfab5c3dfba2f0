r"""Maps that are flattened beside others, as spatial pyramid pooling does (arXiv 1406.4729): each position a channel.

Of a vector of all positions w of a map, ``y_{c,w} = \sum_p S_{w,p} A_{c,p}``, the lift is ``T S_{w,p} A_{c,p}`` over T
positions p: every channel is of one position. S is 1 where p is w; for the windows of an average pool it is what each
takes of the map behind it; for those of a max pool it marks the largest position of the window (ties share), so that it
depends on the image. What follows, a dense layer say, are the rules for pooled tensors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.grids import feature_grid
from onnx_gapmil.lift.lifted import Lifted
from onnx_gapmil.lift.rules.flattened import flattened_grid, try_flattened
from onnx_gapmil.lift.rules.holding import shares_of_best, within
from onnx_gapmil.lift.verdict import LiftStep, Refusal
from onnx_gapmil.lift.windows import shares_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifted import FeatureGrid
    from onnx_gapmil.lift.lifting import Lifting
    from onnx_gapmil.lift.rules.flattened import Flattened

#: Numbers in the lift of a flattened map, of one image: 64 MB of float32.
_MOST_NUMBERS = 1 << 24
#: Why a map is not pooled that is flattened.
_NOT_POOLED = frozenset({"flatten-head", "no-spatial-pool", "partial-pool", "unknown-operator"})
_MAX_STEPS = 8


@dataclass(frozen=True)
class _Part:
    """A flattened map.

    Attributes:
        tensor: the vector that it is flattened to.
        found: how.
        behind: the map that windows read which it is the output of; "" for none.
        shares: what each window takes of each position of that, (windows, positions).
        largest: whether they are windows of a max pool.
    """

    tensor: str
    found: Flattened
    behind: str = ""
    shares: np.ndarray | None = None
    largest: bool = False


def lift_beside(node: gs.Node, walk: Lifting, tensors: Sequence[str]) -> list[Lifted] | None:
    """Lifts of tensors that are joined, flattened maps among them.

    Windows are seen through where they share the map behind with another part, as the bins of a pyramid do: its cells
    are finer. Else what a pool with windows makes is a map like any other.

    Args:
        node: the operator that joins them.
        walk: the walk.
        tensors: what it joins.

    Returns:
        Their lifts; None where one of them is neither pooled nor flattened.
    """
    lifts = [walk.try_lift(tensor) for tensor in tensors]
    parts = {
        tensor: _flattened(walk, tensor)
        for tensor, found in zip(tensors, lifts, strict=True)
        if isinstance(found, Refusal) and found.code in _NOT_POOLED
    }
    maps = [
        walk.graph.behind(grid.source) for found in lifts if not isinstance(found, Refusal) for grid in found.features
    ]
    maps += [part.behind for part in parts.values() if part is not None]
    made = []
    for tensor, found in zip(tensors, lifts, strict=True):
        if not isinstance(found, Refusal):
            made.append(found)
            continue
        part = parts.get(tensor)
        if part is None:
            return None
        if maps.count(part.behind) < 2:
            part = replace(part, behind="", shares=None, largest=False)
        lifted = _spread(node, walk, part)
        if lifted is None:
            return None
        walk.remember(tensor, lifted)
        made.append(lifted)
    return made


def _flattened(walk: Lifting, tensor: str) -> _Part | None:
    """How a tensor is a flattened map; of a sequence of positions only if windows made them."""
    found = try_flattened(walk, tensor) if len(walk.shape(tensor)) in (2, 3) else None
    if found is None or any(entry.space_is_open for entry in walk.trace.inputs):
        return None
    part = _windowed(walk, _Part(tensor, found))
    return part if len(walk.shape(tensor)) == 2 or part.behind else None


def _windowed(walk: Lifting, part: _Part) -> _Part:
    """A part with the windows that made its map, in the order of rows and columns."""
    source, shares = walk.graph.behind(part.found.source), None
    if not part.found.untouched:
        return part
    node = walk.graph.producer(source)
    if node is not None and node.op == "Transpose" and list(node.attrs.get("perm", ())) in ([0, 2, 3, 1], [0, 2, 1]):
        source = walk.graph.behind(node.inputs[0].name)  # TensorFlow's exporters turn maps before they are flattened
    for _ in range(_MAX_STEPS):
        node = walk.graph.producer(source)
        if node is None or node.op not in ("AveragePool", "MaxPool") or len(walk.shape(source)) not in (3, 4):
            break
        if node.op == "MaxPool" and shares is not None:
            break
        own = shares_of(walk, node, tuple(range(2, len(walk.shape(source)))))
        if own is None:
            break
        shares = own if shares is None else shares @ own
        source = walk.graph.behind(node.inputs[0].name)
        part = replace(part, behind=source, shares=shares, largest=node.op == "MaxPool")
        if part.largest:
            break
    return part


def _spread(node: gs.Node, walk: Lifting, part: _Part) -> Lifted | None:
    """The lift of a flattened map; None if it is too large."""
    found, build = part.found, walk.build
    places = [found.inner[axis - 1] for axis in found.order[1:]]
    count = math.prod(places)
    grid, shares = flattened_grid(node, walk, found), np.eye(count)
    if part.shares is not None:
        axes = tuple(range(2, len(walk.shape(part.behind))))
        grid, shares = feature_grid(node, walk, part.behind, axes), part.shares
    if grid.channels * shares.size > _MOST_NUMBERS or grid.channels != found.channels:
        return None
    cells = build.reshape(grid.name, [0, grid.channels, 1, -1])
    name = _of_largest(walk, grid, cells, shares) if part.largest else _weighed(walk, grid, cells, shares)
    # (N, C, rows, columns, cells) in the order in which the map was flattened.
    apart = build.reshape(name, [0, grid.channels, *places, shares.shape[1]])
    order = [0, *(1 + found.order.index(axis) for axis in range(1, len(found.order) + 1)), len(found.order) + 1]
    if order != sorted(order):
        apart = build.node("Transpose", [apart], perm=order)
    channels = grid.channels * count
    name = build.reshape(apart, [0, channels, *grid.size])
    shape, maker = walk.shape(part.tensor), walk.graph.producer(part.tensor)
    if shape[0] != walk.shape(grid.source)[0]:
        return None
    what = "positions" if part.shares is None else "windows, the largest of each" if part.largest else "windows"
    detail = f"{count} {what}, a channel each: position-dependent"
    operator, title = (walk.operator(maker), maker.name or "") if maker is not None else ("", "")
    step = LiftStep(operator, title, part.tensor, shape, "flatten", part.largest, detail)
    return Lifted(name, channels, shape, 0, shape[0], (grid,), grid.dtype, part.largest, step)


def _weighed(walk: Lifting, grid: FeatureGrid, cells: str, shares: np.ndarray) -> str:
    """(N, C, windows, cells): what each window takes of each cell, in units of a mean's."""
    weights = (shares * shares.shape[1])[None, None].astype(grid.dtype)
    return walk.build.node("Mul", [cells, walk.build.constant(weights)])


def _of_largest(walk: Lifting, grid: FeatureGrid, cells: str, shares: np.ndarray) -> str:
    """(N, C, windows, cells): of each window its largest cell."""
    if walk.readout == "instance":
        maker = walk.graph.producer(grid.source)
        raise walk.refuse("unknown-operator", maker, "the largest of a window has no reading for a single cell")
    compared = within(walk, cells, (shares > 0)[None, None], grid.dtype, largest=True)
    return walk.build.node("Mul", [cells, shares_of_best(walk, compared, [3], grid.dtype, largest=True)])
