"""Rows of tensors of integers: the real numbers that they stand for, rounded as the vendor rounds them.

No row holds integers: where the vendor quantizes, the program has one operator that rounds and clips.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.lifted import elem_type
from onnx_gapmil.lift.quantization import FLOAT, QuantParams, input_name
from onnx_gapmil.lift.tokens.moving import MOVERS
from onnx_gapmil.lift.tokens.pointwise import part_of
from onnx_gapmil.lift.tokens.program import DOMAIN, ROUND, Rounded

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.tokens.boxes import Box
    from onnx_gapmil.lift.tokens.unrolling import Making, Unrolling

_DYNAMIC = "DynamicQuantizeLinear"
#: Operators that make integers: at which of their inputs the scale of what they make stands, the zero point behind it.
SCALE_AT = {
    "QGemm": 7,
    "QLinearAdd": 6,
    "QLinearConcat": 0,
    "QLinearLeakyRelu": 3,
    "QLinearMatMul": 6,
    "QLinearMul": 6,
    "QLinearSigmoid": 3,
    "QLinearSoftmax": 3,
    "QuantizeLinear": 1,
}
#: Operators that only lay elements out anew.
_LAYING = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})


@dataclass(frozen=True)
class Scale:
    """How integers stand for real numbers.

    Attributes:
        names: the vendor's tensors.
        step: tensor of the program.
        zero: another, a float.
        kind: the integers' type.
        fixed: step and zero point as numbers; None where they are found at run time.
    """

    names: QuantParams
    step: str
    zero: str
    kind: np.dtype
    fixed: tuple[float, float] | None


def quantize(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """``clip(round(t / s) + z)``, of which the row is the real number ``(q - z) s``."""
    scale = scale_by(own, node)
    if tensor != node.outputs[0].name:  # of DynamicQuantizeLinear
        return scale.step if tensor == scale.names.scale else scale.zero
    return rounded(own, node, (yield node.inputs[0].name, box), scale)


def rounded(own: Unrolling, node: gs.Node, row: str, scale: Scale) -> str:
    """A row of real numbers, rounded to those that integers of a scale stand for."""
    program, limits = own.program, np.iinfo(scale.kind)
    if program.is_rounded(row, scale.fixed):  # a pair on each side of a Reshape
        return row
    made = program.node(
        ROUND,
        [row, scale.step, scale.zero],
        own.shape(row),
        own.dtype(row),
        frozen=own.is_frozen(row),
        domain=DOMAIN,
        name=node.name or "",
    )
    program.rounded[made] = Rounded(row, scale.step, scale.zero, (limits.min, limits.max), scale.fixed)
    if own.is_same_for_all(row) and scale.fixed is not None:
        program.fixed.add(made)
    return made


def dequantize(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """The real numbers that its integers stand for already."""
    del tensor
    data = node.inputs[0].name
    scale = scale_of(own, node, data)
    require_same(own, node, scale, scale.names.scale, node.inputs[1].name)
    require_same(own, node, scale, scale.names.zero_point, input_name(node, 2))
    return (yield data, box)


def multiply_integers(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """``MatMulInteger``: the real product over the scale of the tokens, which the graph multiplies in later."""
    del tensor
    data, matrix = (read.name for read in node.inputs[:2])
    if not own.walk.is_fixed(matrix) or len(own.walk.shape(matrix)) != 2:
        raise own.refuse(node, "both of its matrices depend on the image, or one is no matrix")
    scale, program = scale_of(own, node, data), own.program
    require_same(own, node, scale, scale.names.zero_point, input_name(node, 2))
    width = own.walk.shape(matrix)[0]
    whole = box.grown(-1)
    row = yield data, whole.replaced(-1, width, tuple(range(width)))
    weight, size, kept = centred(own, matrix, input_name(node, 3)), own.size(whole), own.is_frozen(row)
    product = program.node("MatMul", [row, weight], size, FLOAT, frozen=kept, name=node.name or "")
    made = program.node("Div", [product, scale.step], size, FLOAT, frozen=kept, name=node.name or "")
    return part_of(own, node, made, box, whole)


def scale_of(own: Unrolling, node: gs.Node, tensor: str) -> Scale:
    """Of a tensor of integers, by what made it, over operators that move elements.

    Raises:
        HeadRefused: nothing on its way quantized it, or with several scales.
    """
    maker = _maker(own, tensor)
    if maker is None or maker.op not in (*SCALE_AT, _DYNAMIC):
        made = f"by {own.walk.describe(maker)}" if maker is not None else "outside of the graph"
        raise own.refuse(node, f"its integers are made {made}, whose scale is not known")
    return scale_by(own, maker)


def _maker(own: Unrolling, tensor: str) -> gs.Node | None:
    maker = own.walk.graph.producer(tensor)
    while maker is not None and maker.op in (*MOVERS, "Identity"):
        maker = own.walk.graph.producer(maker.inputs[0].name)
    return maker


def is_of_integers(own: Unrolling, tensor: str) -> bool:
    """Whether a tensor that depends on the image holds integers, made by an operator on integers or quantized."""
    maker = _maker(own, tensor)
    if maker is None or maker.op not in (*SCALE_AT, _DYNAMIC):
        return False
    return maker.op != "QGemm" or len(maker.inputs) > SCALE_AT["QGemm"]


def scale_by(own: Unrolling, node: gs.Node) -> Scale:
    """What a node quantizes with."""
    if own.walk.graph.opset < 11:
        raise own.refuse(node, "operator set 11 is the first that can round")
    if node.op == _DYNAMIC:
        names = QuantParams(node.outputs[1].name, node.outputs[2].name)
        return Scale(names, *_range(own, node), np.dtype(np.uint8), None)
    place = SCALE_AT[node.op]
    names = QuantParams(input_name(node, place), input_name(node, place + 1))
    step = own.walk.value(names.scale)
    zero = own.walk.value(names.zero_point) if names.zero_point else np.zeros(1)
    if step is None or zero is None or step.size != 1 or zero.size != 1:
        raise own.refuse(node, "its scale is not one fixed number for all tokens and channels")
    # Of ONNX Runtime's own operators no inference tells the type.
    told = own.walk.trace.dtypes.get(node.outputs[0].name, np.dtype(np.uint8))
    kind = zero.dtype if names.zero_point else told
    if kind.kind not in "iu":
        raise own.refuse(node, f"it quantizes to {kind}, which is not uniform")
    fixed = float(step.reshape(-1)[0]), float(zero.reshape(-1)[0])
    dtype = own.dtype(node.inputs[0].name) if node.op == "QuantizeLinear" else FLOAT
    one, point = (own.program.constant(np.asarray(number, dtype)) for number in fixed)
    return Scale(names, one, point, kind, fixed)


def _range(own: Unrolling, node: gs.Node) -> tuple[str, str]:
    """Scale and zero point by the range of all tokens of all images, as the operator defines them.

    The vendor's own scale is not read: the runtime fuses the operator with what stands behind it, and with another
    reader it does not.
    """
    program, data = own.program, node.inputs[0].name
    known = program.ranges.get(data)
    if known is not None:
        return known
    maker, source = own.walk.graph.producer(data), data
    while maker is not None and maker.op in _LAYING:
        source = maker.inputs[0].name
        maker = own.walk.graph.producer(source)

    def made(op: str, *inputs: str, keepdims: int | None = None) -> str:
        return program.node(op, list(inputs), (), FLOAT, frozen=True, keepdims=keepdims)

    # A tensor of zeros has the range 0.
    nought, steps, tiny = (program.constant(np.asarray(each, FLOAT)) for each in (0, 255, np.finfo(FLOAT).tiny))
    low = made("Min", made("ReduceMin", source, keepdims=0), nought)
    high = made("Max", made("ReduceMax", source, keepdims=0), nought)
    step = made("Max", made("Div", made("Sub", high, low), steps), tiny)
    zero = made("Round", made("Div", made("Neg", low), step))
    program.ranges[data] = step, zero
    return step, zero


def require_same(own: Unrolling, node: gs.Node, scale: Scale, one: str, other: str) -> None:
    """Refuse integers that are read by another scale or zero point than they were made with; "" is 0."""
    values = [own.walk.value(name) if name else np.zeros(1) for name in (one, other)]
    same = scale.fixed is not None and all(value is not None and value.size == 1 for value in values)
    numbers = [float(value.reshape(-1)[0]) for value in values if value is not None] if same else []
    if one != other and (len(numbers) != 2 or numbers[0] != numbers[1]):
        raise own.refuse(node, "its scale or zero point is not the one that its integers were made with")


def real_of_integers(own: Unrolling, node: gs.Node, tensor: str, name: str) -> str:
    """What elements of a vendor's tensor of integers stand for.

    Args:
        own: the unrolling.
        node: whose operand they are.
        tensor: the vendor's.
        name: a new tensor of some of its elements.
    """
    scale, program, shape = scale_of(own, node, tensor), own.program, own.shape(name)
    program.integers[tensor] = scale.step, scale.zero
    made = program.node("Cast", [name], shape, FLOAT, frozen=True, to=elem_type(FLOAT))
    made = program.node("Sub", [made, scale.zero], shape, FLOAT, frozen=True)
    return program.node("Mul", [made, scale.step], shape, FLOAT, frozen=True)


def centred(own: Unrolling, matrix: str, zero: str) -> str:
    """``W - z`` of fixed integers (C, K), float32; z one number, or one for each column."""
    program, shape = own.program, own.walk.shape(matrix)

    def cast(tensor: str) -> str:
        return program.node("Cast", [tensor], own.walk.shape(tensor), FLOAT, frozen=True, to=elem_type(FLOAT))

    made = cast(matrix)
    if zero:
        made = program.node("Sub", [made, cast(zero)], shape, FLOAT, frozen=True)
    program.fixed.add(made)
    return made
