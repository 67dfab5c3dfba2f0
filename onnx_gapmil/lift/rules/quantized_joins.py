"""Pooled tensors of integers side by side, multiplied, and bent: ONNX Runtime's QLinearConcat, QLinearMul and kin.

A HardSwish is QLinearMul of a tensor and its hard sigmoid (MobileNetV3); a class token and a mean of patches are joined
by QLinearConcat. Each lifts as the operator on real numbers that it stands for, and what its range cuts off is a gate.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from onnx_gapmil.lift.broadcasting import aligned_batch, widened
from onnx_gapmil.lift.cellwise import pooled_value
from onnx_gapmil.lift.frozen import require_pooled
from onnx_gapmil.lift.joining import align
from onnx_gapmil.lift.quantization import (
    FLOAT,
    QuantParams,
    dequantized,
    input_name,
    quantization_of,
    quantized_result,
    saturate,
)
from onnx_gapmil.lift.rules.affine import side_by_side
from onnx_gapmil.lift.rules.gates import choose
from onnx_gapmil.lift.rules.quantized import read_by
from onnx_gapmil.lift.rules.reductions import softmax, softmax_axes
from onnx_gapmil.lift.rules.slopes import freeze
from onnx_gapmil.lift.table import rule
from onnx_gapmil.ort.cpu import evaluate

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifted import Lifted
    from onnx_gapmil.lift.lifting import Lifting


@rule("QLinearConcat", domain="com.microsoft")
def lift_q_concat(node: gs.Node, walk: Lifting) -> Lifted:
    """Each operand by its own scale, and all of them rounded by one."""
    operands = [
        (node.inputs[place].name, QuantParams(node.inputs[place + 1].name, input_name(node, place + 2)))
        for place in range(2, len(node.inputs), 3)
    ]
    parts = align(node, walk, [read_by(node, walk, walk.lift(name), params) for name, params in operands])
    join = side_by_side(node, walk, parts, int(node.attrs["axis"]))
    target = quantization_of(node, walk, QuantParams(node.inputs[0].name, input_name(node, 1)))
    ranges = [quantization_of(node, walk, params, tensor=name) for name, params in operands]
    clips = any(not (target.low <= own.low and own.high <= target.high) for own in ranges)
    name = join.laid(walk, [part.name for part in join.parts])
    if clips:
        real = [
            walk.per_cell(dequantized(walk, tensor, params), part.shape, part.batch_axis, shape=part.shape)
            for part, (tensor, params) in zip(join.parts, operands, strict=True)
        ]
        name = saturate(walk, name, join.laid(walk, real), target, FLOAT)
    made = quantized_result(node, walk, name, list(join.parts), target, clips=clips, batch_axis=join.batch_axis)
    return replace(made, rounding=join.rounding + target.step / 2)


@rule("QLinearMul", domain="com.microsoft")
def lift_q_mul(node: gs.Node, walk: Lifting) -> Lifted:
    """Times a fixed tensor, or times a gate that stays at its pooled value; of two that are alike each in turn."""
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale = (tensor.name for tensor in node.inputs[:7])
    params = {a: QuantParams(a_scale, a_zero), b: QuantParams(b_scale, b_zero)}
    out, build = walk.shape(walk.output), walk.build
    fixed = [name for name in (a, b) if walk.is_fixed(name)]
    if fixed:
        pairs = [(b if a in fixed else a, fixed[0])]
    else:
        kept, frozen, alike = choose(node, walk, a, b)
        pairs = [(kept, frozen), (frozen, kept)] if alike and a != b else [(kept, frozen)]
    parents = align(node, walk, [read_by(node, walk, walk.lift(kept), params[kept]) for kept, _ in pairs])
    lifts = [widened(node, walk, part, out) for part in parents]
    axis, count = aligned_batch(lifts[0], out), math.prod(out) // lifts[0].batch
    if any(aligned_batch(part, out) != axis or part.channels != count for part in lifts):
        raise walk.refuse("unknown-operator", node, "its two operands do not match")
    real = {
        name: walk.per_cell(dequantized(walk, name, params[name]), out, axis, shape=walk.shape(name)) for name in params
    }
    terms = []
    for lifted, (_, frozen) in zip(lifts, pairs, strict=True):
        if not fixed:
            require_pooled(node, walk, lifted, frozen, "gate")
        factor = real[frozen]
        if walk.readout == "instance" and not fixed:
            factor = widened(node, walk, read_by(node, walk, walk.lift(frozen), params[frozen]), out).name
        terms.append(build.node("Mul", [lifted.name, factor]))
    name = terms[0] if len(terms) == 1 else build.node("Mean", terms)
    target = quantization_of(node, walk, QuantParams(y_scale, input_name(node, 7)))
    name = saturate(walk, name, build.node("Mul", [real[a], real[b]]), target, FLOAT)
    detail = "by a fixed factor" if fixed else "gate kept at its pooled value"
    made = quantized_result(node, walk, name, parents, target, clips=True, batch_axis=axis, detail=detail)
    return replace(made, rounding=np.full(count, np.inf))


@rule("QLinearLeakyRelu", "QLinearSigmoid", domain="com.microsoft")
def lift_q_activation(node: gs.Node, walk: Lifting) -> Lifted:
    """An activation of the real numbers, its slope frozen at the pooled value."""
    data, params = node.inputs[0].name, QuantParams(node.inputs[1].name, input_name(node, 2))
    lifted = read_by(node, walk, walk.lift(data), params)
    operator, build = str(node.op).removeprefix("QLinear"), walk.build
    attrs: dict[str, Any] = {"alpha": float(node.attrs.get("alpha", 0.01))} if operator == "LeakyRelu" else {}
    alone = onnx.helper.make_node(operator, ["x"], ["y"], **attrs)

    def function(values: np.ndarray) -> np.ndarray:
        return evaluate([alone], {"x": values}, ["y"], walk.graph.proto.opset_import)[0]

    target = quantization_of(node, walk, QuantParams(node.inputs[3].name, input_name(node, 4)))
    if walk.readout == "instance":
        name = saturate(walk, build.node(operator, [lifted.name], **attrs), "", target, FLOAT)
    else:
        real = dequantized(walk, data, params)
        bent = build.node(operator, [real], **attrs)
        value = walk.per_cell(bent, lifted.shape, lifted.batch_axis, shape=lifted.shape)
        name = saturate(walk, freeze(node, walk, lifted, real, bent, function), value, target, FLOAT)
    detail = f"{operator}, its slope frozen at the pooled value"
    made = quantized_result(node, walk, name, [lifted], target, clips=True, batch_axis=lifted.batch_axis, detail=detail)
    return replace(made, rounding=np.full(lifted.channels, np.inf))


@rule("QLinearSoftmax", domain="com.microsoft")
def lift_q_softmax(node: gs.Node, walk: Lifting) -> Lifted:
    """A softmax of the real numbers within a head, by its slopes at the pooled value."""
    params = QuantParams(node.inputs[1].name, input_name(node, 2))
    lifted = read_by(node, walk, walk.lift(node.inputs[0].name), params)
    target = quantization_of(node, walk, QuantParams(node.inputs[3].name, input_name(node, 4)))
    name = softmax(node, walk, lifted, softmax_axes(node, walk, lifted.shape))
    value = "" if walk.readout == "instance" else pooled_value(walk, replace(lifted, name=name))
    name = saturate(walk, name, value, target, FLOAT)
    detail = "softmax, by its slopes at the pooled value"
    made = quantized_result(node, walk, name, [lifted], target, clips=True, batch_axis=lifted.batch_axis, detail=detail)
    return replace(made, rounding=np.full(lifted.channels, np.inf))
