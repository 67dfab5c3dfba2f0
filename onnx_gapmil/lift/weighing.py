"""Maps that were multiplied by fixed numbers, other ones at each position: a weighted pool, seen through to the map.

FlexPooling (arXiv 2606.14926), a mask or a window spelled as a product, a Where, a Trilu or zeros scattered over it:
the mean of ``A * w`` is a pool of ``A`` with weights ``w``, so that its cells are those of ``A``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.lifted import elem_type
from onnx_gapmil.lift.verdict import PoolWeights

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifted import FeatureGrid
    from onnx_gapmil.lift.lifting import Lifting

#: Operators between the product and the pool that leave every number as it is.
_MOVERS = frozenset({"Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
_SCATTERING = frozenset({"Scatter", "ScatterElements", "ScatterND"})
_MAX_STEPS = 8


@dataclass(frozen=True)
class Weighing:
    """A product of a map with fixed numbers.

    Attributes:
        behind: the map.
        factor: the fixed tensor; of a ``Where`` its condition, of a ``Trilu`` and of scattered zeros none.
        op: ``Mul``, ``Div``, ``Where``, ``Trilu``, ``ScatterElements`` or ``ScatterND``.
        inverted: whether the map is what a ``Where`` takes where its condition does not hold.
        values: what each position of the map is multiplied by, of the map's rank.
    """

    behind: str
    factor: str
    op: str
    inverted: bool
    values: np.ndarray

    def on(self, walk: Lifting, grid: FeatureGrid, name: str) -> str:
        """A tensor on the grid of the map, weighed; by the vendor's own tensor, which is not copied."""
        build, shape = walk.build, walk.shape(self.behind)
        factor = self.factor
        if not factor:
            factor = build.constant(self.values[:1].astype(grid.dtype))
        if self.op == "Where":
            factor = build.node("Cast", [factor], to=elem_type(grid.dtype))
            if self.inverted:
                factor = build.node("Sub", [walk.scalar(1.0, grid.dtype), factor])
        factor = build.node("Expand", [factor, build.ints([1, *shape[1:]])])
        order = [0, *(axis for axis in range(1, len(shape)) if axis not in grid.axes), *grid.axes]
        if order != sorted(order):
            factor = build.node("Transpose", [factor], perm=order)
        factor = build.reshape(factor, [-1, grid.channels, *grid.size])
        return build.node("Div" if self.op == "Div" else "Mul", [name, factor])


def find_weighing(walk: Lifting, data: str, axes: tuple[int, ...]) -> Weighing | None:
    """The product that made a map, where its fixed factor differs along the positions.

    Args:
        walk: the walk.
        data: the map.
        axes: its axes that are positions.
    """
    found = _product(walk, data)
    if found is None or any(entry.space_is_open for entry in walk.trace.inputs):
        return None
    return found if _varies(found.values, axes) else None


def pool_weights(weights: np.ndarray) -> PoolWeights | None:
    """What is said of a pool's weights; None if all positions weigh alike.

    Args:
        weights: (channels or 1, positions); the pool is their sum over positions times the map.
    """
    exact = weights.astype(np.float64)
    if np.allclose(exact, exact[:, :1], rtol=1e-5, atol=0):
        return None
    if (exact == exact[:1]).all():
        exact = exact[:1]
    count = exact.shape[1]
    return PoolWeights(
        float(exact.min()) * count,
        float((exact < 0).mean()),
        tuple(float(total) for total in exact.sum(axis=1)),
        float(exact.max()) * count,
        tuple((exact.mean(axis=0) * count).tolist()),
    )


def said_of_weights(
    walk: Lifting, grid: FeatureGrid, weights: np.ndarray | None, products: Sequence[Weighing], *, summed: bool
) -> PoolWeights | None:
    """What a pool's step says of the weights of its positions; None if they weigh alike.

    Args:
        walk: the walk.
        grid: the map that is pooled.
        weights: (H, W), 1 everywhere for a plain mean; None for that.
        products: what the map is multiplied by.
        summed: the pool sums instead of averaging.
    """
    count = math.prod(walk.shape(grid.source)[axis] for axis in grid.axes)
    unit = 1.0 if summed else 1 / count
    if weights is not None:
        return pool_weights(weights.reshape(1, -1) * unit)
    factors = [product.values for product in products]
    if not factors:
        # The product may stand before a Flatten or a Transpose: the map is then the weighed one, and that is said.
        behind = _behind(walk, grid.source, grid.axes)
        if behind is None:
            return None
        factors = [behind]
    total = np.ones((1,) * len(walk.shape(grid.source)))
    for factor in factors:
        total = total * factor[:1]
    shape = walk.shape(grid.source)
    rest = [axis for axis in range(1, len(shape)) if axis not in grid.axes]
    apart = any(total.shape[axis] != 1 for axis in rest)
    sizes = [dim if axis in grid.axes or (apart and axis > 0) else 1 for axis, dim in enumerate(shape)]
    full = np.broadcast_to(total, sizes)
    rows = np.transpose(full, [0, *rest, *grid.axes]).reshape(-1, count)
    return pool_weights(rows * unit)


