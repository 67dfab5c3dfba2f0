"""Pools: where the recursion ends. The lift of the pooled tensor is the feature grid, weighted if the pool is."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.files.wording import percent
from onnx_gapmil.lift.ancestry import places_are_lost
from onnx_gapmil.lift.cellwise import as_grid
from onnx_gapmil.lift.crops import find_crop
from onnx_gapmil.lift.frames import ends_in_frames, frames_along, frames_are_open, gather_frames
from onnx_gapmil.lift.grids import feature_grid, first_map
from onnx_gapmil.lift.layout import Layout
from onnx_gapmil.lift.lifted import Lifted, elem_type
from onnx_gapmil.lift.rules.reductions import reduce_channels, reduce_windows, reduced_axes
from onnx_gapmil.lift.rules.tiles import tiles_apart
from onnx_gapmil.lift.rules.weighted import weighted_by_image
from onnx_gapmil.lift.single_image import images_in
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
        return pool_of_one(node, walk, data)
    axes = tuple(range(2, len(walk.shape(data))))
    if (frames := _over_frames(walk, data, axes)) is not None:
        return _pool_of_frames(node, walk, *frames)
    channels = pooled_before(walk, data)
    if channels is not None:
        return reduce_channels(node, walk, channels, plane_axes(walk, data), operator="ReduceMean")
    return end_at_pool(node, walk, data, axes, "mean over all positions")


def plane_axes(walk: Lifting, data: str) -> tuple[int, ...]:
    """The axes of extent above 1 behind batch and channels."""
    return tuple(axis for axis in range(2, len(walk.shape(data))) if walk.shape(data)[axis] != 1)


def pooled_before(walk: Lifting, data: str) -> Lifted | None:
    """The lift of a vector that was given the shape of a map, such as the sub-centres of each class; None for a map."""
    if not places_are_lost(walk, data):
        return None
    found = walk.try_lift(data)
    if isinstance(found, Refusal):
        return None
    # A vector that was spread over a map, and bent differently at each position since: what is averaged then looks like
    # places, and is told as none.
    positions = math.prod(walk.shape(data)[2:])
    spread = any(math.prod(step.shape) * positions == found.batch * found.channels for step in walk.chain(data))
    return None if spread and found.conditional else found


@rule("AveragePool")
def lift_average_pool(node: gs.Node, walk: Lifting) -> Lifted:
    """A window whose output has one position: a weighted mean, by the weights that the runtime gives each position."""
    data = node.inputs[0].name
    before, after = walk.shape(data), walk.shape(walk.output)
    if math.prod(before[2:]) == 1:
        return pool_of_one(node, walk, data)
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
        if (frames := _over_frames(walk, data, axes)) is not None:
            return _pool_of_frames(node, walk, *frames)
        return end_at_pool(node, walk, data, axes, "mean over all positions")
    weights = weights * weights.size
    detail = f"window mean: weights {weights.min():.3g} to {weights.max():.3g} of a plain mean's"
    return end_at_pool(node, walk, data, axes, detail, weights=weights)


def _over_frames(walk: Lifting, data: str, axes: tuple[int, ...]) -> tuple[Lifted, int] | None:
    """The lift of pooled frames (N, C, frames), where a pool averages those, and which axis they are."""
    wide = tuple(axis for axis in axes if walk.shape(data)[axis] != 1)
    if len(wide) != 1 or all(frames_along(walk, data, axis) is None for axis in wide):
        return None
    found = walk.try_lift(data)
    if isinstance(found, Refusal) or not ends_in_frames(walk, found, data, wide):
        return None
    return found, wide[0]


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


@rule("ReduceMean", "ReduceSum")
def lift_reduce(node: gs.Node, walk: Lifting) -> Lifted:
    """Over cells it is the pool, where the walk ends; over the channels of a pooled tensor it is affine."""
    data = node.inputs[0].name
    axes = reduced_axes(node, walk)
    found = walk.try_lift(data)
    if not isinstance(found, Refusal):
        if ends_in_frames(walk, found, data, axes):
            return _pool_of_frames(node, walk, found, axes[0], summed=node.op == "ReduceSum")
        if axes == (0,) == (found.batch_axis,) and (parts := tiles_apart(node, walk, found, found.index())) is not None:
            return reduce_windows(node, walk, parts[0])
        # The mean of a LayerNorm that is spelled out (PyTorch to operator set 16, jax2onnx).
        return reduce_channels(node, walk, walk.lift(data), axes)
    if not axes:
        raise HeadRefused(found)
    cells = _cells_among(walk, data, axes)
    if cells != axes:
        return _cells_then_channels(node, walk, data, cells)
    detail = "mean over all positions" if node.op == "ReduceMean" else "sum over all positions"
    # Attention of multiple instance learning ends in ReduceSum like a plain sum pool does.
    attended = weighted_by_image(node, walk, data)
    if attended:
        detail = f"attention: {detail}, weighted by the image"
    pooled = end_at_pool(node, walk, data, axes, detail, summed=node.op == "ReduceSum", conditional=attended)
    return replace(pooled, step=replace(pooled.step, attends=attended))


def _cells_among(walk: Lifting, data: str, axes: tuple[int, ...]) -> tuple[int, ...]:
    """Of axes that are reduced together those that hold places, where the others hold channels."""
    roles = Layout(walk.graph, walk.trace).roles(data)
    placed = tuple(axis for axis in axes if walk.holds_places(data, axis))
    rest = [axis for axis in axes if axis not in placed]
    batch = walk.batch_axis(data)
    # Along channels everything looks at the same place.
    channels = placed and rest and batch not in rest
    channels = channels and all(
        # Columns of a map and its mirror image together have no place, and are columns all the same.
        roles[axis] == "channel" or (roles[axis] != "space" and walk.is_one_place_along(data, axis))
        for axis in rest
    )
    return placed if channels else axes


def _cells_then_channels(node: gs.Node, walk: Lifting, data: str, cells: tuple[int, ...]) -> Lifted:
    """A mean over positions and channels at once: the pool, then the channels in every cell."""
    shape, batch = walk.shape(data), walk.batch_axis(data)
    if walk.graph.producer(data) is None:
        raise walk.refuse("no-spatial-pool", node, f"it reduces the whole input '{data}' to a number, colours and all")
    summed = node.op == "ReduceSum"
    kept = [axis for axis in range(len(shape)) if axis not in (batch, *cells)]
    inner = tuple(shape[axis] for axis in kept)
    word = "sum" if summed else "mean"
    pooled = end_at_pool(
        node, walk, data, cells, f"{word} over all positions", summed=summed, shape=(shape[batch], *inner)
    )
    gone = [1 + place for place, axis in enumerate(kept) if axis in reduced_axes(node, walk)]
    out = walk.shape(walk.output)
    count = math.prod(out) // pooled.batch
    build = walk.build
    if len(gone) == len(inner):
        name = build.reduce(node.op, pooled.name, [1])
    else:
        name = as_grid(walk, pooled, build.reduce(node.op, build.reshape(pooled.name, [0, *inner, -1]), gone), count)
    step = replace(pooled.step, shape=out, detail=f"{pooled.step.detail}, then over channels in every cell")
    return replace(pooled, name=name, channels=count, shape=out, batch_axis=walk.batch_axis(walk.output), step=step)


def _pool_of_frames(node: gs.Node, walk: Lifting, lifted: Lifted, axis: int, *, summed: bool = False) -> Lifted:
    """The mean over frames, each of which was pooled before: all of their cells are the grid's."""
    gathered = gather_frames(node, walk, lifted, axis)
    frames = lifted.shape[axis]
    if summed and frames_are_open(walk, lifted):
        raise walk.refuse("unknown-operator", node, "it sums frames, whose number is left open")
    name = gathered.name
    if summed:
        name = walk.build.node("Mul", [name, walk.scalar(frames, lifted.dtype)])
    out = walk.shape(walk.output)
    batch_axis = lifted.batch_axis
    if batch_axis is not None and len(out) < len(lifted.shape) and axis < batch_axis:
        batch_axis -= 1
    detail = f"{'sum' if summed else 'mean'} over {frames} frames, whose cells are the grid's"
    return walk.result(node, name, [gathered], "pool", detail, batch_axis=batch_axis, channels=gathered.channels)


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
    shape: tuple[int, ...] | None = None,
) -> Lifted:
    """The lift of a pooled tensor: the feature grid, times what the pool's weights are in units of a plain mean's.

    Args:
        node: the pooling node.
        walk: the walk.
        data: the map that it pools.
        axes: the axes that it pools over.
        detail: one phrase for people.
        weights: (H, W) or (D, H, W), 1 everywhere for a plain mean; None for that.
        summed: the pool sums instead of averaging.
        conditional: the weights depend on the image.
        dequantize: makes real numbers of a map of integers: given its name, returns that of a float32 one.
        shape: of the pooled tensor, batch first, where it is a step within the node.
    """
    if math.prod(walk.shape(data)) == 0:
        raise walk.refuse("no-spatial-pool", node, f"it pools a map {list(walk.shape(data))} without a position")
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
    # The factors of a product and the shares of windows lie as the map does that they are of.
    grid = feature_grid(node, walk, data, axes, untransposed=not products and windows is None)
    if dequantize is not None:
        grid = replace(grid, name=dequantize(grid.name), dtype=np.dtype(np.float32))
    name, dtype = grid.name, grid.dtype
    if weights is not None:
        # Of a line, where the other axis was averaged before; or of tokens, which lie in rows and columns; or of a
        # volume, whose cells lie in one row here.
        fits = weights.size == math.prod(grid.size)
        if grid.cells and not fits:
            raise walk.refuse("partial-pool", node, "its window weighs positions of a volume that was averaged before")
        weights = weights.reshape(grid.size) if fits else np.broadcast_to(weights, grid.size)
        name = walk.build.node("Mul", [name, walk.build.constant(weights[None, None].astype(dtype))])
    if windows is not None:
        name = windows.apply(walk, name)
    for product in products:
        name = product.on(walk, grid, name)
    if grid.prefix:
        name, said_prefix = _spread_prefix(node, walk, grid, name, plain=weights is None and not products)
        detail, conditional = f"{detail}; {said_prefix}", True
    if summed:
        # jax2onnx spells a mean ReduceSum, Div; the division comes as an affine step of its own.
        name = walk.build.node("Mul", [name, cell_count(walk, grid, dtype)])
    batch = images_in(walk, grid.source, grid.axes)
    batch_axis: int | None = walk.batch_axis(walk.output) if shape is None else 0
    shape = walk.shape(walk.output) if shape is None else shape
    # One image without an axis of its own: what stands first are its channels.
    if batch == walk.trace.batch == 1 and 1 not in shape and math.prod(shape) == grid.channels:
        batch_axis = None
    if batch_axis is not None and shape[batch_axis] != batch:
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


