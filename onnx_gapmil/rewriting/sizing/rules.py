"""By operator, what becomes of a node that reads a map of another size: it stays, is made relative, or forbids it.

Operators that are not here work on maps of any size (convolutions, norms over channels, activations, attention).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from onnx_gapmil.rewriting.sizing.reshapes import reshape
from onnx_gapmil.rewriting.sizing.windows import average_pool, convolution, max_pool

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from onnx_gapmil.rewriting.sizing.walk import Rule, SizeWalk

#: Beyond any length.
_END = np.iinfo(np.int64).max
_EACH = "it has a value for each position of one size (a position embedding, say)"


def broadcast(walk: SizeWalk, node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
    """A constant over positions fits one size alone."""
    rank = max(len(walk.shape(name)) for name in node.input if name)
    grown = {
        axis - len(walk.shape(name)) + rank
        for name in node.input
        if name and not walk.is_constant(name)
        for axis in walk.changed(name)
    }
    for name in node.input:
        shape = walk.shape(name) if name and walk.is_constant(name) else ()
        if any(length > 1 and axis - len(shape) + rank in grown for axis, length in enumerate(shape)):
            raise walk.refuse(node, f"combines the map with the constant '{name}' of shape {list(shape)}: {_EACH}")
    return (node,)


def contraction(walk: SizeWalk, node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
    """A dense layer over positions has weights for one size alone."""
    turned = {entry.name: entry.i for entry in node.attribute}
    second = 3 if node.op_type == "QLinearMatMul" else 1
    left, right = node.input[0], node.input[second]
    first_axis = len(walk.shape(left)) - (2 if turned.get("transA") else 1)
    second_axis = max(0, len(walk.shape(right)) - (1 if turned.get("transB") else 2))
    for name, axis, other in ((left, first_axis, right), (right, second_axis, left)):
        if walk.is_constant(other) and axis in walk.changed(name):
            raise walk.refuse(
                node,
                f"multiplies all {walk.old_shape(name)[axis]} values of a map's positions by the weights '{other}': "
                "it has weights for each position of one size (a dense layer over a flattened map, or over tokens)",
            )
    return broadcast_constants(walk, node, [*node.input[2:3]] if node.op_type == "Gemm" else [])


def broadcast_constants(walk: SizeWalk, node: onnx.NodeProto, names: Sequence[str]) -> Sequence[onnx.NodeProto]:
    """The node, unless one of these constants has a value for each position."""
    grown = walk.changed(node.input[0])
    rank = len(walk.shape(node.input[0]))
    for name in names:
        shape = walk.shape(name) if name else ()
        if walk.is_constant(name) and any(n > 1 and a - len(shape) + rank in grown for a, n in enumerate(shape)):
            raise walk.refuse(node, f"applies the constant '{name}' of shape {list(shape)}: {_EACH}")
    return (node,)


def norm_over_axes(walk: SizeWalk, node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
    """A layer norm's scale and bias lie along the axes that it normalizes over."""
    return broadcast_constants(walk, node, node.input[1:3])


