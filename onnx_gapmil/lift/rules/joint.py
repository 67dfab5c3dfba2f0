r"""Products of probabilities, as noisy-or is made of: ``1 - \prod_p (1 - p)``, over positions or over classes.

A product is 1 where nothing brings it down, so that what is shared out is the rest. Of ``y = \prod_j q_j`` with the
share ``w_j = log q_j / \sum_i log q_i`` of each factor, ``y = 1 + \sum_j w_j (y - 1)``: over T positions the lift is
``1 + T w_p (y - 1)``, so that a position whose p is 0 has none of ``1 - y``. Over pooled channels each term is a
function of its own factor, whose slope ``w_j (y - 1) / (q_j - 1)`` is kept at the pooled value.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.cellwise import pooled_value
from onnx_gapmil.lift.lifted import elem_type
from onnx_gapmil.lift.monotone import bounds
from onnx_gapmil.lift.rules.pools import cell_count, end_at_pool
from onnx_gapmil.lift.rules.reductions import Groups, batch_after, reduced_axes, tiny
from onnx_gapmil.lift.table import rule
from onnx_gapmil.lift.verdict import Refusal

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifted import Lifted
    from onnx_gapmil.lift.lifting import Lifting


@rule("ReduceProd")
def lift_reduce_product(node: gs.Node, walk: Lifting) -> Lifted:
    """Over cells each position by its share of what the product lacks of 1; over channels by slopes."""
    data, axes = _whole(node, walk)
    if not isinstance(walk.try_lift(node.inputs[0].name), Refusal):
        return _over_channels(node, walk)
    low, high = bounds(walk.graph, data)
    if low < 0 or high > 1:
        raise walk.refuse("unknown-operator", node, "it multiplies numbers that are not known to lie between 0 and 1")
    pooled = end_at_pool(node, walk, data, axes, "product over all positions, each by its share", conditional=True)
    build, grid, dtype = walk.build, pooled.features[0], pooled.dtype
    if grid.averaged:
        raise walk.refuse("partial-pool", node, "it multiplies means over rows or columns, which no cell has")
    if walk.readout == "instance":
        return replace(pooled, name=build.node("Pow", [grid.name, cell_count(walk, grid, dtype)]))
    size = _log(walk, grid.name, dtype)
    share = _quotient(walk, size, build.reduce("ReduceMean", size, [2, 3]), dtype)
    value = walk.per_cell(walk.output, pooled.shape, pooled.batch_axis)
    lack = build.node("Sub", [value, walk.scalar(1.0, dtype)])
    return replace(pooled, name=build.node("Add", [build.node("Mul", [share, lack]), walk.scalar(1.0, dtype)]))


def _whole(node: gs.Node, walk: Lifting) -> tuple[str, tuple[int, ...]]:
    """The map that is multiplied up, and over which axes: ``torch.prod`` takes one axis at a time."""
    data, axes = node.inputs[0].name, set(reduced_axes(node, walk))
    while (before := walk.graph.producer(walk.graph.behind(data))) is not None and before.op == "ReduceProd":
        source = before.inputs[0].name
        gone = set(reduced_axes(before, walk))
        kept = [axis for axis in range(len(walk.shape(source))) if axis not in gone]
        if len(walk.shape(data)) == len(walk.shape(source)):
            axes |= gone
        elif len(kept) == len(walk.shape(data)):
            axes = {kept[axis] for axis in axes} | gone
        else:
            break
        data = source
    return data, tuple(sorted(axes))


def _over_channels(node: gs.Node, walk: Lifting) -> Lifted:
    data = node.inputs[0].name
    lifted = walk.lift(data)
    axes, axis = reduced_axes(node, walk), batch_after(node, walk, lifted)
    if not axes:
        return walk.result(node, lifted.name, [lifted], "shape", "only the shape changes", batch_axis=axis)
    low, high = bounds(walk.graph, data)
    if low < 0 or high > 1:
        raise walk.refuse("unknown-operator", node, "it multiplies numbers that are not known to lie between 0 and 1")
    groups = Groups(node, walk, lifted, axes)
    build, dtype = walk.build, lifted.dtype
    cells = groups.apart(lifted.name)
    if walk.readout == "instance":
        name = groups.reduce("ReduceProd", cells)
    else:
        factors, one = groups.apart_pooled(pooled_value(walk, lifted)), walk.scalar(1.0, dtype)
        size = _log(walk, factors, dtype)
        rest = build.node("Sub", [groups.reduce("ReduceProd", factors), one])
        slope = build.node("Mul", [
            _quotient(walk, rest, groups.reduce("ReduceSum", size), dtype),
            _quotient(walk, size, build.node("Sub", [factors, one]), dtype),
        ])  # fmt: skip
        moved = build.node("Mul", [slope, build.node("Sub", [cells, one])])
        name = build.node("Add", [groups.reduce("ReduceSum", moved), one])
    name = groups.together(name, math.prod(walk.shape(walk.output)) // lifted.batch)
    detail = "product of channels, each by its slope at the pooled value"
    return walk.result(node, name, [lifted], "activation", detail, conditional=True, batch_axis=axis)


def _log(walk: Lifting, tensor: str, dtype: np.dtype) -> str:
    """Logarithms of numbers between 0 and 1; that of 0 is a large number below 0."""
    return walk.build.node("Log", [walk.build.at_least(tensor, tiny(dtype))])


def _quotient(walk: Lifting, part: str, whole: str, dtype: np.dtype) -> str:
    """``part / whole`` of numbers that are not above 0; 1 where the whole is 0."""
    build = walk.build
    none = build.node(
        "Cast", [build.node("Less", [walk.scalar(-float(tiny(dtype)), dtype), whole])], to=elem_type(dtype)
    )
    return build.node("Div", [build.node("Sub", [part, none]), build.node("Sub", [whole, none])])
