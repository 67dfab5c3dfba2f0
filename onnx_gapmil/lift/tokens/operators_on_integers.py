"""Rows of ONNX Runtime's operators on integers: the real operator on what its integers stand for, and then rounded.

That is what static quantization makes with ``QuantFormat.QOperator``, and what an optimized file holds.
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from onnx_gapmil.lift.lifted import elem_type
from onnx_gapmil.lift.quantization import FLOAT, QuantParams, input_name
from onnx_gapmil.lift.tokens.contracting import attention_of
from onnx_gapmil.lift.tokens.integers import SCALE_AT, require_same, rounded, scale_by, scale_of
from onnx_gapmil.lift.tokens.pointwise import bends, part_of
from onnx_gapmil.lift.tokens.products import product_of_matrices

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.tokens.boxes import Box
    from onnx_gapmil.lift.tokens.unrolling import Handler, Making, Unrolling

_RUNTIME = "com.microsoft"
_REAL = {"QLinearAdd": "Add", "QLinearLeakyRelu": "LeakyRelu", "QLinearMul": "Mul", "QLinearSigmoid": "Sigmoid"}


def elementwise(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """Sums, products and functions of one operand."""
    places = (0, 3) if node.op in ("QLinearAdd", "QLinearMul") else (0,)
    rows = []
    for place in places:
        rows.append((yield from _operand(own, node, place, box.narrowed(own.walk.shape(node.inputs[place].name)))))
    op = _REAL[node.op]
    attrs = {"alpha": float(node.attrs.get("alpha", 0.01))} if op == "LeakyRelu" else {}
    made = _made(own, node, op, rows, own.size(box), stops=bends(own, op, rows), **attrs)
    return _written(own, node, tensor, made)


def softmax(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """Softmax over an axis that is there as a whole; it says itself by which operator set."""
    rank = len(box.shape)
    axis = int(node.attrs.get("axis", -1)) % rank
    if int(node.attrs.get("opset", own.walk.graph.opset)) < 13 and axis != rank - 1:
        raise own.refuse(node, "it works on several axes at once")
    whole = box.grown(axis)
    row = yield from _operand(own, node, 0, whole)
    made = _made(own, node, "Softmax", [row], own.size(whole), stops=True, axis=axis)
    return part_of(own, node, _written(own, node, tensor, made), box, whole)


def join(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """Of the operand that a token comes from, or of all of them side by side."""
    axis = int(node.attrs["axis"]) % len(box.shape)
    kept, parts, start = np.asarray(box.kept[axis]), list[str](), 0
    for place in range(2, len(node.inputs), 3):
        extent = own.walk.shape(node.inputs[place].name)[axis]
        inside = kept[(kept >= start) & (kept < start + extent)] - start
        if inside.size:
            parts.append((yield from _operand(own, node, place, box.replaced(axis, extent, tuple(inside.tolist())))))
        start += extent
    made = parts[0] if len(parts) == 1 else _made(own, node, "Concat", parts, own.size(box), axis=axis)
    return _written(own, node, tensor, made)


def multiply(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """``QLinearMatMul``: by a fixed matrix a dense layer, of two that depend on the image an attention."""
    data, other = node.inputs[0].name, node.inputs[3].name
    if not own.walk.is_fixed(data) and not own.walk.is_fixed(other):
        for place in (0, 3):
            _require_own(own, node, place)
        return _written(own, node, tensor, (yield from attention_of(own, node, box, product_of_matrices(own, node, 3))))
    shape = own.walk.shape(other)
    if own.walk.is_fixed(data) or len(shape) != 2:
        raise own.refuse(node, "its matrix is another for each token or head")
    whole = box.grown(-1)
    row = yield from _operand(own, node, 0, whole.replaced(-1, shape[0], tuple(range(shape[0]))))
    matrix = _dequantized(own, other, QuantParams(node.inputs[4].name, input_name(node, 5)), axis=1)
    made = _made(own, node, "MatMul", [row, matrix], own.size(whole))
    return part_of(own, node, _written(own, node, tensor, made), box, whole)


def gemm(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """``QGemm`` on tokens that were folded into the batch, or on the token alone; real without a scale of its own."""
    matrix, bias = node.inputs[3].name, input_name(node, 6)
    alone = not node.attrs.get("transA", 0) and float(node.attrs.get("alpha", 1.0)) == 1.0
    if not alone or not own.walk.is_fixed(matrix) or (bias and not own.walk.is_fixed(bias)):
        raise own.refuse(node, "it turns or scales what it reads, or its matrix depends on the image")
    turned = bool(node.attrs.get("transB", 0))
    whole, width = box.grown(1), own.walk.shape(node.inputs[0].name)[1]
    row = yield from _operand(own, node, 0, whole.replaced(1, width, tuple(range(width))))
    params = QuantParams(node.inputs[4].name, input_name(node, 5))
    weight = _dequantized(own, matrix, params, axis=0 if turned else 1)
    if turned:
        weight = _fixed(own, "Transpose", [weight], own.shape(weight)[::-1], perm=[1, 0])
    made = _made(own, node, "MatMul", [row, weight], own.size(whole))
    if bias:
        shape = own.walk.shape(bias)
        scale = _fixed(own, "Mul", [node.inputs[1].name, node.inputs[4].name], own.walk.shape(node.inputs[4].name))
        real = _fixed(own, "Mul", [_fixed(own, "Cast", [bias], shape, to=elem_type(FLOAT)), scale], shape)
        made = _made(own, node, "Add", [made, real], own.size(whole))
    if input_name(node, SCALE_AT[node.op]):
        made = _written(own, node, tensor, made)
    return part_of(own, node, made, box, whole)


def _operand(own: Unrolling, node: gs.Node, place: int, box: Box) -> Generator[tuple[str, Box], str, str]:
    """The row of an operand, in real numbers: scale and zero point stand behind it."""
    name, params = node.inputs[place].name, QuantParams(node.inputs[place + 1].name, input_name(node, place + 2))
    if own.walk.is_fixed(name):
        if own.walk.trace.shapes.get(params.scale, ()) not in ((), (1,)):
            raise own.refuse(node, "a fixed operand has a scale for each channel")
        return _dequantized(own, own.fixed(name, box), params, axis=0)
    _require_own(own, node, place)
    return (yield name, box)


def _require_own(own: Unrolling, node: gs.Node, place: int) -> None:
    """Refuse integers that are read by another scale than they were made with."""
    scale = scale_of(own, node, node.inputs[place].name)
    require_same(own, node, scale, scale.names.scale, node.inputs[place + 1].name)
    require_same(own, node, scale, scale.names.zero_point, input_name(node, place + 2))


def _made(
    own: Unrolling, node: gs.Node, op: str, rows: list[str], size: tuple[int, ...], *, stops: bool = False, **attrs: Any
) -> str:
    """The real operator on rows."""
    stops = stops and own.mode == "direct"
    if stops:
        own.program.skipped.add(node.outputs[0].name)
    kept = stops or all(own.is_frozen(row) for row in rows)
    made = own.program.node(op, rows, size, FLOAT, frozen=kept, name=node.name or "", **attrs)
    if all(own.is_same_for_all(row) for row in rows):
        own.program.fixed.add(made)
    return made


def _written(own: Unrolling, node: gs.Node, tensor: str, row: str) -> str:
    """A row as its integers stand for it; the vendor's own integers can be read, since nothing is fused with them."""
    scale = scale_by(own, node)
    own.program.integers[tensor] = scale.step, scale.zero
    return rounded(own, node, row, scale)


