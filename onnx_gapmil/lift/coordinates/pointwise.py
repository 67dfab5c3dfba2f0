"""Operators that work element by element, or along an axis without moving it: they keep places, and join those of
several operands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.coordinates.fields import DECIDED, MIXED, NONE, Field, compact, is_number
from onnx_gapmil.lift.coordinates.looks import (
    Looks,
    View,
    conflicts_of,
    joined,
    look_the_same,
    seen_nowhere,
    stated,
    values_of,
)

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.coordinates.scene import Rule, Scene

#: One tensor comes in, its like goes out; further inputs are parameters, further outputs are statistics.
_KEEPING = """
    Abs Acos Acosh Asin Asinh Atan Atanh BatchNormalization Bernoulli BitShift BitwiseNot Cast CastLike Ceil Celu Clip
    Cos Cosh DequantizeLinear Dropout DynamicQuantizeLinear Elu Erf Exp EyeLike Floor Gelu GroupNorm
    GroupNormalization HardSigmoid HardSwish Hardmax IsInf IsNaN LRN LayerNormalization LeakyRelu Log LogSoftmax
    LpNormalization MeanVarianceNormalization Mish Neg Not QuantizeLinear RMSNormalization Reciprocal Relu Round Selu
    Shrink Sigmoid Sign SimplifiedLayerNormalization Sin Sinh Softmax Softplus Softsign Sqrt Swish Tan Tanh
    ThresholdedRelu Trilu InstanceNormalization RotaryEmbedding
    ImageScaler QuickGelu QLinearLeakyRelu QLinearSigmoid QLinearSoftmax
"""
#: Several tensors of one kind come in and broadcast.
_JOINING = """
    Add And BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod Mul Or
    PRelu Pow Sub Sum Xor
    BiasAdd BiasGelu BiasSplitGelu FastGelu QLinearAdd QLinearMul
    SkipGroupNorm SkipLayerNormalization SkipSimplifiedLayerNormalization
"""


def _kept(node: gs.Node, parts: list[Looks], scene: Scene) -> list[Looks]:
    found = [Looks(scene.shape(node.outputs[0].name) or parts[0].shape, parts[0].views, parts[0].why)]
    for tensor in node.outputs[1:]:
        # A mask or a scale, which says nothing about one place.
        found.append(stated(parts[:1], scene.shape(tensor.name) or (), NONE, ""))
    return found


def _accumulated(node: gs.Node, parts: list[Looks], scene: Scene) -> list[Looks]:
    """A running sum along an axis of places: each holds all that lie before it."""
    along = scene.numbers(node, "axis", 1)

    def accumulate(found: Field) -> Field:
        rank = found.values.ndim
        axes = range(rank) if along is None else [axis % rank for axis in along]
        if not any(found.varies(axis) for axis in axes):
            return found
        return Field(compact(np.where(is_number(found.values), MIXED, found.values)), found.step)

    return [parts[0].mapped(scene.out_shape(node), accumulate)]


def _joined(node: gs.Node, parts: list[Looks], scene: Scene) -> list[Looks]:
    why = f"{node.op} '{node.name}' joins places that differ"
    after = scene.out_shape(node)
    found = [joined(_ungated(parts, after) if node.op == "Mul" else parts, after, why)]
    # The sum beside its norm, as SkipLayerNormalization gives it, is the last output.
    for tensor in node.outputs[1:]:
        shape = scene.shape(tensor.name)
        found.append(found[0] if shape == after else seen_nowhere(shape or ()))
    return found


def _ungated(parts: list[Looks], after: tuple[int, ...]) -> list[Looks]:
    """Factors without a gate of one number a cell, where it looks elsewhere than the map that it is multiplied with.

    Such a spatial attention (CSATv2's, of a coarser map) weighs what a cell holds, as squeeze-and-excite does, and
    brings nothing of its own places; stripes of the image say whether it weighs too much.
    """
    for gate, data in (parts, parts[::-1]) if len(parts) == 2 else ():
        wide = [axis for axis, dim in enumerate(after) if gate.rank == len(after) and gate.shape[axis] != dim]
        fields = [field for view in data.views for field in view.values()]
        own = len(wide) == 1 and data.shape == after and fields and not any(field.varies(wide[0]) for field in fields)
        if own and conflicts_of(joined(parts, after)) - conflicts_of(data):
            return [data]
    return parts


def _chosen(node: gs.Node, parts: list[Looks], scene: Scene) -> list[Looks]:
    """Where: with a fixed condition each element is of one operand, as in a mosaic."""
    after = scene.out_shape(node)
    condition = scene.input_value(node, 0) if scene.is_fixed(node.inputs[0].name) else None
    # An attention's scores look at pairs of places: one that is masked is weighed by 0, and is no part of a mosaic.
    if condition is None or any(len(part.views) > 1 for part in parts[1:3]):
        return _joined(node, parts, scene)
    one, two = (joined([part], after) for part in parts[1:3])
    # One answer for all elements, and by a size: an If that is spelled as arithmetic.
    if condition.all() == condition.any() and scene.size_decides(node.inputs[0].name) and not look_the_same(one, two):
        why = f"{node.op} '{node.name}' takes another operand at another size of the input, which the file leaves open"
        return [stated(parts, after, DECIDED, why)]
    view: View = {}
    for key in {*one.views[0], *two.views[0]}:
        fields = [values_of(part.views[0], key, len(after)) for part in (one, two)]
        step = max((found.step for found in fields if found.has_numbers), default=1.0)
        view[key] = Field(compact(np.where(condition, fields[0].values, fields[1].values)), step)
    return [Looks(after, (view,), one.why or two.why)]


RULES: dict[str, Rule] = {
    **dict.fromkeys(_KEEPING.split(), _kept),
    "CumProd": _accumulated,
    "CumSum": _accumulated,
    **dict.fromkeys(_JOINING.split(), _joined),
    "Where": _chosen,
}
