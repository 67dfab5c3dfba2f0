"""Fully connected heads in integers on a flattened map: AlexNet, VGG and LeNet in the form of QLinear operators."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.cellwise import pooled_value
from onnx_gapmil.lift.quantization import FLOAT, QuantParams, dequantized, quantization_of, rounding_phrase, saturate
from onnx_gapmil.lift.rules.flattened import lift_flattened_dense

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifted import Lifted
    from onnx_gapmil.lift.lifting import Lifting


@dataclass(frozen=True)
class Weights:
    """The weights of a layer in integers.

    Attributes:
        integers: they, (F, K) or (K, F).
        real: what they stand for.
        bias: what its bias stands for, (K,); "" for none.
        transposed: the weights are (K, F).
    """

    integers: str
    real: str
    bias: str = ""
    transposed: bool = False


def lift_flattened_integers(
    node: gs.Node, walk: Lifting, data: str, source: QuantParams, weights: Weights, target: QuantParams | None
) -> Lifted:
    """A dense layer in integers on a flattened map: that of the real numbers, and where its range may clip, a gate.

    Args:
        node: the layer.
        walk: the walk.
        data: the vector of integers (N, F) that it reads.
        source: what these stand for.
        weights: its weights.
        target: what its own integers stand for; None where it gives real numbers.
    """
    lifted = lift_flattened_dense(
        node,
        walk,
        data,
        weights.integers,
        "",
        transposed=weights.transposed,
        real=weights.real,
        dequantize=lambda name: dequantized(walk, name, source),
    )
    name, rows = lifted.name, lifted.channels
    if weights.bias:
        name = walk.build.node("Add", [name, walk.build.reshape(weights.bias, [1, -1, 1, 1])])
    # The map is integers as the trunk left it: what the head rounds begins with the layer's own result.
    if target is None:
        return replace(lifted, name=name, rounding=np.zeros(rows))
    quantization = quantization_of(node, walk, target)
    name = saturate(walk, name, pooled_value(walk, replace(lifted, name=name)), quantization, FLOAT)
    detail = f"{lifted.step.detail}; {rounding_phrase(quantization, clips=True)}"
    step = replace(lifted.step, conditional=True, detail=detail)
    rounding = np.full(rows, quantization.step / 2)
    return replace(lifted, name=name, conditional=True, step=step, quantization=quantization, rounding=rounding)
