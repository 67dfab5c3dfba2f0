r"""Over pooled channels: sums stay sums in every cell; sizes, maxima and log-sum-exps go by their slopes.

For ``y = phi(z_1, ..., z_m)`` with pooled ``z`` and slopes ``s_j`` that are kept at their pooled values::

    lift(y) = y + \sum_j s_j (lift(z_j) - z_j)

The mean over cells of the right side is ``y``. The slope is 1 / ties for the channels that hold a maximum, 0 for the
others; ``exp(z_j - y)`` for a log-sum-exp; ``z_j / y`` for a length.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.cellwise import as_grid, pooled_value
from onnx_gapmil.lift.lifted import elem_type
from onnx_gapmil.lift.table import rule

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifted import Lifted
    from onnx_gapmil.lift.lifting import Lifting

_SAID = {
    "ReduceLogSumExp": "log-sum-exp over channels, each by its share at the pooled value",
    "ReduceMax": "the largest channel at the pooled value",
    "ReduceMin": "the smallest channel at the pooled value",
}


@rule("LogSoftmax")
def lift_log_softmax(node: gs.Node, walk: Lifting) -> Lifted:
    """``z - log sum exp z`` over channels; the same whether it is one operator or spelled out."""
    lifted = walk.lift(node.inputs[0].name)
    return log_softmax(node, walk, lifted, softmax_axes(node, walk, lifted.shape))


@rule("Softmax")
def lift_softmax(node: gs.Node, walk: Lifting) -> Lifted:
    """``p = softmax z`` within a head, such as the shares of an expectation, by its slopes ``p_k (1[j = k] - p_j)``."""
    lifted = walk.lift(node.inputs[0].name)
    name = softmax(node, walk, lifted, softmax_axes(node, walk, lifted.shape))
    detail = "softmax, by its slopes at the pooled value"
    return walk.result(node, name, [lifted], "activation", detail, conditional=True, batch_axis=lifted.batch_axis)


def softmax(node: gs.Node, walk: Lifting, lifted: Lifted, axes: tuple[int, ...]) -> str:
    """The tensor on the grid whose mean is the softmax of z, from the lift of z.

    Args:
        node: the softmax.
        walk: the walk.
        lifted: lift of z.
        axes: the axes of z that its classes lie along.
    """
    groups = Groups(node, walk, lifted, axes)
    build = walk.build
    cells = groups.apart(lifted.name)
    if walk.readout == "instance":
        name = build.node("Exp", [build.node("Sub", [cells, groups.log_sum_exp(cells)])])
    else:
        value = groups.apart_pooled(pooled_value(walk, lifted))
        share = build.node("Exp", [build.node("Sub", [value, groups.log_sum_exp(value)])])
        away = build.node("Sub", [cells, value])
        moved = build.node("Sub", [away, groups.reduce("ReduceSum", build.node("Mul", [share, away]))])
        name = build.node("Add", [share, build.node("Mul", [share, moved])])
    return groups.together(name, lifted.channels)


def log_softmax(node: gs.Node, walk: Lifting, lifted: Lifted, axes: tuple[int, ...]) -> Lifted:
    """The lift of ``z - log sum exp z``, from that of z.

    Args:
        node: the softmax.
        walk: the walk.
        lifted: lift of z.
        axes: the axes of z that its classes lie along.
    """
    groups = Groups(node, walk, lifted, axes)
    build = walk.build
    if walk.readout == "instance":
        cells = groups.apart(lifted.name)
        name = build.node("Sub", [cells, groups.log_sum_exp(cells)])
    else:
        cells, value = groups.apart(lifted.name), groups.apart_pooled(pooled_value(walk, lifted))
        # Against the largest class, so that nothing cancels where it has nearly all of the softmax; and from the
        # vendor's own numbers, which a difference of two large ones may have rounded.
        best = groups.reduce("ReduceMax", value)
        worse = build.node("Cast", [build.node("Less", [value, best])], to=elem_type(lifted.dtype))
        held = build.node("Sub", [walk.scalar(1.0, lifted.dtype), worse])
        held = build.node("Div", [held, groups.reduce("ReduceSum", held)])
        less = build.node("Sub", [value, best])
        grown = build.node("Exp", [less])
        share = build.node("Div", [grown, groups.reduce("ReduceSum", grown)])
        top = groups.reduce("ReduceSum", build.node("Mul", [held, cells]))
        away = build.node("Sub", [build.node("Sub", [cells, top]), less])
        moved = build.node("Sub", [away, groups.reduce("ReduceSum", build.node("Mul", [share, away]))])
        own = groups.apart_pooled(walk.per_cell(walk.output, walk.shape(walk.output), lifted.batch_axis))
        name = build.node("Add", [own, moved])
    detail = "logarithm of a softmax, its normalizer by the shares at the pooled value"
    name = groups.together(name, lifted.channels)
    return walk.result(node, name, [lifted], "norm", detail, conditional=True, batch_axis=lifted.batch_axis)


def normalizer_axes(walk: Lifting, scores: str, normalizer: str) -> tuple[int, ...] | None:
    """The axes over which a tensor is the log-sum-exp of scores, in one node or as ``Log(ReduceSum(Exp(z)))``.

    Args:
        walk: the walk.
        scores: z.
        normalizer: the tensor that is subtracted from z.

    Returns:
        The axes of extent above 1; None where it is something else, or has not the axes of z.
    """

    def maker(tensor: str, *operators: str) -> gs.Node | None:
        node = walk.graph.producer(walk.graph.behind(tensor))
        return node if node is not None and node.op in operators else None

    reducing = made = maker(normalizer, "Log", "ReduceLogSumExp")
    source = made.inputs[0].name if made is not None else ""
    if made is not None and made.op == "Log":
        reducing = maker(source, "ReduceSum")
        grown = maker(reducing.inputs[0].name, "Exp") if reducing is not None else None
        source = grown.inputs[0].name if grown is not None else ""
    same = walk.graph.behind(source) == walk.graph.behind(scores)
    if not source or not same or reducing is None or len(walk.shape(normalizer)) != len(walk.shape(scores)):
        return None
    return reduced_axes(reducing, walk)


def softmax_axes(node: gs.Node, walk: Lifting, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of extent above 1 that a softmax normalizes: all from its axis on before operator set 13."""
    # QLinearSoftmax says itself by which operator set it means its axis.
    late = int(node.attrs.get("opset", walk.graph.opset)) >= 13
    axis = int(node.attrs.get("axis", -1 if late else 1)) % max(len(shape), 1)
    return tuple(place for place in (range(axis, len(shape)) if not late else (axis,)) if shape[place] != 1)


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


