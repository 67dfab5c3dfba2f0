"""Dense layers after the pool: a 1x1 convolution on the grid, with the vendor's own weight reshaped in the graph."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx

from onnx_gapmil.lift.ancestry import places_are_lost
from onnx_gapmil.lift.cellwise import in_each_cell
from onnx_gapmil.lift.rules.activations import fused_activation
from onnx_gapmil.lift.rules.affine import lift_companion
from onnx_gapmil.lift.rules.flattened import is_flattened, lift_flattened_dense, lift_whole_map_conv
from onnx_gapmil.lift.rules.weighted import contracts_positions, lift_weighted_sum
from onnx_gapmil.lift.table import rule
from onnx_gapmil.lift.verdict import Refusal
from onnx_gapmil.ort.cpu import evaluate

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifted import Lifted
    from onnx_gapmil.lift.lifting import Lifting


@rule("Gemm")
def lift_gemm(node: gs.Node, walk: Lifting) -> Lifted:
    """``alpha * A @ B + beta * C`` with constant B: a 1x1 convolution with B as (K, C, 1, 1)."""
    return _gemm(node, walk)


@rule("FusedGemm", domain="com.microsoft")
def lift_fused_gemm(node: gs.Node, walk: Lifting) -> Lifted:
    """Gemm with an activation that ONNX Runtime fused into it (ORT_ENABLE_EXTENDED): the layer, then the activation."""
    return fused_activation(node, walk, _gemm(node, walk))


def _gemm(node: gs.Node, walk: Lifting) -> Lifted:
    data, weight = node.inputs[0].name, node.inputs[1].name
    if not walk.is_fixed(weight):
        return _weight_first(node, walk)
    transposed = bool(node.attrs.get("transB", 0))
    rows = walk.shape(weight)[0 if transposed else 1]
    bias = node.inputs[2].name if len(node.inputs) > 2 else ""
    scale, bias_scale = (float(node.attrs.get(key, 1.0)) for key in ("alpha", "beta"))
    # AlexNet, VGG and LeNet: no pool before the layer, but a map flattened.
    if is_flattened(walk.try_lift(data)) and scale == bias_scale == 1.0 and not node.attrs.get("transA", 0):
        return lift_flattened_dense(node, walk, data, weight, bias, transposed=transposed)
    # PyTorch and MXNet write the weight as (K, C) and transB=1; jax2onnx, tf2onnx and Keras as (C, K).
    kernel = weight if transposed else walk.build.node("Transpose", [weight], perm=[1, 0])
    lifted = walk.lift(data)
    _require_channels_at(node, walk, lifted, 0 if node.attrs.get("transA", 0) else 1)
    detail = f"dense {lifted.channels} → {rows}{', bias' if bias else ''}: a 1×1 convolution on the grid"
    if not bias or walk.is_fixed(bias):
        name = pointwise(walk, lifted, kernel, rows, bias, scale=scale, bias_scale=bias_scale)
        rounding = (
            through_dense(lifted, walk.value(weight), scale, transposed=transposed)
            if lifted.rounding is not None
            else None
        )
        return walk.result(node, name, [lifted], "affine", detail, channels=rows, rounding=rounding)
    # A residual branch that an optimizer fused into the Gemm: lifted like the operand of a sum.
    other = lift_companion(node, walk, bias)
    if other.channels not in (1, rows) or other.batch_axis not in (0, None):
        raise walk.refuse("unknown-operator", node, "its bias is a pooled tensor of another shape")
    added = other.name
    if bias_scale != 1.0:
        added = walk.build.node("Mul", [added, walk.scalar(bias_scale, lifted.dtype)])
    name = walk.build.node("Add", [pointwise(walk, lifted, kernel, rows, "", scale=scale), added])
    return walk.result(node, name, [lifted, other], "affine", detail, channels=rows)


def _weight_first(node: gs.Node, walk: Lifting) -> Lifted:
    """``W @ x`` with the classes, or the channels, in the rows."""
    weight, data = node.inputs[0].name, node.inputs[1].name
    if not walk.is_fixed(weight):
        raise walk.refuse("unknown-operator", node, "both of its matrices depend on the image")
    lifted = walk.lift(data)
    if not all(walk.is_fixed(read.name) for read in node.inputs[2:] if read.name):
        raise walk.refuse("unknown-operator", node, "its bias depends on the image")
    return in_each_cell(node, walk, lifted, data, f"dense {lifted.channels} channels, weights first")


@rule("MatMul")
def lift_matmul(node: gs.Node, walk: Lifting) -> Lifted:
    """``x @ W`` or ``W @ x`` with a constant W: a 1x1 convolution; where it contracts positions, a weighted pool."""
    left, right = node.inputs[0].name, node.inputs[1].name
    if walk.is_fixed(left) and walk.is_fixed(right):
        raise walk.no_rule(node)
    for maker in map(walk.graph.producer, (left, right)):
        if maker is not None and not maker.inputs and walk.graph.random_operator(maker):
            raise walk.no_rule(maker)  # weights drawn anew each time
    # Self-attention, which is the trunk's (ViT), or an attention pool (CLIP).
    if not walk.is_fixed(left) and not walk.is_fixed(right):
        return lift_weighted_sum(node, walk)
    flipped = walk.is_fixed(left)
    weight, data = (left, right) if flipped else (right, left)
    shape = walk.shape(weight)
    if isinstance(walk.try_lift(data), Refusal) and contracts_positions(node, walk):
        return lift_weighted_sum(node, walk)
    if is_flattened(walk.try_lift(data)) and not flipped and len(shape) == 2:
        return lift_flattened_dense(node, walk, data, weight, "", transposed=False)
    lifted = walk.lift(data)
    # A weight of one axis is a single class; leading axes of extent 1 are dropped.
    matrix = shape[-2:] if len(shape) >= 2 else (shape[0], 1)
    fan_in, fan_out = matrix[::-1] if flipped else matrix
    groups = _groups(lifted, shape, flipped=flipped)
    if groups > 1:
        kernel = walk.build.node("Transpose", [weight], perm=[1, 0])
        apart = walk.build.reshape(lifted.name, [-1, fan_in, 0, 0])
        made = pointwise(walk, replace(lifted, name=apart, channels=fan_in), kernel, fan_out, "")
        name = walk.build.reshape(made, [-1, groups * fan_out, 0, 0])
        detail = f"dense {fan_in} → {fan_out}, of each of {groups}: a 1×1 convolution on the grid"
        return walk.result(node, name, [lifted], "affine", detail, batch_axis=0)
    if math.prod(shape) != fan_in * fan_out or fan_in != lifted.channels:
        # A matrix for each group of channels, or one for all of them: the vendor's product in every cell.
        return in_each_cell(node, walk, lifted, data, f"groups of channels {list(lifted.shape)} by {list(shape)}")
    kernel = weight if len(shape) == 2 else walk.build.reshape(weight, list(matrix))
    if not flipped:
        kernel = walk.build.node("Transpose", [kernel], perm=[1, 0])
    name = pointwise(walk, lifted, kernel, fan_out, "")
    out = walk.shape(walk.output)
    axis = None if lifted.batch_axis is None else _find_batch(out, lifted, flipped)
    detail = f"dense {lifted.channels} → {fan_out}: a 1×1 convolution on the grid"
    rounding = None
    if lifted.rounding is not None:
        value = walk.value(weight)
        rounding = through_dense(lifted, None if value is None else value.reshape(matrix), transposed=flipped)
    return walk.result(node, name, [lifted], "affine", detail, channels=fan_out, batch_axis=axis, rounding=rounding)


def _groups(lifted: Lifted, weight: tuple[int, ...], *, flipped: bool) -> int:
    """How many vectors of channels a product with a matrix (C, K) works on: the frames of a clip, (N, frames, C).

    1 where it is the usual one, or no such product.
    """
    clip = any(grid.fold is not None for grid in lifted.features)
    apart = clip and len(lifted.shape) >= 3 and lifted.batch_axis == 0 and len(weight) == 2 and not flipped
    fits = apart and lifted.shape[-1] == weight[0] != lifted.channels and lifted.rounding is None
    return lifted.channels // weight[0] if fits else 1


def _find_batch(out: tuple[int, ...], lifted: Lifted, flipped: bool) -> int | None:
    """``W @ x`` keeps the batch in the last axis of a matrix; every other product keeps it where it was."""
    # With a batch fixed at 1 (paddle2onnx, PyTorch without dynamic axes) any axis of extent 1 may be it.
    if lifted.batch == 1:
        return next((axis for axis, dim in enumerate(out) if dim == 1), None)
    if flipped and lifted.batch_axis == len(lifted.shape) - 1:
        return len(out) - 1
    return lifted.batch_axis if lifted.batch_axis is not None else 0


@rule("Conv")
def lift_conv(node: gs.Node, walk: Lifting) -> Lifted:
    """A 1x1 convolution of the pooled map, groups included: the same convolution on the grid."""
    data, weight = node.inputs[0].name, node.inputs[1].name
    shape, kernel = walk.shape(data), walk.shape(weight)
    # The trunk's last convolution, from which the walk learns that nothing pooled its map; or a fully connected layer
    # spelled as a convolution as large as the map (MATLAB).
    if math.prod(shape[2:]) != 1:
        if places_are_lost(walk, data):
            return _over_channels(node, walk, data)
        out = walk.shape(walk.output)
        if math.prod(out[2:]) == 1 and math.prod(kernel[2:]) > 1:
            return lift_whole_map_conv(node, walk)
        # CoaT weighs the class tokens of three scales. Behind a map the walk ends: what comes before is the trunk.
        if _is_stack(walk, data):
            return _over_channels(node, walk, data)
        raise walk.no_rule(node)
    if not walk.is_fixed(weight):
        raise walk.refuse("unknown-operator", node, "its weights depend on the image")
    lifted = walk.lift(data)
    if math.prod(kernel[2:]) != 1:
        weight, kernel = _acting_tap(node, walk, weight, kernel)
    bias = node.inputs[2].name if len(node.inputs) > 2 else ""
    if bias and not walk.is_fixed(bias):
        raise walk.refuse("unknown-operator", node, "its bias is not fixed")
    group = int(node.attrs.get("group", 1))
    # Keras MobileNet and TF-Slim bring the pooled vector back to (N, C, 1, 1) for such a layer; a convolution over
    # pooled tokens has a kernel of three axes.
    name = pointwise(walk, lifted, weight, kernel[0], bias, group=group, shaped=len(kernel) == 4)
    detail = f"1×1 convolution {lifted.channels} → {kernel[0]}{f' in {group} groups' if group > 1 else ''}"
    rounding = None
    if lifted.rounding is not None and group == 1:
        value = walk.value(weight)
        rounding = through_dense(lifted, None if value is None else value.reshape(kernel[:2]), transposed=True)
    return walk.result(node, name, [lifted], "affine", detail, channels=kernel[0], rounding=rounding)


@rule("FusedConv", domain="com.microsoft")
def lift_fused_conv(node: gs.Node, walk: Lifting) -> Lifted:
    """Conv with an activation that ONNX Runtime fused into it (ORT_ENABLE_EXTENDED): the layer, then the activation."""
    data = node.inputs[0].name
    if math.prod(walk.shape(data)[2:]) != 1:
        if not places_are_lost(walk, data):
            raise walk.no_rule(node)
        raise walk.refuse(
            "unknown-operator", node, "it is a convolution over channels with an activation fused into it"
        )
    if len(node.inputs) > 3 and node.inputs[3].name:
        raise walk.refuse("unknown-operator", node, "a sum is fused into it")
    return fused_activation(node, walk, lift_conv(node, walk))


@rule("FusedMatMul", domain="com.microsoft")
def lift_fused_matmul(node: gs.Node, walk: Lifting) -> Lifted:
    """A product with a factor and transposed operands that ONNX Runtime fused into it, one of them constant."""
    names = [str(read.name) for read in node.inputs]
    fixed = [walk.is_fixed(name) for name in names]
    if sum(fixed) != 1:
        raise walk.no_rule(node)
    data = names[int(fixed[0])]
    lifted = walk.lift(data)
    build = walk.build

    def spelled(operands: list[str]) -> str:
        parts = []
        for operand, name, side in zip(operands, names, "AB", strict=True):
            order = list(range(len(walk.shape(name))))
            if node.attrs.get(f"transBatch{side}", 0):  # the first axis goes behind those of the batch
                order = [*order[1:-1], 0, order[-1]]
            if node.attrs.get(f"trans{side}", 0):
                order[-2:] = order[:-3:-1]
            parts.append(operand if order == sorted(order) else build.node("Transpose", [operand], perm=order))
        made, scale = build.node("MatMul", parts), float(node.attrs.get("alpha", 1.0))
        return made if scale == 1.0 else build.node("Mul", [made, walk.scalar(scale, lifted.dtype)])

    return in_each_cell(node, walk, lifted, data, f"dense {lifted.channels} channels, in every cell", spelled)


def _is_stack(walk: Lifting, tensor: str) -> bool:
    """Whether vectors were laid side by side, each a row of its own: (N, vectors, C)."""
    joined = walk.graph.producer(tensor)
    shape = walk.shape(tensor)
    return joined is not None and joined.op == "Concat" and len(shape) == 3 and shape[1] == len(joined.inputs)


def _over_channels(node: gs.Node, walk: Lifting, data: str) -> Lifted:
    """A convolution along what are channels of a pooled tensor (ECA), or over vectors side by side."""
    if not all(walk.is_fixed(read.name) for read in node.inputs[1:] if read.name):
        raise walk.refuse("unknown-operator", node, "its weights depend on the image")
    return in_each_cell(node, walk, walk.lift(data), data, "a convolution over channels, in every cell")


def _acting_tap(node: gs.Node, walk: Lifting, weight: str, kernel: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    """Of a kernel on a map of one position, the weights that meet it and not the padding around it: (K, C, 1, 1)."""
    rank = len(kernel) - 2
    if math.prod(walk.shape(walk.output)[2:]) != 1:
        raise walk.refuse(
            "spatial-mixing-after-pool",
            node,
            f"its kernel is {list(kernel[2:])} on a pooled map of one position, of which it makes several",
        )
    # Which one that is the runtime says: auto_pad, dilations and strides count as it counts them.
    taps = math.prod(kernel[2:])
    hot = np.eye(taps, dtype=np.float32).reshape(taps, 1, *kernel[2:])
    attrs = {**node.attrs, "group": 1, "kernel_shape": list(kernel[2:])}
    alone = onnx.helper.make_node("Conv", ["x", "w"], ["y"], **attrs)
    opsets = walk.graph.proto.opset_import
    answer = evaluate([alone], {"x": np.ones((1, 1, *[1] * rank), np.float32), "w": hot}, ["y"], opsets)[0].ravel()
    if not answer.any():
        raise walk.refuse("no-spatial-pool", node, "its kernel meets nothing but padding")
    flat = walk.build.reshape(weight, [*kernel[:2], taps])
    taken = walk.build.node("Gather", [flat, walk.build.ints([int(answer.argmax())])], axis=2)
    return walk.build.reshape(taken, [*kernel[:2], 1, 1]), (*kernel[:2], 1, 1)


def pointwise(
    walk: Lifting,
    lifted: Lifted,
    weight: str,
    rows: int,
    bias: str,
    *,
    scale: float = 1.0,
    bias_scale: float = 1.0,
    group: int = 1,
    shaped: bool = False,
) -> str:
    """A 1x1 Conv on the grid with the vendor's weight, which is reshaped in the graph and not copied."""
    build = walk.build
    # alpha of the Gemm belongs to the product, beta to the bias.
    if scale != 1.0:
        weight = build.node("Mul", [weight, walk.scalar(scale, lifted.dtype)])
    if not shaped:
        weight = build.reshape(weight, [rows, lifted.channels // group, 1, 1])
    if not bias:
        return _convolve(walk, lifted, weight, "", group)
    own = walk.trace.shapes.get(bias, (rows,))  # a bias that was made here is a vector
    if bias_scale != 1.0:
        bias = build.node("Mul", [bias, walk.scalar(bias_scale, lifted.dtype)])
    # The usual bias goes into the convolution.
    if own in ((rows,), (1, rows)):
        return _convolve(walk, lifted, weight, bias if own == (rows,) else build.reshape(bias, [rows]), group)
    # A scalar, or one bias for each image of the batch: added on the grid.
    grid = _convolve(walk, lifted, weight, "", group)
    if len(own) == 2 and math.prod(own) != 1:
        bias = build.reshape(bias, [-1, own[-1], 1, 1])
    return build.node("Add", [grid, bias])


def through_dense(lifted: Lifted, weight: np.ndarray | None, scale: float = 1.0, *, transposed: bool) -> np.ndarray:
    """The bound on rounding after a dense layer: ``|W|`` times the bound before it; no bound for unknown weights.

    Args:
        lifted: lift of the layer's input.
        weight: (C, K), or (K, C) if ``transposed``.
        scale: the layer's own factor.
        transposed: how the weight lies.
    """
    assert lifted.rounding is not None  # noqa: S101 - asked only where something was rounded
    if weight is None or not np.isfinite(lifted.rounding).all():
        return np.full(1 if weight is None else weight.shape[0 if transposed else 1], np.inf)
    sizes = np.abs(weight.astype(np.float64)) * abs(scale)
    bound: np.ndarray = (sizes if transposed else sizes.T) @ lifted.rounding
    return bound


def _convolve(walk: Lifting, lifted: Lifted, weight: str, bias: str, group: int) -> str:
    """A 1x1 Conv; in float64, for which ONNX Runtime has none, a product of matrices."""
    build = walk.build
    if lifted.dtype.itemsize < 8 or group != 1:
        return build.node("Conv", [lifted.name, weight, *([bias] if bias else [])], group=group, kernel_shape=[1, 1])
    matrix = build.node("Transpose", [build.reshape(weight, [0, 0])], perm=[1, 0])
    cells = build.node("MatMul", [build.node("Transpose", [lifted.name], perm=[0, 2, 3, 1]), matrix])
    if bias:
        cells = build.node("Add", [cells, bias])
    return build.node("Transpose", [cells], perm=[0, 3, 1, 2])


def _require_channels_at(node: gs.Node, walk: Lifting, lifted: Lifted, axis: int) -> None:
    shape = lifted.shape
    elsewhere = lifted.batch > 1 and lifted.batch_axis not in (None, 1 - axis)
    if len(shape) != 2 or shape[axis] != lifted.channels or elsewhere:
        raise walk.refuse(
            "spatial-mixing-after-pool",
            node,
            f"its input {list(shape)} does not hold the channels in axis {axis}",
        )
