"""Quantized heads: the lift of an integer tensor is the lift of the real number it stands for.

Rounding is no pointwise linear map, so the identity holds up to it: the residual is measured, and judged by the
tolerance of quantized heads. Clipping is more than rounding: a Q/DQ pair whose range ends at zero *is* a Relu (ONNX
Runtime's static quantization deletes the Relu and lets the range do its work). So a range that provably clips nothing
is looked through, and any other is a gate that stays at its pooled value.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.broadcasting import aligned_batch
from onnx_gapmil.lift.joining import align
from onnx_gapmil.lift.lifted import Quantization
from onnx_gapmil.lift.quantization import (
    FLOAT,
    QuantParams,
    dequantized,
    dequantized_bias,
    dequantized_values,
    input_name,
    provably_inside,
    quantization_of,
    quantized_result,
    rounding_phrase,
    saturate,
    without_zero_point,
)
from onnx_gapmil.lift.rules.dense import pointwise, through_dense
from onnx_gapmil.lift.rules.flattened import is_flattened
from onnx_gapmil.lift.rules.pools import end_at_pool
from onnx_gapmil.lift.rules.quantized_flattened import Weights, lift_flattened_integers
from onnx_gapmil.lift.table import rule

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifted import Lifted
    from onnx_gapmil.lift.lifting import Lifting

_CONTRIB = "com.microsoft"


@rule("QuantizeLinear")
@rule("QuantizeLinear", domain=_CONTRIB)
def lift_quantize(node: gs.Node, walk: Lifting) -> Lifted:
    """``clip(round(t / s) + z)`` stands for ``t``, but for rounding and for what the range clips."""
    data = node.inputs[0].name
    lifted = walk.lift(data)
    # Static quantization puts pairs around pool, Flatten and Gemm; only where no value can leave the range is a pair
    # nothing but rounding.
    quantization = quantization_of(node, walk, QuantParams(node.inputs[1].name, input_name(node, 2)))
    clips = not provably_inside(walk, data, quantization)
    name = lifted.name
    axis = lifted.batch_axis
    if clips:

        def lay(share: str) -> str:
            return walk.per_cell(share, lifted.shape, axis, shape=walk.shape(data))

        name = saturate(walk, lifted.name, data, quantization, lifted.dtype, lay)
    return quantized_result(node, walk, name, [lifted], quantization, clips, batch_axis=axis)


@rule("DequantizeLinear")
@rule("DequantizeLinear", domain=_CONTRIB)
def lift_dequantize(node: gs.Node, walk: Lifting) -> Lifted:
    """``(q - z) * s``: the real number itself; by another scale than it was quantized with, an affine map of it."""
    lifted = walk.lift(node.inputs[0].name)
    read = read_by(node, walk, lifted, QuantParams(node.inputs[1].name, input_name(node, 2)))
    detail = "back to the real number" if read is lifted else "to real numbers by another scale"
    axis, rounding = lifted.batch_axis, read.rounding
    return walk.result(
        node, read.name, [lifted], "affine", detail, batch_axis=axis, dtype=lifted.dtype, rounding=rounding
    )


def read_by(node: gs.Node, walk: Lifting, lifted: Lifted, params: QuantParams) -> Lifted:
    """The lift of what integers stand for to a reader with a scale and a zero point of its own.

    Raises:
        HeadRefused: they stand for nothing, or their scale is found at run time and is not the reader's.
    """
    writer = lifted.quantization
    if writer is None:
        raise walk.refuse("quantized-nonuniform", node, "it reads integers that were not quantized on the way")
    if writer.dynamic:
        _require_own_zero(node, walk, writer, params.zero_point)
        if params.scale != writer.scale:
            raise walk.refuse("quantized-nonuniform", node, "its scale is not the one that was quantized with")
        return lifted
    reader = quantization_of(node, walk, params, default=np.dtype(np.int32))
    return _rescaled(walk, lifted, writer, reader.step, reader.zero)


def _rescaled(walk: Lifting, lifted: Lifted, writer: Quantization, step: float, zero: float) -> Lifted:
    """``step * (q - zero)`` of integers that were made with another step or zero point."""
    if (step, zero) == (writer.step, writer.zero):
        return lifted
    factor = walk.scalar(step / writer.step, lifted.dtype)
    shift = walk.scalar(step * (writer.zero - zero), lifted.dtype)
    name = walk.build.node("Add", [walk.build.node("Mul", [lifted.name, factor]), shift])
    rounding = None if lifted.rounding is None else lifted.rounding * (step / writer.step)
    return replace(lifted, name=name, rounding=rounding)


def _require_own_zero(node: gs.Node, walk: Lifting, quantization: Quantization, zero: str) -> None:
    """A zero point found at run time is only right together with the scale that was found with it."""
    maker = walk.graph.producer(quantization.scale)
    if maker is None or len(maker.outputs) < 3 or maker.outputs[2].name != zero:
        raise walk.refuse("quantized-nonuniform", node, "its zero point is not the one that was quantized with")


@rule("DynamicQuantizeLinear")
def lift_dynamic_quantize(node: gs.Node, walk: Lifting) -> Lifted:
    """Quantized by the range of the pooled tensor itself: it never clips."""
    # Its other outputs are the scale and the zero point, which are no pooled tensors; the walk comes by them when it
    # asks which factor of a later Mul lifts.
    if walk.output != node.outputs[0].name:
        raise walk.refuse("quantized-nonuniform", node, "a scale has no lift")
    lifted = walk.lift(node.inputs[0].name)
    quantization = Quantization(0.0, 0.0, -math.inf, math.inf, scale=node.outputs[1].name)
    return quantized_result(node, walk, lifted.name, [lifted], quantization, clips=False, batch_axis=lifted.batch_axis)


@rule("QLinearGlobalAveragePool", domain=_CONTRIB)
def lift_q_global_average_pool(node: gs.Node, walk: Lifting) -> Lifted:
    """The mean over all positions of the real numbers: the feature grid is the dequantized map."""
    data = node.inputs[0].name
    shape = walk.shape(data)
    last = bool(node.attrs.get("channels_last", 0))
    axes = tuple(range(1, len(shape) - 1)) if last else tuple(range(2, len(shape)))
    return _pool(node, walk, axes)


@rule("QLinearAveragePool", domain=_CONTRIB)
def lift_q_average_pool(node: gs.Node, walk: Lifting) -> Lifted:
    """A window that covers the whole map, on integers."""
    before, after = walk.shape(node.inputs[0].name), walk.shape(walk.output)
    if node.attrs.get("channels_last", 0) or math.prod(after[2:]) != 1 or math.prod(before[2:]) == 1:
        raise walk.no_rule(node)
    kernel = tuple(node.attrs.get("kernel_shape", ()))
    if kernel != before[2:] or any(node.attrs.get("pads", ())):
        raise walk.refuse("partial-pool", node, f"its window of {list(kernel)} is not the whole map {list(before[2:])}")
    return _pool(node, walk, tuple(range(2, len(before))))


@rule("QLinearReduceMean", domain=_CONTRIB)
def lift_q_reduce_mean(node: gs.Node, walk: Lifting) -> Lifted:
    """ReduceMean on integers."""
    shape = walk.shape(node.inputs[0].name)
    axes = tuple(sorted(int(axis) % len(shape) for axis in node.attrs.get("axes", ())))
    return _pool(node, walk, tuple(axis for axis in axes if shape[axis] != 1))


def _pool(node: gs.Node, walk: Lifting, axes: tuple[int, ...]) -> Lifted:
    data = node.inputs[0].name
    if not axes or math.prod(walk.shape(data)[axis] for axis in axes) == 1:
        raise walk.refuse("no-spatial-pool", node, "it pools a map of one position")
    source = QuantParams(node.inputs[1].name, input_name(node, 2))
    detail = "mean over all positions, of the real numbers"
    pooled = end_at_pool(node, walk, data, axes, detail, dequantize=lambda name: dequantized(walk, name, source))
    target = quantization_of(node, walk, QuantParams(node.inputs[3].name, input_name(node, 4)))
    origin = quantization_of(node, walk, source, tensor=data)
    # The mean lies within the range of the map, so only a narrower range of its own can clip it.
    clips = not (target.low <= origin.low and origin.high <= target.high)
    name = pooled.name
    if clips:
        name = saturate(walk, name, walk.build.reduce("ReduceMean", name, [2, 3]), target, FLOAT)
    step = replace(pooled.step, conditional=clips, detail=f"{detail}; {rounding_phrase(target, clips)}")
    rounding = np.full(pooled.channels, target.step / 2)
    return replace(pooled, name=name, conditional=clips, step=step, quantization=target, rounding=rounding)


@rule("QLinearMatMul")
def lift_q_matmul(node: gs.Node, walk: Lifting) -> Lifted:
    """``x @ W`` in integers: a 1x1 convolution with the dequantized weights."""
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = (tensor.name for tensor in node.inputs)
    if not walk.is_fixed(b) or len(walk.shape(b)) != 2:
        raise walk.refuse("unknown-operator", node, "its weights are not fixed, or no matrix")
    weight = dequantized(walk, b, QuantParams(b_scale, b_zero), axis=1)
    source, target = QuantParams(a_scale, a_zero), QuantParams(y_scale, y_zero)
    if is_flattened(walk.try_lift(a)):
        return lift_flattened_integers(node, walk, a, source, Weights(b, weight), target)
    kernel = walk.build.node("Transpose", [weight], perm=[1, 0])
    values = dequantized_values(walk, b, QuantParams(b_scale, b_zero), axis=1)
    values = None if values is None else values.T
    return _dense(node, walk, (a, source), kernel, walk.shape(b)[1], "", target, values=values)


@rule("QGemm", domain=_CONTRIB)
def lift_q_gemm(node: gs.Node, walk: Lifting) -> Lifted:
    """Gemm in integers, to integers or to real numbers."""
    a, a_scale, a_zero, b, b_scale, b_zero = (tensor.name for tensor in node.inputs[:6])
    if not walk.is_fixed(b) or node.attrs.get("transA", 0) or float(node.attrs.get("alpha", 1.0)) != 1.0:
        raise walk.refuse("unknown-operator", node, "its weights are not fixed, or it transposes or scales its input")
    transposed = bool(node.attrs.get("transB", 0))
    weight = dequantized(walk, b, QuantParams(b_scale, b_zero), axis=0 if transposed else 1)
    kernel = weight if transposed else walk.build.node("Transpose", [weight], perm=[1, 0])
    rows = walk.shape(b)[0 if transposed else 1]
    bias = dequantized_bias(walk, input_name(node, 6), a_scale, b_scale)
    # Without a scale for its output QGemm gives floats.
    target = QuantParams(input_name(node, 7), input_name(node, 8)) if input_name(node, 7) else None
    if is_flattened(walk.try_lift(a)):
        real = Weights(b, weight, bias, transposed=transposed)
        return lift_flattened_integers(node, walk, a, QuantParams(a_scale, a_zero), real, target)
    values = dequantized_values(walk, b, QuantParams(b_scale, b_zero), axis=0 if transposed else 1)
    values = values.T if values is not None and not transposed else values
    return _dense(node, walk, (a, QuantParams(a_scale, a_zero)), kernel, rows, bias, target, values=values)


@rule("QLinearConv")
@rule("QLinearConv", domain=_CONTRIB)
def lift_q_conv(node: gs.Node, walk: Lifting) -> Lifted:
    """A 1x1 convolution of the pooled map in integers, groups included."""
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero = (tensor.name for tensor in node.inputs[:8])
    shape, kernel_shape = walk.shape(x), walk.shape(w)
    if math.prod(shape[2:]) != 1 or math.prod(kernel_shape[2:]) != 1 or node.attrs.get("channels_last", 0):
        raise walk.no_rule(node)
    weight = dequantized(walk, w, QuantParams(w_scale, w_zero), axis=0)
    bias = dequantized_bias(walk, input_name(node, 8), x_scale, w_scale)
    group = int(node.attrs.get("group", 1))
    target = QuantParams(y_scale, y_zero)
    values = dequantized_values(walk, w, QuantParams(w_scale, w_zero), axis=0) if group == 1 else None
    values = None if values is None else values.reshape(kernel_shape[:2])
    source = QuantParams(x_scale, x_zero)
    return _dense(node, walk, (x, source), weight, kernel_shape[0], bias, target, group=group, values=values)


@rule("QLinearAdd", domain=_CONTRIB)
def lift_q_add(node: gs.Node, walk: Lifting) -> Lifted:
    """A fixed integer tensor added to every cell, or two lifts, cell by cell."""
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale = (tensor.name for tensor in node.inputs[:7])
    operands = [(a, QuantParams(a_scale, a_zero)), (b, QuantParams(b_scale, b_zero))]
    out = walk.shape(walk.output)
    moving = [(name, params) for name, params in operands if not walk.is_fixed(name)]
    parents = align(node, walk, [read_by(node, walk, walk.lift(name), params) for name, params in moving])
    axis = aligned_batch(parents[0], out)
    count = math.prod(out) // parents[0].batch
    if any(aligned_batch(part, out) != axis or part.channels not in (1, count) for part in parents):
        raise walk.refuse("unknown-operator", node, "its two operands do not match")
    lifts = iter(parents)
    grids, pooled = [], []
    for name, params in operands:
        real = walk.per_cell(dequantized(walk, name, params), out, axis, shape=walk.shape(name))
        pooled.append(real)
        grids.append(real if walk.is_fixed(name) else next(lifts).name)
    target = quantization_of(node, walk, QuantParams(y_scale, input_name(node, 7)))
    total = walk.build.node("Add", pooled)
    name = saturate(walk, walk.build.node("Add", grids), total, target, FLOAT)
    return quantized_result(node, walk, name, parents, target, clips=True, batch_axis=axis)


@rule("MatMulInteger")
def lift_matmul_integer(node: gs.Node, walk: Lifting) -> Lifted:
    """``(x - z) @ (W - z)`` in int32: the real product over both scales, which the graph multiplies in later."""
    weight, zero = node.inputs[1].name, input_name(node, 3)
    if not walk.is_fixed(weight) or len(walk.shape(weight)) != 2:
        raise walk.refuse("unknown-operator", node, "both of its matrices depend on the image, or one is no matrix")
    kernel = walk.build.node("Transpose", [without_zero_point(walk, weight, zero, axis=1)], perm=[1, 0])
    return _integer_dense(node, walk, kernel, walk.shape(weight)[1])


@rule("ConvInteger")
def lift_conv_integer(node: gs.Node, walk: Lifting) -> Lifted:
    """A 1x1 convolution of the pooled map in int32."""
    weight = node.inputs[1].name
    kernel_shape = walk.shape(weight)
    if math.prod(walk.shape(node.inputs[0].name)[2:]) != 1 or math.prod(kernel_shape[2:]) != 1:
        raise walk.no_rule(node)
    kernel = without_zero_point(walk, weight, input_name(node, 3), axis=0)
    return _integer_dense(node, walk, kernel, kernel_shape[0], group=int(node.attrs.get("group", 1)))


@rule("DynamicQuantizeMatMul", domain=_CONTRIB)
def lift_dynamic_quantize_matmul(node: gs.Node, walk: Lifting) -> Lifted:
    """A dense layer whose input is quantized by its own range and whose output is real."""
    lifted = walk.lift(node.inputs[0].name)
    weight = node.inputs[1].name
    real = dequantized(walk, weight, QuantParams(node.inputs[2].name, input_name(node, 3)), axis=1)
    rows = walk.shape(weight)[1]
    kernel = walk.build.node("Transpose", [real], perm=[1, 0])
    name = pointwise(walk, lifted, kernel, rows, input_name(node, 4))
    detail = f"dense {lifted.channels} → {rows} in integers, dynamically quantized"
    unknown = np.full(rows, np.inf)
    return walk.result(node, name, [lifted], "affine", detail, channels=rows, rounding=unknown)


def _integer_dense(node: gs.Node, walk: Lifting, kernel: str, rows: int, *, group: int = 1) -> Lifted:
    """A layer from integers to int32: the real input over its scale, times the integer weights."""
    lifted = walk.lift(node.inputs[0].name)
    quantization = lifted.quantization
    if quantization is None:
        raise walk.refuse("quantized-nonuniform", node, "it reads integers that were not quantized on the way")
    zero = input_name(node, 2)
    if quantization.dynamic:
        _require_own_zero(node, walk, quantization, zero)
    else:
        value = walk.value(zero) if zero else np.zeros(())
        if value is None or value.size != 1:
            raise walk.refuse("quantized-nonuniform", node, "the zero point of its input is not one fixed number")
        lifted = _rescaled(walk, lifted, quantization, quantization.step, float(value.reshape(-1)[0]))
    # The int32 product is in steps of the input's scale; the weights' scale comes in the Mul behind it.
    scale = quantization.scale if quantization.dynamic else walk.scalar(quantization.step, lifted.dtype)
    grid = pointwise(walk, lifted, kernel, rows, "", group=group)
    name = walk.build.node("Div", [grid, scale])
    detail = f"dense {lifted.channels} → {rows} in integers: a 1×1 convolution with the integer weights"
    return walk.result(
        node,
        name,
        [lifted],
        "affine",
        detail,
        channels=rows,
        batch_axis=lifted.batch_axis,
        dtype=lifted.dtype,
        rounding=np.full(rows, np.inf),
    )


def _dense(
    node: gs.Node,
    walk: Lifting,
    data: tuple[str, QuantParams],
    kernel: str,
    rows: int,
    bias: str,
    target: QuantParams | None,
    *,
    group: int = 1,
    values: np.ndarray | None = None,
) -> Lifted:
    """A quantized layer: the real layer on the grid, and where its range may clip, the gate of the pooled result."""
    name, params = data
    lifted = read_by(node, walk, walk.lift(name), params)
    weight = walk.build.reshape(kernel, [rows, lifted.channels // group, 1, 1])
    before = lifted.rounding
    if before is not None:
        lifted = replace(lifted, rounding=through_dense(lifted, values, transposed=True))
    grid = pointwise(walk, lifted, weight, rows, bias, group=group, shaped=True)
    detail = f"dense {lifted.channels} → {rows} in integers: a 1×1 convolution with the dequantized weights"
    if target is None:
        return walk.result(node, grid, [lifted], "affine", detail, channels=rows, dtype=FLOAT, rounding=lifted.rounding)
    quantization = quantization_of(node, walk, target)
    # The gate needs the layer's result before it was clipped, and the file holds it only afterwards.
    if walk.readout == "contribution":
        vector = walk.per_cell(dequantized(walk, name, params), lifted.shape, lifted.batch_axis, shape=lifted.shape)
        inputs = [vector, weight, *([bias] if bias else [])]
        vector = walk.build.node("Conv", inputs, group=group, kernel_shape=[1, 1])
    else:
        vector = grid
    grid = saturate(walk, grid, vector, quantization, FLOAT)
    return quantized_result(
        node, walk, grid, [lifted], quantization, clips=True, batch_axis=0, detail=detail, channels=rows
    )