def reduce_channels(node: gs.Node, walk: Lifting, lifted: Lifted, axes: tuple[int, ...], operator: str = "") -> Lifted:
    """A reduction over some axes of a pooled tensor that are channels.

    Args:
        node: the reduction.
        walk: the walk.
        lifted: lift of its input.
        axes: what it reduces, of extent above 1.
        operator: the reduction that it is, where it is spelled as a pool.

    Raises:
        HeadRefused: it reduces over the batch.
    """
    operator = operator or str(node.op)
    axis = batch_after(node, walk, lifted)
    linear = operator in ("ReduceMean", "ReduceSum")
    if not axes and (linear or operator in ("ReduceMax", "ReduceMin", "ReduceLogSumExp")):
        return walk.result(node, lifted.name, [lifted], "shape", "only the shape changes", batch_axis=axis)
    groups = Groups(node, walk, lifted, axes)
    count = math.prod(walk.shape(walk.output)) // lifted.batch
    cells = groups.apart(lifted.name)
    if linear:
        word = "mean" if operator == "ReduceMean" else "sum"
        name = groups.together(groups.reduce(operator, cells), count)
        return walk.result(node, name, [lifted], "affine", f"{word} over channels, in every cell", batch_axis=axis)
    if walk.readout == "instance":
        name, detail = groups.reduce(operator, cells), f"{operator} over the channels of each cell"
    else:
        name = _by_slopes(operator, groups, cells, groups.apart_pooled(pooled_value(walk, lifted)))
        detail = _SAID.get(operator, "the size of the pooled channels, each by its part of it")
    name = groups.together(name, count)
    return walk.result(node, name, [lifted], "norm", detail, conditional=True, batch_axis=axis)


def reduce_windows(node: gs.Node, walk: Lifting, lifted: Lifted) -> Lifted:
    """A mean or a sum over a batch that is all windows of one image.

    Args:
        node: the reduction.
        walk: the walk.
        lifted: with the windows as channels, of a tensor (images, windows, ...).

    Raises:
        HeadRefused: there are several images.
    """
    if lifted.batch != 1:
        raise walk.refuse("spatial-mixing-after-pool", node, "it reduces over the batch")
    groups = Groups(node, walk, lifted, (1,))
    count = lifted.channels // lifted.shape[1]
    name = groups.together(groups.reduce(str(node.op), groups.apart(lifted.name)), count)
    detail = f"{'mean' if node.op == 'ReduceMean' else 'sum'} over {lifted.shape[1]} windows, in every cell"
    out = walk.shape(walk.output)
    axis = 0 if len(out) > 1 and out[0] == 1 else None
    return walk.result(node, name, [lifted], "affine", detail, batch_axis=axis)