def resize(walk: SizeWalk, node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
    """Baked sizes become scales: the map is enlarged, or shrunk, by the same factor."""
    sizes = node.input[3] if len(node.input) > 3 else ""
    if not sizes or not walk.is_constant(sizes):
        return (node,)
    target = walk.value(sizes)
    attributes = {entry.name: entry for entry in node.attribute}
    axes = list(attributes["axes"].ints) if "axes" in attributes else list(range(len(walk.shape(node.input[0]))))
    if target is None or len(target) != len(axes) or "keep_aspect_ratio_policy" in attributes:
        raise walk.refuse(node, f"resizes to sizes ('{sizes}') that are not to be told")
    before = walk.dims(node.input[0])
    if not any(before[axis][0] != before[axis][1] for axis in axes):
        return (node,)
    scales = np.array([length / before[axis][0] for axis, length in zip(axes, target, strict=True)], np.float32)
    for axis, length, scale in zip(axes, target, scales, strict=True):
        if math.floor(before[axis][0] * scale) != length:
            raise walk.refuse(
                node, f"resizes {before[axis][0]} to {length} ('{sizes}'), by a factor that is no short number"
            )
    nodes: list[onnx.NodeProto] = []
    name = walk.constant(scales, nodes, "scales")
    mended = _copy(node)
    del mended.input[2:]
    mended.input.append(name)
    walk.changing(node, f"the baked sizes {list(map(int, target))} became the scales {[float(s) for s in scales]}")
    return (*nodes, mended)


def cut(walk: SizeWalk, node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
    """A slice up to a map's end goes on up to its end; one that ends within the map fits one size alone."""
    if len(node.input) < 3:  # before operator set 10, numbers are attributes
        return _cut_by_attributes(walk, node)
    starts, ends = (walk.value(name) for name in node.input[1:3])
    axes = walk.value(node.input[3]) if len(node.input) > 3 and node.input[3] else None
    steps = walk.value(node.input[4]) if len(node.input) > 4 and node.input[4] else None
    grown = walk.changed(node.input[0])
    if not grown or not all(walk.is_constant(name) for name in node.input[1:3]):
        return (node,)
    if starts is None or ends is None:
        raise walk.refuse(node, "cuts the map at places that are not to be told")
    chosen = [int(axis) for axis in (range(len(ends)) if axes is None else axes)]
    by = [1] * len(ends) if steps is None else [int(step) for step in steps]
    new_starts, new_ends = _relative(walk, node, chosen, [int(s) for s in starts], [int(e) for e in ends], by)
    if new_starts == [int(s) for s in starts] and new_ends == [int(e) for e in ends]:
        return (node,)
    nodes: list[onnx.NodeProto] = []
    mended = _copy(node)
    for place, found, old in ((1, new_starts, starts), (2, new_ends, ends)):
        mended.input[place] = walk.constant(np.array(found, old.dtype), nodes, "slice")
    walk.changing(node, f"its baked end became the map's end (axes {chosen})")
    return (*nodes, mended)


def _cut_by_attributes(walk: SizeWalk, node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
    found = {entry.name: [int(number) for number in entry.ints] for entry in node.attribute}
    axes = found.get("axes") or list(range(len(found["ends"])))
    starts, ends = _relative(walk, node, axes, found["starts"], found["ends"], [1] * len(axes))
    if starts == found["starts"] and ends == found["ends"]:
        return (node,)
    mended = _copy(node)
    for entry in mended.attribute:
        if entry.name in ("starts", "ends"):
            entry.ints[:] = starts if entry.name == "starts" else ends
    walk.changing(node, f"its baked end became the map's end (axes {axes})")
    return (mended,)


def _relative(
    walk: SizeWalk, node: onnx.NodeProto, axes: Sequence[int], starts: list[int], ends: list[int], steps: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Starts and ends as distances from the nearer end of the map."""
    before = walk.dims(node.input[0])
    new_starts, new_ends = list(starts), list(ends)
    for place, axis in enumerate(axes):
        old, new = before[axis]
        if old == new:
            continue
        if steps[place] > 0 and 0 <= ends[place] < old:
            raise walk.refuse(
                node, f"cuts axis {axis % len(before)} of {old} at {ends[place]}, which is a place of one size alone"
            )
        if steps[place] > 0 and ends[place] >= old:
            new_ends[place] = _END
        if steps[place] < 0 and starts[place] >= old - 1:
            new_starts[place] = -1
        elif steps[place] < 0 and starts[place] >= 0:
            raise walk.refuse(
                node, f"begins at {starts[place]} of the {old} of axis {axis % len(before)}, going backwards"
            )
    return new_starts, new_ends


def gather(walk: SizeWalk, node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
    """The first or the last position is one at any size; others that are chosen by number are not."""
    axis = next((entry.i for entry in node.attribute if entry.name == "axis"), 0) % len(walk.shape(node.input[0]))
    indices = walk.value(node.input[1])
    if axis not in walk.changed(node.input[0]) or (indices is not None and set(np.ravel(indices).tolist()) <= {0, -1}):
        return (node,)
    raise walk.refuse(
        node,
        f"picks positions by number ('{node.input[1]}') out of the {walk.old_shape(node.input[0])[axis]} of one size",
    )


def expand(walk: SizeWalk, node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
    """Baked lengths that a map has already are left to it."""
    target = walk.value(node.input[1])
    if target is None or not walk.is_constant(node.input[1]):
        return (node,)
    before = walk.dims(node.input[0])
    found = [int(length) for length in target]
    for axis, (old, new) in enumerate(reversed(before), 1):
        if old != new and axis <= len(found) and found[-axis] == old:
            found[-axis] = 1
    if found == target.tolist():
        return (node,)
    nodes: list[onnx.NodeProto] = []
    mended = _copy(node)
    mended.input[1] = walk.constant(np.array(found, np.int64), nodes, "expand")
    walk.changing(node, f"the baked shape {target.tolist()} became {found}, which keeps the map's own lengths")
    return (*nodes, mended)


def split(walk: SizeWalk, node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
    """Parts of fixed lengths fit one size alone."""
    attributes = {entry.name: entry for entry in node.attribute}
    axis = (attributes["axis"].i if "axis" in attributes else 0) % len(walk.shape(node.input[0]))
    fixed = "split" in attributes or (len(node.input) > 1 and node.input[1] != "")
    if axis in walk.changed(node.input[0]) and fixed:
        raise walk.refuse(
            node, f"splits the {walk.old_shape(node.input[0])[axis]} positions of axis {axis} at fixed places"
        )
    return (node,)


def total(walk: SizeWalk, node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
    """A sum over positions grows with their number; one that is scaled to a mean becomes a mean of that scale."""
    axes = _reduced(walk, node)
    grown = [axis for axis in axes if axis in walk.changed(node.input[0])]
    if not grown:
        return (node,)
    count = math.prod(walk.old_shape(node.input[0])[axis] for axis in axes)
    if node.op_type != "ReduceSum" or not _is_scaled_back(walk, node, count):
        raise walk.refuse(node, f"adds up {count} positions: what it gives would grow with the size")
    nodes: list[onnx.NodeProto] = []
    mean, factor = walk.tensor("mean"), walk.constant(np.array(count, walk.dtype(node.input[0])), nodes, "count")
    averaged = _copy(node)
    averaged.op_type = "ReduceMean"
    averaged.output[0] = mean
    if len(averaged.input) > 1 and walk.graph.opset < 18:  # whose mean takes its axes as an attribute
        del averaged.input[1:]
        averaged.attribute.append(onnx.helper.make_attribute("axes", axes))
    nodes += [averaged, onnx.helper.make_node("Mul", [mean, factor], [node.output[0]])]
    walk.changing(node, f"the sum of {count} positions became {count} times their mean, so that its scale stays")
    return nodes


def _reduced(walk: SizeWalk, node: onnx.NodeProto) -> list[int]:
    rank = len(walk.shape(node.input[0]))
    given: Any = next((entry.ints for entry in node.attribute if entry.name == "axes"), None)
    if given is None and len(node.input) > 1 and node.input[1]:
        given = walk.value(node.input[1])
    return [int(axis) % rank for axis in (range(rank) if given is None else given)]


def _is_scaled_back(walk: SizeWalk, node: onnx.NodeProto, count: int) -> bool:
    """Whether all that reads a sum multiplies it by 1 / count, or divides it by count."""
    readers = walk.graph.consumers.get(node.output[0], ())
    factors = []
    for reader in readers:
        others = [tensor.name for tensor in reader.inputs if tensor.name != node.output[0]]
        value = walk.old_value(others[0]) if len(others) == 1 else None
        if value is None or value.size != 1 or reader.op not in ("Mul", "Div"):
            return False
        number = float(np.ravel(value)[0])
        factors.append(number * count if reader.op == "Mul" else count / number if number else 0.0)
    return bool(factors) and all(abs(factor - 1) < 1e-3 for factor in factors)


def fixed_grid(walk: SizeWalk, node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
    """Places to sample at that are constants are places of one size."""
    name = node.input[1]
    if walk.is_constant(name):
        raise walk.refuse(node, f"samples the map at fixed places ('{name}')")
    return (node,)


def output_shape(walk: SizeWalk, node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
    """A transposed convolution to a baked shape gives that at any size."""
    if any(entry.name == "output_shape" for entry in node.attribute):
        raise walk.refuse(node, "gives a map of a fixed shape (output_shape)")
    return (node,)


def sequence(walk: SizeWalk, node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
    """What counts positions, or orders them, is made for one number of them."""
    raise walk.refuse(node, "works on a fixed number of positions")


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    made = onnx.NodeProto()
    made.CopyFrom(node)
    return made


_BROADCAST = (
    "Add And Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod Mul Or PRelu Pow QLinearAdd QLinearMul "
    "Sub Sum Where Xor"
)
RULES: Mapping[str, Rule] = {
    **dict.fromkeys(_BROADCAST.split(), broadcast),
    **dict.fromkeys(("Gemm", "MatMul", "MatMulInteger", "QLinearMatMul", "QGemm"), contraction),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), norm_over_axes),
    **dict.fromkeys(("Conv", "ConvInteger", "QLinearConv"), convolution),
    **dict.fromkeys(("AveragePool", "QLinearAveragePool", "LpPool"), average_pool),
    **dict.fromkeys(("ReduceSum", "ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp"), total),
    **dict.fromkeys(("CumSum", "ReduceProd", "TopK", "ArgMax", "ArgMin", "GatherND", "ScatterND"), sequence),
    "ConvTranspose": output_shape,
    "Expand": expand,
    "Gather": gather,
    "GridSample": fixed_grid,
    "MaxPool": max_pool,
    "Reshape": reshape,
    "Resize": resize,
    "Slice": cut,
    "Split": split,
}