def _spread_prefix(node: gs.Node, walk: Lifting, grid: FeatureGrid, name: str, *, plain: bool) -> tuple[str, str]:
    """``(sum of placeless tokens + T t_p) / (T + placeless)``: what belongs to no cell is spread evenly over them.

    Returns:
        The tensor on the grid, and a phrase for people.

    Raises:
        HeadRefused: the tokens are not averaged alike.
    """
    if not plain or node.op != "ReduceMean":
        raise walk.refuse("class-token", node, "it pools tokens of which some look at no place, and not by a mean")
    build = walk.build
    shape, axis = walk.shape(grid.source), grid.axes[0]
    batch = walk.batch_axis(grid.source)
    order = [batch, *(place for place in range(len(shape)) if place not in (batch, axis)), axis]
    flat = grid.source if order == sorted(order) else build.node("Transpose", [grid.source], perm=order)
    rest = build.reduce("ReduceSum", build.slice_last(build.reshape(flat, [0, grid.channels, -1]), 0, grid.prefix), [2])
    what = "1 token has" if grid.prefix == 1 else f"{grid.prefix} tokens have"
    said = f"{what} no place and {'is' if grid.prefix == 1 else 'are'} spread evenly"
    if any(entry.space_is_open for entry in walk.trace.inputs):
        count = cell_count(walk, grid, grid.dtype)
        total = build.node("Add", [count, walk.scalar(grid.prefix, grid.dtype)])
        cells = build.node("Mul", [name, build.node("Div", [count, total])])
        spread = build.node("Div", [rest, total])
    else:
        tokens = math.prod(grid.size) + grid.prefix
        share = grid.prefix / tokens
        cells = build.node("Mul", [name, walk.scalar(1 - share, grid.dtype)])
        spread = build.node("Mul", [rest, walk.scalar(1 / tokens, grid.dtype)])
        said += f", {percent(share)} of the mean"
    return build.node("Add", [cells, build.reshape(spread, [0, grid.channels, 1, 1])]), said


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

    A border counts as what it repeats; one of zeros is cells like others.

    Returns:
        The map, the axes, the weights in units of a plain mean's (None without a crop), and the phrase for people.
    """
    crop = find_crop(walk, data, axes)
    if crop is None:
        return data, axes, None, detail
    return crop.source, crop.axes, crop.weights(summed=summed), f"{detail} {crop.describe()}"


def pooled_values(walk: Lifting, grid: FeatureGrid) -> str:
    """What the pool sees: the grid, or the means of its rows or columns, (N, C, H or 1, W or 1)."""
    return walk.build.reduce("ReduceMean", grid.name, list(grid.averaged)) if grid.averaged else grid.name


def cell_count(walk: Lifting, grid: FeatureGrid, dtype: np.dtype) -> str:
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


def pool_of_one(node: gs.Node, walk: Lifting, data: str) -> Lifted:
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
