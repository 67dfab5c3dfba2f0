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
#: Operators that only lay elements out anew.
_LAYING = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})


@dataclass(frozen=True)
class _Scale:
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
    scale = _scale(own, node)
    if tensor != node.outputs[0].name:  # of DynamicQuantizeLinear
        return scale.step if tensor == scale.names.scale else scale.zero
    row = yield node.inputs[0].name, box
    program, limits = own.program, np.iinfo(scale.kind)
    if program.is_rounded(row, scale.fixed):  # a pair on each side of a Reshape
        return row
    made = program.node(
        ROUND,
        [row, scale.step, scale.zero],
        own.size(box),
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
    scale = _scale_of(own, node, data)
    _require_same(own, node, scale, scale.names.scale, node.inputs[1].name)
    _require_same(own, node, scale, scale.names.zero_point, input_name(node, 2))
    return (yield data, box)


def multiply_integers(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """``MatMulInteger``: the real product over the scale of the tokens, which the graph multiplies in later."""
    del tensor
    data, matrix = (read.name for read in node.inputs[:2])
    if not own.walk.is_fixed(matrix) or len(own.walk.shape(matrix)) != 2:
        raise own.refuse(node, "both of its matrices depend on the image, or one is no matrix")
    scale, program = _scale_of(own, node, data), own.program
    _require_same(own, node, scale, scale.names.zero_point, input_name(node, 2))
    width = own.walk.shape(matrix)[0]
    whole = box.grown(-1)
    row = yield data, whole.replaced(-1, width, tuple(range(width)))
    weight, size, kept = _centred(own, matrix, input_name(node, 3)), own.size(whole), own.is_frozen(row)
    product = program.node("MatMul", [row, weight], size, FLOAT, frozen=kept, name=node.name or "")
    made = program.node("Div", [product, scale.step], size, FLOAT, frozen=kept, name=node.name or "")
    return part_of(own, node, made, box, whole)


def _scale_of(own: Unrolling, node: gs.Node, tensor: str) -> _Scale:
    """Of a tensor of integers, by what made it, over operators that move elements.

    Raises:
        HeadRefused: nothing on its way quantized it, or with several scales.
    """
    maker = own.walk.graph.producer(tensor)
    while maker is not None and maker.op in (*MOVERS, "Identity"):
        maker = own.walk.graph.producer(maker.inputs[0].name)
    if maker is None or maker.op not in ("QuantizeLinear", _DYNAMIC):
        made = f"by {own.walk.describe(maker)}" if maker is not None else "outside of the graph"
        raise own.refuse(node, f"its integers are made {made}, and not by a QuantizeLinear of real numbers")
    return _scale(own, maker)


def _scale(own: Unrolling, node: gs.Node) -> _Scale:
    """What a node quantizes with."""
    if own.walk.graph.opset < 11:
        raise own.refuse(node, "operator set 11 is the first that can round")
    if node.op == _DYNAMIC:
        names = QuantParams(node.outputs[1].name, node.outputs[2].name)
        return _Scale(names, *_range(own, node), np.dtype(np.uint8), None)
    names = QuantParams(node.inputs[1].name, input_name(node, 2))
    step = own.walk.value(names.scale)
    zero = own.walk.value(names.zero_point) if names.zero_point else np.zeros(1)
    if step is None or zero is None or step.size != 1 or zero.size != 1:
        raise own.refuse(node, "its scale is not one fixed number for all tokens and channels")
    kind = own.walk.trace.dtypes.get(node.outputs[0].name, zero.dtype if names.zero_point else np.dtype(np.uint8))
    if kind.kind not in "iu":
        raise own.refuse(node, f"it quantizes to {kind}, which is not uniform")
    fixed = float(step.reshape(-1)[0]), float(zero.reshape(-1)[0])
    dtype = own.dtype(node.inputs[0].name)
    one, point = (own.program.constant(np.asarray(number, dtype)) for number in fixed)
    return _Scale(names, one, point, kind, fixed)


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


def _require_same(own: Unrolling, node: gs.Node, scale: _Scale, one: str, other: str) -> None:
    """Refuse integers that are read by another scale or zero point than they were made with; "" is 0."""
    values = [own.walk.value(name) if name else np.zeros(1) for name in (one, other)]
    same = scale.fixed is not None and all(value is not None and value.size == 1 for value in values)
    numbers = [float(value.reshape(-1)[0]) for value in values if value is not None] if same else []
    if one != other and (len(numbers) != 2 or numbers[0] != numbers[1]):
        raise own.refuse(node, "its scale or zero point is not the one that its integers were made with")


def _centred(own: Unrolling, matrix: str, zero: str) -> str:
    """``W - z`` of fixed integers (C, K), float32; z one number, or one for each column."""
    program, shape = own.program, own.walk.shape(matrix)

    def cast(tensor: str) -> str:
        return program.node("Cast", [tensor], own.walk.shape(tensor), FLOAT, frozen=True, to=elem_type(FLOAT))

    made = cast(matrix)
    if zero:
        made = program.node("Sub", [made, cast(zero)], shape, FLOAT, frozen=True)
    program.fixed.add(made)
    return made