def _behind(walk: Lifting, data: str, axes: tuple[int, ...]) -> np.ndarray | None:
    """What the positions of a map were multiplied by before they were moved to where they are; None if alike.

    Returns:
        Array of the shape of the map, with a batch of 1.
    """
    movers: list[gs.Node] = []
    while len(movers) < _MAX_STEPS:
        node = walk.graph.producer(data)
        if node is None or node.op not in _MOVERS or not node.inputs:
            break
        movers.append(node)
        data = node.inputs[0].name
    found = _product(walk, data)
    if found is None:
        return None
    weights = np.ascontiguousarray(np.broadcast_to(found.values, walk.shape(data)), dtype=np.float32)
    for node in reversed(movers):
        weights = walk.run_node(node, {node.inputs[0].name: weights})[0]
    return weights[:1] if _varies(weights, axes) else None


def _product(walk: Lifting, data: str) -> Weighing | None:
    node = walk.graph.producer(data)
    if node is None or node.domain not in (None, "", "ai.onnx"):
        return None
    if node.op == "Trilu":
        return _triangle(walk, data, node)
    if node.op in _SCATTERING:
        return _with_zeros(walk, data, node)
    if node.op not in ("Div", "Mul", "Where"):
        return None
    names = [tensor.name for tensor in node.inputs]
    if node.op == "Where":
        return _masked(walk, data, *names)
    fixed = [walk.is_fixed(name) for name in names]
    if sum(fixed) != 1 or (node.op == "Div" and fixed[0]):
        return None
    factor, behind = names if fixed[0] else reversed(names)
    value = walk.value(factor)
    if value is None or walk.shape(behind) != walk.shape(data):
        return None
    exact = value.astype(np.float64)
    return Weighing(behind, factor, node.op, False, _aligned(1 / exact if node.op == "Div" else exact, walk, data))


def _triangle(walk: Lifting, data: str, node: gs.Node) -> Weighing | None:
    """``Trilu``: ones on one side of a diagonal of the last two axes, zeros on the other."""
    place = node.inputs[1].name if len(node.inputs) > 1 else ""
    diagonal = walk.value(place) if place and walk.is_fixed(place) else np.zeros((), np.int64)
    if diagonal is None:
        return None
    ones, by = np.ones(walk.shape(data)[-2:]), int(diagonal.reshape(()))
    values = np.triu(ones, by) if node.attrs.get("upper", 1) else np.tril(ones, by)
    return Weighing(node.inputs[0].name, "", node.op, False, _aligned(values, walk, data))


def _with_zeros(walk: Lifting, data: str, node: gs.Node) -> Weighing | None:
    """Zeros put in place of some elements: what is left of ones is the mask."""
    behind, indices, updates = (tensor.name for tensor in node.inputs[:3])
    zeros = walk.value(updates) if walk.is_fixed(updates) else None
    replacing = node.attrs.get("reduction", "none") in ("none", "mul")
    if zeros is None or zeros.any() or not replacing or not walk.is_fixed(indices) or walk.is_fixed(behind):
        return None
    values = walk.run_node(node, {behind: np.ones(walk.shape(data), zeros.dtype)})[0]
    return Weighing(behind, "", node.op, False, values.astype(np.float64))


def _masked(walk: Lifting, data: str, condition: str, yes: str, no: str) -> Weighing | None:
    """``Where`` of a fixed condition between a map and zeros."""
    mask = walk.value(condition) if walk.is_fixed(condition) else None
    inverted = walk.is_fixed(yes)
    behind, other = (no, yes) if inverted else (yes, no)
    zeros = walk.value(other) if walk.is_fixed(other) else None
    if mask is None or zeros is None or zeros.any() or walk.shape(behind) != walk.shape(data):
        return None
    return Weighing(behind, condition, "Where", inverted, _aligned((mask != inverted).astype(np.float64), walk, data))


def _aligned(value: np.ndarray, walk: Lifting, data: str) -> np.ndarray:
    return value.reshape((1,) * (len(walk.shape(data)) - value.ndim) + value.shape)


def _varies(values: np.ndarray, axes: tuple[int, ...]) -> bool:
    """Whether numbers differ along some axes, and do not along the batch."""
    first = values[:1]
    if values.shape[0] != 1 and not np.array_equal(values, np.broadcast_to(first, values.shape)):
        return False
    return any(not np.array_equal(values, np.broadcast_to(values.take([0], axis), values.shape)) for axis in axes)
