"""Which of two factors is the gate: the one whose values lie between fixed bounds, whatever the operands' order."""

from __future__ import annotations

import math
from enum import IntEnum
from typing import TYPE_CHECKING

from onnx_gapmil.graph.subgraphs import bodies
from onnx_gapmil.lift.rules.weighted import shares

if TYPE_CHECKING:
    import onnx
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifting import Lifting


class Bound(IntEnum):
    """How a factor's values are bounded; of two factors the higher one is the gate."""

    NONE = 0
    #: Between two numbers: a hyperbolic tangent, a Clip. A value may be so too (Relu6, a gated tanh).
    RANGE = 1
    #: What lets through a share: sigmoid, softmax, hard sigmoid, a mask.
    SHARE = 2


_SHARES = frozenset(
    {
        "And", "Equal", "Greater", "GreaterOrEqual", "HardSigmoid", "Hardmax", "Less", "LessOrEqual", "Not", "Or",
        "QLinearSigmoid", "QLinearSoftmax", "Sigmoid", "Softmax",
    }
)  # fmt: skip
_RANGES = frozenset({"Cos", "Erf", "Sin", "Softsign", "Tanh"})
#: Operators that move, choose or join numbers, scale or shift them, or take one of them: bounded if all they read is.
_KEEPING = frozenset(
    {
        "Add", "Cast", "Concat", "DequantizeLinear", "Div", "Dropout", "Expand", "Flatten", "Gather", "Identity", "Max",
        "Mean", "Min", "Mul", "Neg", "QuantizeLinear", "Reshape", "Slice", "Split", "Squeeze", "Sub", "Sum", "Tile",
        "Transpose", "Unsqueeze", "Where",
    }
)  # fmt: skip
_MAX_DEPTH = 16


def bound_of(walk: Lifting, tensor: str, depth: int = _MAX_DEPTH) -> Bound:
    """How the values of a tensor are bounded, as far as its last operators tell."""
    node = walk.graph.producer(tensor)
    if node is None or depth == 0:
        return Bound.NONE
    if node.op in _SHARES or _is_sigmoid(walk, node) or (node.op == "Div" and shares(walk, node)):
        return Bound.SHARE
    if node.op in _RANGES:
        return Bound.RANGE
    if node.op == "Clip":
        return _of_clip(walk, node)
    if node.op == "If":
        return min(_of_branch(body, tensor, node) for body in bodies(walk.graph.node_proto(node)))
    # The condition of a Where, the indices of a Gather and the divisor's bounds do not bound what is made.
    read = {"Where": node.inputs[1:], "Gather": node.inputs[:1]}.get(node.op, node.inputs)
    moving = [part.name for part in read if part.name and not walk.is_fixed(part.name)]
    if node.op == "Where" and not moving:  # between fixed numbers: a mask
        return Bound.SHARE
    if node.op not in _KEEPING or not moving or (node.op == "Div" and not walk.is_fixed(node.inputs[1].name)):
        return Bound.NONE
    return min(bound_of(walk, name, depth - 1) for name in moving)


def _of_branch(body: onnx.GraphProto, tensor: str, node: gs.Node) -> Bound:
    """The bound of what a branch makes a tensor of, by its last operator."""
    name = body.output[[made.name for made in node.outputs].index(tensor)].name
    last = next((inner.op_type for inner in body.node if name in inner.output), "")
    return Bound.SHARE if last in _SHARES else Bound.RANGE if last in _RANGES else Bound.NONE


def _of_clip(walk: Lifting, node: gs.Node) -> Bound:
    both = all(key in node.attrs for key in ("min", "max")) or (len(node.inputs) > 2 and bool(node.inputs[2].name))
    if not both:
        return Bound.NONE
    # Clip(x + 3, 0, 6): a hard sigmoid spelled out (PyTorch's legacy exporter, tf2onnx); without the shift it is Relu6.
    before = walk.graph.producer(node.inputs[0].name)
    shifted = before is not None and before.op == "Add" and any(_is_number(walk, part.name) for part in before.inputs)
    return Bound.SHARE if shifted else Bound.RANGE


def _is_sigmoid(walk: Lifting, node: gs.Node) -> bool:
    """``1 / (1 + exp(-x))``."""
    if node.op == "Reciprocal":
        divisor = node.inputs[0].name
    elif node.op == "Div" and walk.is_fixed(node.inputs[0].name):
        divisor = node.inputs[1].name
    else:
        return False
    total = walk.graph.producer(divisor)
    if total is None or total.op != "Add":
        return False
    moving = [part.name for part in total.inputs if not walk.is_fixed(part.name)]
    grown = walk.graph.producer(moving[0]) if len(moving) == 1 else None
    return grown is not None and grown.op == "Exp"


def _is_number(walk: Lifting, tensor: str) -> bool:
    return walk.is_fixed(tensor) and math.prod(walk.shape(tensor)) == 1
