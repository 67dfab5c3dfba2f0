"""Fully connected heads on a flattened map (AlexNet, VGG, LeNet): position-wise linear, so they lift too.

A dense layer on all positions is a sum over positions of one dense layer each, ``y = b + sum_p W_p A[:, p]``. Its
lift is ``b + H*W * W_p A[:, p]``: every cell by its own slice of the weights. A cell's value then depends on where it
is; the report says *position-dependent*. Where all slices are equal it is a pool like any other: a mean spelled as a
dense layer, or as a convolution as large as the map. What follows (activations, further layers) are the rules for
pooled tensors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.ancestry import places_are_lost
from onnx_gapmil.lift.layout import Layout
from onnx_gapmil.lift.lifted import FeatureGrid, Lifted
from onnx_gapmil.lift.planes import map_of
from onnx_gapmil.lift.verdict import LiftStep, Refusal
from onnx_gapmil.lift.weighing import pool_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifting import Lifting
    from onnx_gapmil.lift.verdict import PoolWeights, StepKind

#: Weights with more elements are not read; those of large layers are learned, and not alike.
_MOST_READ = 1 << 22
#: Operators between the flattening and the dense layer that this many steps may take.
_MAX_STEPS = 12
_FLATTENING = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})
#: What may stand between the flattening and the dense layer: every number stays where it is. A permutation of the
#: features, say, would give cells that are no places.
_IN_PLACE = frozenset(
    {
        "Abs", "Add", "BatchNormalization", "Cast", "Celu", "Clip", "DequantizeLinear", "Div", "Dropout", "Elu", "Erf",
        "Exp", "Gelu", "HardSigmoid", "HardSwish", "Identity", "LayerNormalization", "LeakyRelu", "Log",
        "LpNormalization", "Max", "Min", "Mish", "Mul", "Neg", "PRelu", "Pow", "QuantizeLinear", "Relu", "Selu",
        "Shrink", "Sigmoid", "Sign", "Softplus", "Softsign", "Sqrt", "Sub", "Swish", "Tanh", "ThresholdedRelu",
    }
)  # fmt: skip
#: Operators that put a flattened map beside other numbers.
_JOINING = frozenset({"Concat", "QLinearConcat"})


@dataclass(frozen=True)
class Flattened:
    """A vector that still is a map.

    Attributes:
        vector: the tensor (N, F), as the dense layer reads it.
        source: the map that was flattened.
        order: the map's axes as (channels, rows, columns); no columns for a sequence.
        inner: the map's shape without the batch.
        size: (height, width) of the cells.
        untouched: nothing but the flattening happened since, so that the map itself can be taken.
    """

    vector: str
    source: str
    order: tuple[int, ...]
    inner: tuple[int, ...]
    size: tuple[int, int]
    untouched: bool

    @property
    def channels(self) -> int:
        """C of the map."""
        return self.inner[self.order[0] - 1]

    @property
    def axes(self) -> str:
        """The order of its elements: ``CHW``, ``HWC``, ...; the positions of a sequence are those of its `size`."""
        names = ("C", "H", "W") if len(self.order) == 3 else ("C", "HW")
        return "".join(names[self.order.index(axis)] for axis in sorted(self.order))


def is_flattened(found: Lifted | Refusal) -> bool:
    """Whether a walk ended because a map was flattened."""
    return isinstance(found, Refusal) and found.code == "flatten-head"


def lift_flattened_dense(
    node: gs.Node,
    walk: Lifting,
    data: str,
    weight: str,
    bias: str,
    *,
    transposed: bool,
    real: str = "",
    dequantize: Callable[[str], str] | None = None,
) -> Lifted:
    """A dense layer on a flattened map.

    Args:
        node: the dense layer.
        walk: the walk.
        data: the vector (N, F) it reads.
        weight: its fixed weights, (F, K).
        bias: its fixed bias, of K elements or one, or "".
        transposed: the weights are (K, F).
        real: what the weights stand for, where they are integers.
        dequantize: makes real numbers of a map of integers: given its name, returns that of a float32 one.

    Raises:
        HeadRefused: how the map was flattened is not known.
    """
    rows = walk.shape(weight)[0 if transposed else 1]
    _require_bias(node, walk, rows, bias)
    found = _find(node, walk, data)
    grid = flattened_grid(node, walk, found)
    if dequantize is not None:
        grid = replace(grid, name=dequantize(grid.name), dtype=np.dtype(np.float32))
    axes = f"K{found.axes}" if transposed else f"{found.axes}K"
    value = _read(walk, weight)
    if value is not None:
        value = (value if transposed else value.T).reshape(rows, *found.inner)
    return _positionwise(node, walk, grid, real or weight, axes, rows, bias, alike=_alike(value, found.order[1:]))


def _read(walk: Lifting, weight: str) -> np.ndarray | None:
    """Weights that are small enough to be looked at."""
    return walk.value(weight) if math.prod(walk.shape(weight)) <= _MOST_READ else None


def _alike(weights: np.ndarray | None, positions: Sequence[int]) -> bool:
    """Whether weights are known to be the same along the axes of positions, up to the rounding of their type."""
    if weights is None:
        return False
    first = weights
    for axis in positions:
        first = first.take([0], axis)
    return np.allclose(weights, first, rtol=1e-5, atol=0)


def lift_whole_map_conv(node: gs.Node, walk: Lifting) -> Lifted:
    """A convolution as large as its map (a fully connected layer in disguise), or one for each channel.

    Raises:
        HeadRefused: it pads, dilates, or groups channels otherwise.
    """
    data, weight = node.inputs[0].name, node.inputs[1].name
    shape, kernel_shape = walk.shape(data), walk.shape(weight)
    group = int(node.attrs.get("group", 1))
    plain = not any(node.attrs.get("pads", ())) and all(step == 1 for step in node.attrs.get("dilations", (1,)))
    if kernel_shape[2:] != shape[2:] or not plain or len(shape) != 4 or not walk.is_fixed(weight):
        raise walk.refuse("flatten-head", node, "it is a fully connected layer over a map that it pads or dilates")
    if places_are_lost(walk, data):
        raise walk.refuse(
            "spatial-mixing-after-pool",
            node,
            f"it reads a {list(shape)} tensor that was made of a vector without positions, so its cells are no places",
        )
    bias = node.inputs[2].name if len(node.inputs) > 2 else ""
    _require_bias(node, walk, kernel_shape[0], bias)
    size = (shape[2], shape[3])
    dtype = walk.dtype(data, np.dtype(np.float32))
    grid = FeatureGrid(data, data, shape[1], size, (2, 3), walk.describe(node), "NCHW", dtype, "")
    # Every class has its own weights for every channel and position (MATLAB); or every channel its own for every
    # position, a global depthwise convolution.
    if group == 1:
        alike = _alike(_read(walk, weight), (2, 3))
        return _positionwise(node, walk, grid, weight, "KCHW", kernel_shape[0], bias, alike=alike)
    if group != shape[1] or kernel_shape[0] != group:
        raise walk.refuse("flatten-head", node, f"it is a convolution as large as the map in {group} groups")
    weights = walk.build.reshape(weight, [1, group, *size])
    scaled = walk.build.node("Mul", [walk.build.node("Mul", [data, weights]), walk.scalar(math.prod(size), dtype)])
    name = walk.build.node("Add", [scaled, walk.build.reshape(bias, [1, -1, 1, 1])]) if bias else scaled
    value = _read(walk, weight)
    if _alike(value, (2, 3)):
        return _result(node, walk, grid, name, group, "sum over positions, of each channel by one weight", alike=True)
    detail = "weighted sum over positions, with weights of its own for each channel: position-dependent"
    said = None if value is None else pool_weights(value.reshape(group, -1))
    return _result(node, walk, grid, name, group, detail, said)


def _require_bias(node: gs.Node, walk: Lifting, rows: int, bias: str) -> None:
    """A bias is one fixed number, or one for each class."""
    if not bias:
        return
    own = walk.shape(bias)
    if not walk.is_fixed(bias) or (math.prod(own) != 1 and (math.prod(own) != rows or own[-1] != rows)):
        raise walk.refuse("unknown-operator", node, "its bias is not fixed, or not the same for all images")


def _positionwise(
    node: gs.Node, walk: Lifting, grid: FeatureGrid, weight: str, axes: str, rows: int, bias: str, *, alike: bool
) -> Lifted:
    """``b + H*W * W_p A[:, p]`` for every cell p.

    Args:
        node: the dense layer.
        walk: the walk.
        grid: the map A.
        weight: the layer's weights, of any shape.
        axes: the order of their elements: a permutation of K (rows), C (channels), H and W.
        rows: K.
        bias: of K elements or one, or "".
        alike: all cells have the same slice.
    """
    build, (height, width) = walk.build, grid.size
    # Rows and channels stay in the order that they have: to exchange them too takes ONNX Runtime eight times as long,
    # at each start of a session (fc6 of a VGG-19, 411 MB: 3.1 s of the processor, and 0.4 s so).
    order = "HW" + "".join(axis for axis in axes if axis in "KC")
    sides = dict(zip("KCHW", (rows, grid.channels, height, width), strict=True))
    slices = build.reshape(weight, [sides[axis] for axis in axes])
    if axes != order:
        slices = build.node("Transpose", [slices], perm=[axes.index(axis) for axis in order])
    if order == "HWKC":
        cells = build.node("Transpose", [grid.name], perm=[2, 3, 1, 0])
        product = build.node("Transpose", [build.node("MatMul", [slices, cells])], perm=[3, 2, 0, 1])
    else:
        cells = build.node("Transpose", [grid.name], perm=[2, 3, 0, 1])
        product = build.node("Transpose", [build.node("MatMul", [cells, slices])], perm=[2, 3, 0, 1])
    name = build.node("Mul", [product, walk.scalar(height * width, grid.dtype)])
    if bias:
        name = build.node("Add", [name, build.reshape(bias, [1, -1, 1, 1])])
    how = "all cells by one slice" if alike else "each cell by its own slice: position-dependent"
    detail = f"dense {grid.channels} × {height} × {width} → {rows}, {how}"
    return _result(node, walk, grid, name, rows, detail, alike=alike)


def _result(
    node: gs.Node,
    walk: Lifting,
    grid: FeatureGrid,
    name: str,
    channels: int,
    detail: str,
    weights: PoolWeights | None = None,
    *,
    alike: bool = False,
) -> Lifted:
    # Slices of the weights fit one size of the map alone.
    if any(entry.space_is_open for entry in walk.trace.inputs):
        raise walk.refuse("flatten-head", node, "its weights are for one size of the input, which is left open")
    shape = walk.shape(walk.output)
    batch = walk.shape(grid.source)[0]
    if math.prod(shape) != batch * channels:
        raise walk.refuse("flatten-head", node, f"its output {list(shape)} is no vector for each image")
    kind: StepKind = "pool" if alike else "flatten"
    step = LiftStep(walk.operator(node), node.name or "", walk.output, shape, kind, False, detail, weights)
    axis = 0 if shape[0] == batch else None
    return Lifted(name, channels, shape, axis, batch, (grid,), grid.dtype, False, step)


def _find(node: gs.Node, walk: Lifting, data: str) -> Flattened:
    """How a vector was flattened.

    Raises:
        HeadRefused: it is not known.
    """
    found = try_flattened(walk, data)
    if found is None:
        maker = walk.graph.producer(data)
        while maker is not None and maker.op in _FLATTENING | {
            "Cast",
            "DequantizeLinear",
            "Identity",
            "QuantizeLinear",
        }:
            maker = walk.graph.producer(maker.inputs[0].name)
        joins = maker is not None and maker.op in _JOINING
        what = "puts beside other numbers" if joins else "has made a vector of"
        message = f"its weights are for every position of a flattened map, which {walk.describe(maker)} {what}; "
        raise walk.refuse("flatten-head", node, f"{message}which of them are whose is not known")
    return found


def try_flattened(walk: Lifting, data: str) -> Flattened | None:
    """Follow a vector back to where a map was flattened; elementwise operators on the way belong to the trunk."""
    layout = Layout(walk.graph, walk.trace)
    tensor, untouched = data, True
    count = math.prod(walk.shape(data)[1:]) if len(walk.shape(data)) > 1 else math.prod(walk.shape(data))
    for _ in range(_MAX_STEPS):
        maker = walk.graph.producer(tensor)
        if maker is None:
            break
        if maker.op in _FLATTENING:
            source = maker.inputs[0].name
            shape = walk.shape(source)
            found = _order(layout.roles(source), shape)
            if found is not None and math.prod(shape[1:]) == count:
                # A 1x1 map, or a vector that was given the shape of a map: there are no places to speak of.
                if math.prod(shape[axis] for axis in found[1:]) == 1 or places_are_lost(walk, source):
                    break
                # A network may turn its map (rows for columns) before it flattens it.
                found = _rows_first(walk, source, found)
                size = (
                    (shape[found[1]], shape[found[2]])
                    if len(found) == 3
                    else _row(walk, layout, source, shape[found[1]])
                )
                return Flattened(data, source, found, shape[1:], size, untouched)
            tensor = source
            continue
        moving = [read.name for read in maker.inputs if read.name and not walk.is_fixed(read.name)]
        if (
            maker.op not in _IN_PLACE
            or len(moving) != 1
            or math.prod(walk.shape(moving[0])) != math.prod(walk.shape(tensor))
        ):
            break
        # What else stands between (a quantized pair, an activation) changed the numbers that the cells hold.
        untouched = untouched and maker.op in ("Identity", "Dropout")
        tensor = moving[0]
    return None


def _order(roles: tuple[str | None, ...], shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Axes of the channels, rows and columns of a map; those of extent 1 may have any role."""
    if len(shape) not in (3, 4):
        return None
    channels = [axis for axis in range(1, len(shape)) if roles[axis] == "channel"]
    if len(channels) != 1:
        return None
    rest = [axis for axis in range(1, len(shape)) if axis != channels[0]]
    return (channels[0], *rest) if all(roles[axis] == "space" or shape[axis] == 1 for axis in rest) else None