def _dequantized(own: Unrolling, tensor: str, params: QuantParams, *, axis: int) -> str:
    """``(q - z) s`` of fixed integers, float32; one scale, or one for each place along an axis."""
    shape = own.shape(tensor)

    def laid(name: str) -> str:
        count = math.prod(own.walk.shape(name))
        if count == 1:
            return name
        apart = [count if at == axis else 1 for at in range(len(shape))]
        goal = own.program.constant(np.asarray(apart, np.int64))
        return _fixed(own, "Reshape", [name, goal], tuple(apart))

    def real(name: str) -> str:
        return _fixed(own, "Cast", [name], own.shape(name), to=elem_type(FLOAT))

    made = real(tensor)
    if params.zero_point:
        made = _fixed(own, "Sub", [made, real(laid(params.zero_point))], shape)
    return _fixed(own, "Mul", [made, laid(params.scale)], shape)


def _fixed(own: Unrolling, op: str, inputs: list[str], shape: tuple[int, ...], **attrs: Any) -> str:
    """A node on what is the same for all images."""
    made = own.program.node(op, inputs, shape, FLOAT, frozen=True, **attrs)
    own.program.fixed.add(made)
    return made


ON_INTEGERS: Mapping[tuple[str, str], Handler] = MappingProxyType(
    {
        **{(_RUNTIME, op): elementwise for op in _REAL},
        (_RUNTIME, "QLinearSoftmax"): softmax,
        (_RUNTIME, "QLinearConcat"): join,
        ("", "QLinearMatMul"): multiply,
        (_RUNTIME, "QGemm"): gemm,
    }
)
