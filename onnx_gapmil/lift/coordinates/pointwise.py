"""Operators that work element by element, or along an axis without moving it: they keep places, and join those of
several operands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_gapmil.lift.coordinates.fields import NONE
from onnx_gapmil.lift.coordinates.looks import Looks, joined, seen_nowhere, stated

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.coordinates.scene import Rule, Scene

#: One tensor comes in, its like goes out; further inputs are parameters, further outputs are statistics.
_KEEPING = """
    Abs Acos Acosh Asin Asinh Atan Atanh BatchNormalization Bernoulli BitShift BitwiseNot Cast CastLike Ceil Celu Clip
    Cos Cosh CumProd CumSum DequantizeLinear Dropout DynamicQuantizeLinear Elu Erf Exp EyeLike Floor Gelu GroupNorm
    GroupNormalization HardSigmoid HardSwish Hardmax IsInf IsNaN LRN LayerNormalization LeakyRelu Log LogSoftmax
    LpNormalization MeanVarianceNormalization Mish Neg Not QuantizeLinear RMSNormalization Reciprocal Relu Round Selu
    Shrink Sigmoid Sign SimplifiedLayerNormalization Sin Sinh Softmax Softplus Softsign Sqrt Swish Tan Tanh
    ThresholdedRelu Trilu InstanceNormalization RotaryEmbedding
    ImageScaler QuickGelu QLinearLeakyRelu QLinearSigmoid QLinearSoftmax
"""
#: Several tensors of one kind come in and broadcast.
_JOINING = """
    Add And BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod Mul Or
    PRelu Pow Sub Sum Where Xor
    BiasAdd BiasGelu BiasSplitGelu FastGelu QLinearAdd QLinearMul
    SkipGroupNorm SkipLayerNormalization SkipSimplifiedLayerNormalization
"""


def _kept(node: gs.Node, parts: list[Looks], scene: Scene) -> list[Looks]:
    found = [Looks(scene.shape(node.outputs[0].name) or parts[0].shape, parts[0].views, parts[0].why)]
    for tensor in node.outputs[1:]:
        # A mask or a scale, which says nothing about one place.
        found.append(stated(parts[:1], scene.shape(tensor.name) or (), NONE, ""))
    return found


def _joined(node: gs.Node, parts: list[Looks], scene: Scene) -> list[Looks]:
    why = f"{node.op} '{node.name}' joins places that differ"
    after = scene.out_shape(node)
    found = [joined(parts, after, why)]
    # The sum beside its norm, as SkipLayerNormalization gives it, is the last output.
    for tensor in node.outputs[1:]:
        shape = scene.shape(tensor.name)
        found.append(found[0] if shape == after else seen_nowhere(shape or ()))
    return found


RULES: dict[str, Rule] = {**dict.fromkeys(_KEEPING.split(), _kept), **dict.fromkeys(_JOINING.split(), _joined)}
