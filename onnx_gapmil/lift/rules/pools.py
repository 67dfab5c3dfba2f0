"""Pools: where the recursion ends. The lift of the pooled tensor is the feature grid, weighted if the pool is."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.crops import find_crop
from onnx_gapmil.lift.grids import feature_grid, first_map
from onnx_gapmil.lift.lifted import Lifted, elem_type
from onnx_gapmil.lift.rules.weighted import weighted_by_image
from onnx_gapmil.lift.table import rule
from onnx_gapmil.lift.verdict import HeadRefused, LiftStep, Refusal
from onnx_gapmil.lift.weighing import find_weighing, said_of_weights
from onnx_gapmil.lift.windows import find_windows
from onnx_gapmil.ort.cpu import evaluate

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifted import FeatureGrid
    from onnx_gapmil.lift.lifting import Lifting
    from onnx_gapmil.lift.weighing import Weighing
    from onnx_gapmil.lift.windows import Windows


@rule("GlobalAveragePool")
def lift_global_average_pool(node: gs.Node, walk: Lifting) -> Lifted:
    """The mean over all positions: the lift is the map that is pooled."""
    data = node.inputs[0].name
    if math.prod(walk.shape(data)[2:]) == 1:
        return _pool_of_one(node, walk, data)
    axes = tuple(range(2, len(walk.shape(data))))
    return end_at_pool(node, walk, data, axes, "mean over all positions")


@rule("AveragePool")
def lift_average_pool(node: gs.Node, walk: Lifting) -> Lifted:
    """A window whose output has one position: a weighted mean, by the weights that the runtime gives each position."""
    data = node.inputs[0].name
    before, after = walk.shape(data), walk.shape(walk.output)
    if math.prod(before[2:]) == 1:
        return _pool_of_one(node, walk, data)
    if math.prod(after[2:]) != 1:
        size = "x".join(str(dim) for dim in after[2:])
        raise walk.refuse(
            "partial-pool", node, f"its window leaves {size} positions of {'x'.join(map(str, before[2:]))}"
        )
    # Caffe2, MXNet, Chainer and MindSpore pool by a window as large as the map, PyTorch for AvgPool2d(size). With pads,
    # stride and count_include_pad it may drop positions or weigh them unequally: 7x7 over 8x8 is no global pool.
    weights = window_weights(node, walk, before[2:])
    axes = tuple(range(2, len(before)))
    if np.allclose(weights, 1 / weights.size, rtol=1e-5, atol=0):
        return end_at_pool(node, walk, data, axes, "mean over all positions")
    if weights.ndim != 2:
        raise walk.refuse(
            "partial-pool",
            node,
            "its window weights positions unequally on a map that is not two-dimensional",
        )
    weights = weights * weights.size
    detail = f"window mean: weights {weights.min():.3g} to {weights.max():.3g} of a plain mean's"
    return end_at_pool(node, walk, data, axes, detail, weights=weights)


def window_weights(node: gs.Node, walk: Lifting, size: tuple[int, ...]) -> np.ndarray:
    """What weight a pooling window gives each position: the runtime's answer to one-hot maps.

    Returns:
        float64 array of shape ``size``; its sum is 1 for a plain mean.
    """
    count = math.prod(size)
    proto = walk.graph.node_proto(node)
    # One map for each position, in one run: so pads, ceil_mode and dilations count as the runtime counts them.
    hot = np.eye(count, dtype=np.float32).reshape(count, 1, *size)
    (answer,) = evaluate([proto], {node.inputs[0].name: hot}, [node.outputs[0].name], walk.graph.proto.opset_import)
    return answer.reshape(size).astype(np.float64)


@rule("GlobalMaxPool")
def lift_global_max_pool(node: gs.Node, walk: Lifting) -> Lifted:
    """The largest position: ``H*W * A * onehot(argmax)``, ties shared."""
    data = node.inputs[0].name
    if math.prod(walk.shape(data)[2:]) == 1:
        return _pool_of_one(node, walk, data)
    return _max(node, walk, data, tuple(range(2, len(walk.shape(data)))))


@rule("MaxPool")
def lift_max_pool(node: gs.Node, walk: Lifting) -> Lifted:
    """A max pool whose kernel covers the whole map."""
    data = node.inputs[0].name
    before, after = walk.shape(data), walk.shape(walk.output)
    if math.prod(before[2:]) == 1:
        return _pool_of_one(node, walk, data)
    if math.prod(after[2:]) != 1:
        raise walk.no_rule(node)
    # A kernel as large as the map may still miss rows and columns, where pads move it to the side or dilations skip.
    missed = int((window_weights(node, walk, before[2:]) == 0).sum())
    if missed:
        raise walk.refuse("partial-pool", node, f"its window leaves {missed} of {math.prod(before[2:])} positions out")
    return _max(node, walk, data, tuple(range(2, len(before))))


@rule("ReduceMax")
def lift_reduce_max(node: gs.Node, walk: Lifting) -> Lifted:
    """Over cells: a max pool. Over channels there is no lift."""
    data = node.inputs[0].name
    axes = reduced_axes(node, walk)
    if not isinstance(walk.try_lift(data), Refusal):
        raise walk.refuse("unknown-operator", node, "it takes the largest pooled channel, which has no lift")
    return _max(node, walk, data, axes)


def _max(node: gs.Node, walk: Lifting, data: str, axes: tuple[int, ...]) -> Lifted:
    """``mask * H*W / ties * A``, where mask marks the positions that hold the maximum; a cell by itself is its own.

    Where the rows (or columns) were averaged before, the largest of their means counts, with all of its cells.
    """
    pooled = end_at_pool(node, walk, data, axes, "the largest position", conditional=True)
    if walk.readout == "instance":
        return pooled
    build, grid = walk.build, pooled.features[0]
    compared = _pooled_values(walk, grid)
    top = build.reduce("ReduceMax", compared, [2, 3])
    # Less, since Equal takes no floats before operator set 11.
    below = build.node("Cast", [build.node("Less", [compared, top])], to=elem_type(pooled.dtype))
    mask = build.node("Sub", [walk.scalar(1.0, pooled.dtype), below])
    share = build.node("Div", [mask, build.reduce("ReduceMean", mask, [2, 3])])
    windows = None if grid.averaged else find_windows(walk, data, axes)
    if windows is None:
        return _renamed(pooled, build.node("Mul", [grid.name, share]))
    # The largest of windows (Slim's and timm's test-time pool) is what its window averages.
    behind = feature_grid(node, walk, windows.behind, windows.axes)
    own = windows.spread(walk, share, pooled.channels, pooled.dtype)
    name = build.node("Mul", [windows.apply(walk, behind.name), own])
    return replace(pooled, name=name, features=(behind,))


@rule("ReduceLogSumExp")
def lift_reduce_log_sum_exp(node: gs.Node, walk: Lifting) -> Lifted:
    """``y = log sum exp A`` over cells: every position in proportion to its share ``exp(A - y)``, which sum to 1.

    Where the rows (or columns) were averaged before, to a, a cell has its line's share of ``y + A - a``.
    """
    data = node.inputs[0].name
    if not isinstance(walk.try_lift(data), Refusal):
        raise walk.refuse("unknown-operator", node, "over pooled channels it has no lift")
    axes = reduced_axes(node, walk)
    pooled = end_at_pool(node, walk, data, axes, "log-sum-exp over all positions", conditional=True)
    if walk.readout == "instance":
        return pooled
    build, grid = walk.build, pooled.features[0]
    value, own = walk.per_cell(walk.output, pooled.shape, 0), _pooled_values(walk, grid)
    share = build.node("Exp", [build.node("Sub", [own, value])])
    scaled = build.node("Mul", [share, _cell_count(walk, grid, pooled.dtype)])
    if grid.averaged:
        value = build.node("Add", [build.node("Sub", [grid.name, own]), value])
    return _renamed(pooled, build.node("Mul", [scaled, value]))


@rule("GlobalLpPool")
def lift_global_lp_pool(node: gs.Node, walk: Lifting) -> Lifted:
    """``(sum |A|^p)^(1/p)``: every position in proportion to its ``|A|^p``, so that they sum to the pooled value."""
    data = node.inputs[0].name
    if math.prod(walk.shape(data)[2:]) == 1:
        raise walk.refuse("unknown-operator", node, "it takes the absolute value of a map of one position")
    pooled = end_at_pool(
        node, walk, data, tuple(range(2, len(walk.shape(data)))), "norm over all positions", conditional=True
    )
    if pooled.features[0].averaged:
        raise walk.refuse("partial-pool", node, "it takes the norm of means over rows or columns, which no cell has")
    build, power = walk.build, walk.scalar(float(node.attrs.get("p", 2)), pooled.dtype)
    size = build.node("Pow", [build.node("Abs", [pooled.name]), power])
    if walk.readout == "instance":
        count = _cell_count(walk, pooled.features[0], pooled.dtype)
        root = walk.scalar(1 / float(node.attrs.get("p", 2)), pooled.dtype)
        return _renamed(pooled, build.node("Pow", [build.node("Mul", [size, count]), root]))
    tiny = walk.scalar(float(np.finfo(pooled.dtype).tiny), pooled.dtype)
    share = build.node("Div", [size, build.node("Max", [build.reduce("ReduceMean", size, [2, 3]), tiny])])
    return _renamed(pooled, build.node("Mul", [share, walk.per_cell(walk.output, pooled.shape, 0)]))


@rule("ReduceMean", "ReduceSum")
def lift_reduce(node: gs.Node, walk: Lifting) -> Lifted:
    """Over cells it is the pool, where the walk ends; over the channels of a pooled tensor it is affine."""
    data = node.inputs[0].name
    axes = reduced_axes(node, walk)
    found = walk.try_lift(data)
    if not isinstance(found, Refusal):
        # The mean of a LayerNorm that is spelled out (PyTorch to operator set 16, jax2onnx).
        return _reduce_channels(node, walk, found, axes)
    if not axes:
        raise HeadRefused(found)
    detail = "mean over all positions" if node.op == "ReduceMean" else "sum over all positions"
    # Attention of multiple instance learning ends in ReduceSum like a plain sum pool does.
    attended = weighted_by_image(node, walk, data)
    if attended:
        detail = f"attention: {detail}, weighted by the image"
    return end_at_pool(node, walk, data, axes, detail, summed=node.op == "ReduceSum", conditional=attended)


def reduced_axes(node: gs.Node, walk: Lifting) -> tuple[int, ...]:
    """Axes of extent above 1 that a reduction removes: from its attribute or its input, negative ones resolved."""
    shape = walk.shape(node.inputs[0].name)
    # ReduceMean has its axes as an attribute to operator set 17, as an input from 18 (dynamo, tf2onnx); in any order.
    if len(node.inputs) > 1 and node.inputs[1].name:
        value = walk.value(node.inputs[1].name)
        if value is None:
            raise walk.refuse("unknown-operator", node, "its axes are not fixed")
        given = [int(axis) for axis in value.reshape(-1)]
    else:
        given = [int(axis) for axis in node.attrs.get("axes", ())]
    if not given:
        given = [] if int(node.attrs.get("noop_with_empty_axes", 0)) else list(range(len(shape)))
    return tuple(sorted(axis % len(shape) for axis in given if shape[axis] != 1))


def _reduce_channels(node: gs.Node, walk: Lifting, lifted: Lifted, axes: tuple[int, ...]) -> Lifted:
    """Mean or sum over some axes of a pooled tensor: over those channels in every cell."""
    if lifted.batch_axis in axes:
        raise walk.refuse("spatial-mixing-after-pool", node, "it reduces over the batch")
    out = walk.shape(walk.output)
    keep = bool(node.attrs.get("keepdims", 1))
    axis = lifted.batch_axis
    if axis is not None and axis > 0 and not keep:
        axis -= sum(1 for gone in _all_reduced(node, walk) if gone < axis)
    if not axes:
        return walk.result(node, lifted.name, [lifted], "shape", "only the shape changes", batch_axis=axis)
    # Spelled-out norms reduce all channels; over groups of them the lift is taken apart into those axes.
    inner = [place for place in range(len(lifted.shape)) if place != lifted.batch_axis]
    if all(lifted.shape[place] == 1 or place in axes for place in inner):
        name = walk.build.reduce(node.op, lifted.name, [1])
    else:
        height, width = lifted.size
        sizes = [lifted.shape[place] for place in inner]
        apart = walk.build.reshape(lifted.name, [0, *sizes, -1])
        places = [1 + inner.index(place) for place in axes]
        reduced = walk.build.reduce(node.op, apart, places, keepdims=True)
        name = walk.build.reshape(reduced, [0, math.prod(out) // lifted.batch, height, width])
    word = "mean" if node.op == "ReduceMean" else "sum"
    return walk.result(node, name, [lifted], "affine", f"{word} over channels, in every cell", batch_axis=axis)


def _all_reduced(node: gs.Node, walk: Lifting) -> list[int]:
    """Reduced axes, those of extent 1 included."""
    before, after = walk.shape(node.inputs[0].name), walk.shape(walk.output)
    axes = list(reduced_axes(node, walk))
    spare = [axis for axis, dim in enumerate(before) if dim == 1 and axis not in axes]
    return axes + spare[: len(before) - len(after) - len(axes)]


def lift_sum_einsum(node: gs.Node, walk: Lifting, equation: str) -> Lifted:
    """``Einsum`` with one operand that drops axes: a sum over cells."""
    before, _, after = equation.partition("->")
    shape = walk.shape(node.inputs[0].name)
    if not after or len(set(before)) != len(before) or [axis for axis in before if axis in after] != list(after):
        raise walk.refuse("unknown-operator", node, f"'{equation}' is no plain sum")
    axes = tuple(place for place, axis in enumerate(before) if axis not in after and shape[place] != 1)
    return end_at_pool(node, walk, node.inputs[0].name, axes, "sum over all positions", summed=True)


def end_at_pool(
    node: gs.Node,
    walk: Lifting,
    data: str,
    axes: tuple[int, ...],
    detail: str,
    *,
    weights: np.ndarray | None = None,
    summed: bool = False,
    conditional: bool = False,
    dequantize: Callable[[str], str] | None = None,
) -> Lifted:
    """The lift of a pooled tensor: the feature grid, times what the pool's weights are in units of a plain mean's.

    Args:
        node: the pooling node.
        walk: the walk.
        data: the map that it pools.
        axes: the axes that it pools over.
        detail: one phrase for people.
        weights: (H, W), 1 everywhere for a plain mean; None for that.
        summed: the pool sums instead of averaging.
        conditional: the weights depend on the image.
        dequantize: makes real numbers of a map of integers: given its name, returns that of a float32 one.
    """
    products: list[Weighing] = []
    windows: Windows | None = None
    if weights is None and not conditional and dequantize is None:
        # Two crops of one map, strips of a body (re-identification): a part is pooled by itself.
        data, axes, weights, detail = _uncropped(walk, data, axes, detail, summed=summed)
        if weights is None:
            data, axes, products = _unweighed(walk, data, axes, summed=summed)
        windows = None if products else _windows(walk, data, axes, plain=weights is None and not summed)
    if windows is not None:
        data, axes, weights = windows.behind, windows.axes, windows.weights(weights, summed=summed)
        detail = f"{detail} of {len(windows.shares)} windows"
    grid = feature_grid(node, walk, data, axes)
    if dequantize is not None:
        grid = replace(grid, name=dequantize(grid.name), dtype=np.dtype(np.float32))
    name, dtype = grid.name, grid.dtype
    if weights is not None:
        # Of a line, where the other axis was averaged before; or of tokens, which lie in rows and columns.
        fits = weights.size == math.prod(grid.size)
        weights = weights.reshape(grid.size) if fits else np.broadcast_to(weights, grid.size)
        name = walk.build.node("Mul", [name, walk.build.constant(weights[None, None].astype(dtype))])
    if windows is not None:
        name = windows.apply(walk, name)
    for product in products:
        name = product.on(walk, grid, name)
    if summed:
        # jax2onnx spells a mean ReduceSum, Div; the division comes as an affine step of its own.
        name = walk.build.node("Mul", [name, _cell_count(walk, grid, dtype)])
    shape = walk.shape(walk.output)
    batch_axis = walk.batch_axis(walk.output)
    batch = walk.shape(grid.source)[walk.batch_axis(grid.source)]
    if shape[batch_axis] != batch:
        raise walk.refuse("spatial-mixing-after-pool", node, f"its output {list(shape)} does not tell the images apart")
    said = None if conditional else said_of_weights(walk, grid, weights, products, summed=summed)
    if said is not None:
        detail = f"{detail}; {said.describe()}: position-dependent"
    step = LiftStep(walk.operator(node), node.name or "", walk.output, shape, "pool", conditional, detail, said)
    channels = grid.channels if windows is None else math.prod(shape) // batch
    return Lifted(name, channels, shape, batch_axis, batch, (grid,), dtype, conditional, step)


def _windows(walk: Lifting, data: str, axes: tuple[int, ...], *, plain: bool) -> Windows | None:
    """Windows whose outputs are pooled, perhaps in two steps; what stands between must commute with the pool."""
    if plain:
        data, axes, _ = first_map(walk, data, axes)
    found = find_windows(walk, data, axes)
    # A bias between them is added once for each window, which a sum of windows or a part of them would count.
    return None if found is not None and found.between and not plain else found


def _unweighed(
    walk: Lifting, data: str, axes: tuple[int, ...], *, summed: bool
) -> tuple[str, tuple[int, ...], list[Weighing]]:
    """A pool of a map times fixed numbers is a weighted pool of the map: the map, its axes, and the products."""
    source, places, own = first_map(walk, data, axes)
    if summed and set(own) != set(places):
        return data, axes, []  # a sum of means over the other axis
    products: list[Weighing] = []
    while (found := find_weighing(walk, source, places)) is not None:
        products.append(found)
        source = found.behind
    return (source, places, products) if products else (data, axes, [])


def _uncropped(
    walk: Lifting, data: str, axes: tuple[int, ...], detail: str, *, summed: bool
) -> tuple[str, tuple[int, ...], np.ndarray | None, str]:
    """A pool of a cropped map is a pool of the whole map with weight 0 outside: only so do its cells keep their places.

    Returns:
        The map, the axes, the weights in units of a plain mean's (None without a crop), and the phrase for people.
    """
    crop = find_crop(walk, data, axes)
    if crop is None:
        return data, axes, None, detail
    shape = walk.shape(crop.source)
    mask = np.zeros([shape[axis] for axis in axes])
    mask[tuple(slice(start, end) for start, end in crop.bounds)] = 1.0
    weights = mask if summed else mask * mask.size / mask.sum()
    rows, columns = crop.bounds
    return crop.source, axes, weights, f"{detail} of rows {rows[0]} to {rows[1]}, columns {columns[0]} to {columns[1]}"


def _pooled_values(walk: Lifting, grid: FeatureGrid) -> str:
    """What the pool sees: the grid, or the means of its rows or columns, (N, C, H or 1, W or 1)."""
    return walk.build.reduce("ReduceMean", grid.name, list(grid.averaged)) if grid.averaged else grid.name


def _cell_count(walk: Lifting, grid: FeatureGrid, dtype: np.dtype) -> str:
    """How many values the pool sees, H*W of the grid but for what was averaged before.

    A constant, or computed in the graph where the input's size is open.
    """
    axes = [axis for axis in (2, 3) if axis not in grid.averaged]
    if not any(entry.space_is_open for entry in walk.trace.inputs):
        return walk.scalar(math.prod(grid.size[axis - 2] for axis in axes), dtype)
    build = walk.build
    size = build.node("Gather", [build.node("Shape", [grid.name]), build.ints(axes)], axis=0)
    count = build.reduce(
        "ReduceProd", build.node("Cast", [size], to=elem_type(np.dtype(np.float32))), [0], keepdims=False
    )
    return count if dtype == np.float32 else build.node("Cast", [count], to=elem_type(dtype))


def _pool_of_one(node: gs.Node, walk: Lifting, data: str) -> Lifted:
    """A pool of a map with one position is no pool: walk on."""
    found = walk.try_lift(data)
    # Inception's auxiliary head, VGG at a small input: the pool is there, and its map has one position.
    if isinstance(found, Refusal) and found.code in ("no-spatial-pool", "unknown-operator"):
        raise walk.refuse("no-spatial-pool", node, f"it pools a map of one position, and behind it: {found.message}")
    lifted = walk.lift(data)
    return walk.result(
        node,
        lifted.name,
        [lifted],
        "shape",
        "a pool of one position changes nothing",
        batch_axis=lifted.batch_axis,
    )


def _renamed(lifted: Lifted, name: str) -> Lifted:
    return replace(lifted, name=name)