def batch_after(node: gs.Node, walk: Lifting, lifted: Lifted) -> int | None:
    """Where the batch is in a reduction's output."""
    axis = lifted.batch_axis
    before, after = walk.shape(node.inputs[0].name), walk.shape(walk.output)
    if not after:
        return None  # of one image, whose axis was reduced with the rest
    if axis is None or axis <= 0 or bool(node.attrs.get("keepdims", 1)):
        return axis
    gone = list(reduced_axes(node, walk))
    spare = [place for place, dim in enumerate(before) if dim == 1 and place not in gone]
    gone += spare[: len(before) - len(after) - len(gone)]
    return axis - sum(1 for place in gone if place < axis)


def _by_slopes(operator: str, groups: Groups, cells: str, value: str) -> str:
    """``sum_j s_j lift(z_j)``, plus what is missing to y where phi is not homogeneous."""
    build, walk, dtype = groups.walk.build, groups.walk, groups.lifted.dtype
    if operator in ("ReduceMax", "ReduceMin"):
        best = groups.reduce(operator, value)
        pair = [value, best] if operator == "ReduceMax" else [best, value]
        worse = build.node("Cast", [build.node("Less", pair)], to=elem_type(dtype))
        mask = build.node("Sub", [walk.scalar(1.0, dtype), worse])
        slope = build.node("Div", [mask, groups.reduce("ReduceSum", mask)])
        return groups.reduce("ReduceSum", build.node("Mul", [slope, cells]))
    if operator in ("ReduceLogSumExp", "ReduceLogSum"):
        size = groups.log_sum_exp(value) if operator == "ReduceLogSumExp" else groups.reduce(operator, value)
        exponent = build.node("Sub", [value, size]) if operator == "ReduceLogSumExp" else build.node("Neg", [size])
        moved = build.node("Mul", [build.node("Exp", [exponent]), build.node("Sub", [cells, value])])
        return build.node("Add", [groups.reduce("ReduceSum", moved), size])
    if operator == "ReduceSumSquare":
        return groups.reduce("ReduceSum", build.node("Mul", [value, cells]))
    if operator == "ReduceL1":  # Sign is younger than the oldest operator sets
        sign = build.node("Div", [value, build.at_least(build.node("Abs", [value]), tiny(dtype))])
        return groups.reduce("ReduceSum", build.node("Mul", [sign, cells]))
    size = build.at_least(groups.reduce("ReduceL2", value), tiny(dtype))
    return groups.reduce("ReduceSum", build.node("Mul", [build.node("Div", [value, size]), cells]))


def tiny(dtype: np.dtype) -> np.ndarray:
    """The smallest number with all digits: what is divided by, or has a logarithm, is at least that."""
    return np.asarray(np.finfo(np.float32 if dtype.name == "bfloat16" else dtype).tiny, dtype)


class Groups:
    """A lift's channels as the axes of its pooled tensor, some of which are reduced."""

    def __init__(self, node: gs.Node, walk: Lifting, lifted: Lifted, axes: tuple[int, ...]) -> None:
        if lifted.batch_axis in axes:
            raise walk.refuse("spatial-mixing-after-pool", node, "it reduces over the batch")
        self.walk = walk
        self.lifted = lifted
        inner = [place for place in range(len(lifted.shape)) if place != lifted.batch_axis]
        self._sizes = [lifted.shape[place] for place in inner]
        # Spelled-out norms reduce all channels: those are one axis already.
        self._whole = all(lifted.shape[place] == 1 or place in axes for place in inner)
        if not axes:  # of one number each, such as a softmax along an axis of extent 1
            self._sizes.append(1)
        self._axes = [1] if self._whole else [1 + inner.index(place) for place in axes] or [len(self._sizes)]

    def apart(self, grid: str) -> str:
        """(N, C, H, W) with the channels' axes by themselves, the cells the last axis."""
        return grid if self._whole else self.walk.build.reshape(grid, [0, *self._sizes, -1])

    def apart_pooled(self, value: str) -> str:
        """The same of (N, C, 1, 1)."""
        return value if self._whole else self.walk.build.reshape(value, [0, *self._sizes, 1])

    def reduce(self, operator: str, tensor: str) -> str:
        """A reduction over the axes that are reduced; they stay with length 1."""
        return self.walk.build.reduce(operator, tensor, self._axes)

    def log_sum_exp(self, tensor: str) -> str:
        """As ONNX Runtime's own, but safe where exp overflows."""
        build = self.walk.build
        top = self.reduce("ReduceMax", tensor)
        total = self.reduce("ReduceSum", build.node("Exp", [build.node("Sub", [tensor, top])]))
        return build.node("Add", [build.node("Log", [total]), top])

    def together(self, tensor: str, channels: int) -> str:
        """(N, channels, H, W)."""
        return tensor if self._whole else as_grid(self.walk, self.lifted, tensor, channels)