def _rows_first(walk: Lifting, source: str, order: tuple[int, ...]) -> tuple[int, ...]:
    """Rows and columns exchanged where a Transpose had exchanged them: every layout has rows before columns."""
    places, tensor = list(order[1:]), source
    for _ in range(_MAX_STEPS):
        maker = walk.graph.producer(tensor)
        if maker is None or not maker.inputs:
            break
        before = maker.inputs[0].name
        if maker.op == "Transpose":
            perm = maker.attrs.get("perm", list(range(len(walk.shape(tensor))))[::-1])
            places = [perm[axis] for axis in places]
        elif maker.op not in _IN_PLACE or walk.trace.shapes.get(before) != walk.shape(tensor):
            break
        tensor = before
    return order if places == sorted(places) else (order[0], *order[:0:-1])


def _row(walk: Lifting, layout: Layout, source: str, count: int) -> tuple[int, int]:
    found, _ = map_of(walk, layout, source, count)
    return found.size if found is not None else (1, count)


def flattened_grid(node: gs.Node, walk: Lifting, found: Flattened) -> FeatureGrid:
    """The map as (N, C, H, W)."""
    build = walk.build
    name = found.source if found.untouched else build.reshape(found.vector, [-1, *found.inner])
    order = [0, *found.order]
    if order != sorted(order):
        name = build.node("Transpose", [name], perm=order)
    if len(found.order) != 3:
        name = build.reshape(name, [0, found.channels, *found.size])
    dtype = walk.dtype(found.source, np.dtype(np.float32))
    layouts: dict[tuple[int, ...], str] = {(1, 2, 3): "NCHW", (3, 1, 2): "NHWC"}
    layout = layouts.get(found.order, "a sequence")
    where = walk.describe(node)
    return FeatureGrid(name, found.source, found.channels, found.size, found.order[1:], where, layout, dtype, "")
