r"""Pools that are no mean: maxima, sizes, log-sum-exps and order statistics over positions.

Of ``y = sum_p w_p A_p``, with weights w that the image decides, the lift is ``T w_p A_p`` over T positions. For the
largest position w marks it (ties share); for a length it is ``A_p / y``; for a log-sum-exp every position has its share
``exp(A_p - y)`` of y; for the j-th largest it marks that position.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.crops import find_crop
from onnx_gapmil.lift.grids import feature_grid
from onnx_gapmil.lift.lifted import elem_type
from onnx_gapmil.lift.rules.holding import shares_of_best, within
from onnx_gapmil.lift.rules.pools import (
    cell_count,
    end_at_pool,
    plane_axes,
    pool_of_one,
    pooled_before,
    pooled_values,
    window_weights,
)
from onnx_gapmil.lift.rules.reductions import reduce_channels, reduced_axes
from onnx_gapmil.lift.table import rule
from onnx_gapmil.lift.verdict import HeadRefused, Refusal
from onnx_gapmil.lift.weighing import pool_weights
from onnx_gapmil.lift.windows import find_windows

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifted import FeatureGrid, Lifted
    from onnx_gapmil.lift.lifting import Lifting

#: Numbers in the lift of order statistics: one map for each of them.
_MOST_NUMBERS = 1 << 26
_WORDS = {
    "ReduceL1": "sum of sizes over all positions",
    "ReduceL2": "length over all positions",
    "ReduceLogSum": "logarithm of the sum over all positions",
    "ReduceSumSquare": "sum of squares over all positions",
}


@rule("GlobalMaxPool")
def lift_global_max_pool(node: gs.Node, walk: Lifting) -> Lifted:
    """The largest position: ``H*W * A * onehot(argmax)``, ties shared."""
    data = node.inputs[0].name
    if math.prod(walk.shape(data)[2:]) == 1:
        return pool_of_one(node, walk, data)
    channels = pooled_before(walk, data)
    if channels is not None:
        return reduce_channels(node, walk, channels, plane_axes(walk, data), operator="ReduceMax")
    return _extreme(node, walk, data, tuple(range(2, len(walk.shape(data)))))


@rule("MaxPool")
def lift_max_pool(node: gs.Node, walk: Lifting) -> Lifted:
    """A max pool whose window leaves one position; padded or dilated, it may leave rows and columns out."""
    data = node.inputs[0].name
    before, after = walk.shape(data), walk.shape(walk.output)
    if math.prod(before[2:]) == 1:
        return pool_of_one(node, walk, data)
    if math.prod(after[2:]) != 1:
        raise walk.no_rule(node)
    seen = window_weights(node, walk, before[2:]) != 0
    return _extreme(node, walk, data, tuple(range(2, len(before))), None if seen.all() else seen)


@rule("ReduceMax", "ReduceMin")
def lift_reduce_extreme(node: gs.Node, walk: Lifting) -> Lifted:
    """Over cells the largest (smallest) position; over channels the largest of them."""
    data = node.inputs[0].name
    axes = reduced_axes(node, walk)
    if not isinstance(walk.try_lift(data), Refusal):
        return reduce_channels(node, walk, walk.lift(data), axes)
    return _extreme(node, walk, data, axes)


def _extreme(node: gs.Node, walk: Lifting, data: str, axes: tuple[int, ...], seen: np.ndarray | None = None) -> Lifted:
    """``mask * H*W / ties * A``, where mask marks the positions that hold the extreme; a cell by itself is its own.

    Where the rows (or columns) were averaged before, the largest of their means counts, with all of its cells.

    Args:
        node: the pool.
        walk: the walk.
        data: the map.
        axes: what it pools over.
        seen: (H, W), which positions its window reads; None for all.
    """
    if seen is None and (crop := find_crop(walk, data, axes)) is not None:
        # The largest of a part is that of the whole map, within the part.
        data, axes = crop.source, crop.axes
        seen = None if crop.seen.all() else crop.seen
    least = node.op == "ReduceMin"
    word = "smallest" if least else "largest"
    if seen is not None and seen.ndim != 2:
        raise walk.refuse("partial-pool", node, "its window leaves positions out of a map that is not two-dimensional")
    detail = f"the {word} position" + ("" if seen is None else f" of the {int(seen.sum())} that its window reads")
    pooled = end_at_pool(node, walk, data, axes, detail, conditional=True)
    build, grid, dtype = walk.build, pooled.features[0], pooled.dtype
    if seen is not None and dtype.kind != "f" and dtype.name != "bfloat16":
        raise walk.refuse("quantized-nonuniform", node, f"it takes the {word} of a part of a map of integers ({dtype})")
    if seen is not None:
        if seen.shape != grid.size:
            raise walk.refuse("partial-pool", node, "its window leaves positions out of a map that was averaged before")
        said = pool_weights(seen.reshape(1, -1).astype(np.float64))
        pooled = replace(pooled, step=replace(pooled.step, weights=said))
    if walk.readout == "instance":
        return pooled
    compared = pooled_values(walk, grid)
    if seen is not None:
        compared = within(walk, compared, seen[None, None], dtype, largest=not least)
    share = shares_of_best(walk, compared, [2, 3], dtype, largest=not least)
    windows = None if grid.averaged or seen is not None else find_windows(walk, data, axes)
    if windows is not None and windows.between and not np.allclose(windows.shares.sum(axis=1), 1):
        windows = None  # a bias behind windows that count their padding would be shared out like what they read
    if windows is None:
        return replace(pooled, name=build.node("Mul", [grid.name, share]))
    # The largest of windows (Slim's and timm's test-time pool) is what its window averages.
    behind = feature_grid(node, walk, windows.behind, windows.axes)
    own = windows.spread(walk, share, pooled.channels, dtype)
    name = build.node("Mul", [windows.apply(walk, behind.name), own])
    return replace(pooled, name=name, features=(behind,))


@rule("ReduceLogSumExp")
def lift_reduce_log_sum_exp(node: gs.Node, walk: Lifting) -> Lifted:
    """``y = log sum exp A`` over cells: every position in proportion to its share ``exp(A - y)``, which sum to 1.

    Where the rows (or columns) were averaged before, to a, a cell has its line's share of ``y + A - a``.
    """
    data = node.inputs[0].name
    if not isinstance(walk.try_lift(data), Refusal):
        return reduce_channels(node, walk, walk.lift(data), reduced_axes(node, walk))
    axes = reduced_axes(node, walk)
    pooled = end_at_pool(node, walk, data, axes, "log-sum-exp over all positions", conditional=True)
    if walk.readout == "instance":
        return pooled
    build, grid = walk.build, pooled.features[0]
    value, own = walk.per_cell(walk.output, pooled.shape, pooled.batch_axis or 0), pooled_values(walk, grid)
    share = build.node("Exp", [build.node("Sub", [own, value])])
    scaled = build.node("Mul", [share, cell_count(walk, grid, pooled.dtype)])
    if grid.averaged:
        value = build.node("Add", [build.node("Sub", [grid.name, own]), value])
    return replace(pooled, name=build.node("Mul", [scaled, value]))


@rule("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceSumSquare")
def lift_reduce_size(node: gs.Node, walk: Lifting) -> Lifted:
    """A size over cells: every position by its part of it. Over channels by their slopes."""
    data = node.inputs[0].name
    axes = reduced_axes(node, walk)
    found = walk.try_lift(data)
    if not isinstance(found, Refusal):
        return reduce_channels(node, walk, walk.lift(data), axes)
    # The length of a class token is no pool.
    if len(walk.shape(data)) < 3:
        raise HeadRefused(found)
    pooled = end_at_pool(node, walk, data, axes, _WORDS[node.op], conditional=True)
    build, grid, dtype = walk.build, pooled.features[0], pooled.dtype
    own = pooled_values(walk, grid)
    count = cell_count(walk, grid, dtype)
    if walk.readout == "instance":
        raise walk.refuse("unknown-operator", node, "a size over positions has no reading for a single cell")
    scaled = build.node("Mul", [grid.name, count])
    size = build.reduce(node.op, own, [2, 3])
    if node.op == "ReduceSumSquare":
        return replace(pooled, name=build.node("Mul", [scaled, own]))
    tiny = np.asarray(np.finfo(dtype).tiny, dtype)
    if node.op == "ReduceL1":  # Sign is younger than the oldest operator sets
        sign = build.node("Div", [own, build.at_least(build.node("Abs", [own]), tiny)])
        return replace(pooled, name=build.node("Mul", [scaled, sign]))
    if node.op == "ReduceL2":
        return replace(pooled, name=build.node("Mul", [scaled, build.node("Div", [own, build.at_least(size, tiny)])]))
    total = build.reduce("ReduceSum", own, [2, 3])
    return replace(pooled, name=build.node("Mul", [scaled, build.node("Div", [size, total])]))


@rule("LpPool")
def lift_lp_pool(node: gs.Node, walk: Lifting) -> Lifted:
    """A window that leaves one position, and reads all of the map."""
    data = node.inputs[0].name
    before, after = walk.shape(data), walk.shape(walk.output)
    if math.prod(after[2:]) != 1:
        raise walk.no_rule(node)
    if math.prod(before[2:]) != 1 and not window_weights(node, walk, before[2:]).all():
        raise walk.refuse("partial-pool", node, "its window leaves positions of the map out")
    return lift_global_lp_pool(node, walk)


@rule("GlobalLpPool")
def lift_global_lp_pool(node: gs.Node, walk: Lifting) -> Lifted:
    """``(sum |A|^p)^(1/p)``: every position in proportion to its ``|A|^p``, so that they sum to the pooled value."""
    data = node.inputs[0].name
    if math.prod(walk.shape(data)[2:]) == 1:
        raise walk.refuse("unknown-operator", node, "it takes the absolute value of a map of one position")
    axes = tuple(range(2, len(walk.shape(data))))
    pooled = end_at_pool(node, walk, data, axes, "norm over all positions", conditional=True)
    if pooled.features[0].averaged:
        raise walk.refuse("partial-pool", node, "it takes the norm of means over rows or columns, which no cell has")
    build, power = walk.build, walk.scalar(float(node.attrs.get("p", 2)), pooled.dtype)
    size = build.node("Pow", [build.node("Abs", [pooled.name]), power])
    if walk.readout == "instance":
        count = cell_count(walk, pooled.features[0], pooled.dtype)
        root = walk.scalar(1 / float(node.attrs.get("p", 2)), pooled.dtype)
        return replace(pooled, name=build.node("Pow", [build.node("Mul", [size, count]), root]))
    tiny = np.asarray(np.finfo(pooled.dtype).tiny, pooled.dtype)
    share = build.node("Div", [size, build.at_least(build.reduce("ReduceMean", size, [2, 3]), tiny)])
    return replace(pooled, name=build.node("Mul", [share, walk.per_cell(walk.output, pooled.shape, 0)]))


def _is_averaged(node: gs.Node, walk: Lifting, axis: int) -> bool:
    """Whether what is read of the chosen numbers is their mean or sum, whose order is no matter."""
    name = node.outputs[0].name
    readers = walk.graph.consumers.get(name, [])
    return bool(readers) and all(
        reader.op in ("ReduceMean", "ReduceSum") and axis in reduced_axes(reader, walk) for reader in readers
    )


@rule("TopK")
def lift_top_k(node: gs.Node, walk: Lifting) -> Lifted:
    """The k largest positions of each channel (smallest, if it says so), each a channel of its own.

    A mean of them is top-k pooling, the last of half of them the median: what follows adds or chooses channels.
    """
    data = node.inputs[0].name
    shape, after = walk.shape(data), walk.shape(node.outputs[0].name)
    axis = int(node.attrs.get("axis", -1)) % len(shape)
    if walk.output != node.outputs[0].name or not isinstance(walk.try_lift(data), Refusal):
        raise walk.refuse("unknown-operator", node, "it sorts pooled channels, or tells where they were")
    if not int(node.attrs.get("sorted", 1)) and not _is_averaged(node, walk, axis):
        raise walk.refuse("unknown-operator", node, "it leaves the order of the positions that it chooses open")
    wide = [place for place, dim in enumerate(shape) if place not in (0, axis) and dim != 1]
    count, positions = after[axis], shape[axis]
    if len(wide) > 1 or axis == 0 or walk.batch_axis(data) != 0 or walk.readout == "instance":
        raise walk.refuse("unknown-operator", node, "it sorts something else than the positions of each channel")
    channels = math.prod(shape[place] for place in wide)
    if channels * count * positions > _MOST_NUMBERS or (_is_open(walk) and walk.graph.opset < 11):
        raise walk.refuse(
            "unknown-operator", node, f"it keeps {count} of {positions} positions, more than are followed"
        )
    kept = (shape[0], *(shape[place] for place in wide))
    word = "largest" if int(node.attrs.get("largest", 1)) else "smallest"
    detail = f"the {count} {word} positions of each channel"
    pooled = end_at_pool(node, walk, data, (axis,), detail, conditional=True, shape=kept)
    if pooled.features[0].averaged:
        raise walk.refuse("partial-pool", node, "it sorts means over rows or columns, which no cell has")
    first = bool(wide) and axis < wide[0]
    name = _statistics(walk, pooled.features[0], channels, count, least=word == "smallest", first=first)
    return replace(
        pooled,
        name=name,
        channels=channels * count,
        shape=after,
        step=replace(pooled.step, shape=after),
    )


def _statistics(walk: Lifting, grid: FeatureGrid, channels: int, count: int, *, least: bool, first: bool) -> str:
    """``T * A * onehot(j-th)`` as (N, C * k, H, W); equal ones in the order of their positions.

    Args:
        walk: the walk.
        grid: the map.
        channels: C.
        count: k.
        least: the smallest are taken.
        first: the tensor has the order statistics before the channels, as tokens have.
    """
    build, dtype = walk.build, grid.dtype
    flat = build.reshape(grid.name, [0, channels, -1])
    _, found = build.topk(build.node("Neg", [flat]) if least else flat, count, 2)
    numbers = build.reshape(_numbers(walk, grid, flat), [1, 1, 1, -1])
    hot = build.node("Equal", [build.reshape(found, [0, channels, count, 1]), numbers])
    mask = build.node("Mul", [build.node("Cast", [hot], to=elem_type(dtype)), cell_count(walk, grid, dtype)])
    made = build.node("Mul", [build.reshape(flat, [0, channels, 1, -1]), mask])
    if first:
        made = build.node("Transpose", [made], perm=[0, 2, 1, 3])
    if not _is_open(walk):
        return build.reshape(made, [0, channels * count, *grid.size])
    size = build.node("Gather", [build.node("Shape", [grid.name]), build.ints([2, 3])], axis=0)
    return build.node("Reshape", [made, build.node("Concat", [build.ints([0, channels * count]), size], axis=0)])


def _numbers(walk: Lifting, grid: FeatureGrid, flat: str) -> str:
    """The numbers of the cells, counted at run time where the input's size is open."""
    build = walk.build
    if not _is_open(walk):
        return build.constant(np.arange(math.prod(grid.size), dtype=np.int64))
    count = build.node("Gather", [build.node("Shape", [flat]), build.constant(np.asarray(2, np.int64))], axis=0)
    zero, one = (build.constant(np.asarray(value, np.int64)) for value in (0, 1))
    return build.node("Range", [zero, count, one])


def _is_open(walk: Lifting) -> bool:
    """Whether the height or width of the input is left open."""
    return any(entry.space_is_open for entry in walk.trace.inputs)
