"""Pooled tensors of integers side by side: ONNX Runtime's QLinearConcat, as of a class token and a mean of patches."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

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
from onnx_gapmil.lift.rules.quantized import read_by
from onnx_gapmil.lift.table import rule

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
