"""Rows behind operators that work on every token by itself: elementwise ones, norms, sums over channels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.tokens.products import picked

if TYPE_CHECKING:
    from collections.abc import Generator

    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.tokens.boxes import Box
    from onnx_gapmil.lift.tokens.unrolling import Making, Unrolling

#: Linear in all of their operands.
SUMS = ("Add", "Cast", "Mean", "Neg", "Sub", "Sum")
#: Linear in one of them, where the others are kept.
PRODUCTS = ("Div", "Mul", "Where")
#: Elementwise functions.
FUNCTIONS = (
    "Abs", "And", "Atan", "Ceil", "Celu", "Clip", "Cos", "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu", "Greater",
    "HardSigmoid", "HardSwish", "IsInf", "IsNaN", "LeakyRelu", "Less", "Log", "Max", "Min", "Mish", "Not", "Or",
    "PRelu", "Pow", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt",
    "Swish", "Tanh", "ThresholdedRelu",
)  # fmt: skip
#: The same of ONNX Runtime's own, with a bias perhaps.
RUNTIME_FUNCTIONS = ("BiasGelu", "FastGelu", "Gelu", "QuickGelu")
NORMS = ("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
#: Sums over axes; all other reductions bend.
LINEAR_REDUCTIONS = ("ReduceMean", "ReduceSum")
REDUCTIONS = ("ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMin", "ReduceSumSquare", "ReduceProd")


def _operands(own: Unrolling, node: gs.Node, box: Box) -> Generator[tuple[str, Box], str, list[str]]:
    rows = []
    for read in node.inputs:
        rows.append((yield read.name, box.narrowed(own.walk.shape(read.name))) if read.name else "")
    return rows


def elementwise(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """The same of the operands' rows."""
    rows = yield from _operands(own, node, box)
    made = own.emit(node, rows, own.size(box), tensor, bends=bends(own, node.op, rows))
    imaged = [row for row in rows if not own.is_same_for_all(row)]
    if node.op in ("Div", "Mul") and imaged and all(_is_one_number(own, row) for row in imaged):
        own.program.sizes.add(made)
    return made


def _is_one_number(own: Unrolling, row: str) -> bool:
    """Whether what the image decides of a row is one number a token: a norm's size, times its weights perhaps."""
    return row in own.program.sizes or math.prod(own.shape(row)) <= own.batch


def bends(own: Unrolling, op: str, rows: list[str]) -> bool:
    """Whether an elementwise operator is no linear function of what it is made of, with norms kept at their size.

    A factor that depends on the image is a norm where it is one number for each token, or for all channels of a head
    (DiffTransformer's norms, what the weights of a linear attention add up to), else a gate; spelled out, GELU is one,
    of which all but the factor itself may be kept already.
    """
    if op in SUMS:
        return False
    if op not in PRODUCTS:
        return True
    imaged = [row for row in rows if not own.is_same_for_all(row)]
    channels = max(own.shape(row)[-1:] for row in rows if row)
    wide = [row for row in imaged if not _is_one_number(own, row) and own.shape(row)[-1:] == channels]
    if op == "Mul":
        return len(wide) > 1
    if op == "Div":
        return rows[1] in wide or (rows[1] in imaged and own.is_same_for_all(rows[0]))
    return rows[0] in imaged


def normalize(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """A norm over a token's channels."""
    rank = len(box.shape)
    first = int(node.attrs.get("axis", -1)) % rank
    if any(box.is_cut(axis) for axis in range(first, rank)):
        whole = yield tensor, box.grown(*range(first, rank))
        return part_of(own, node, whole, box, box.grown(*range(first, rank)))
    rows = [(yield node.inputs[0].name, box)]
    rows += [read.name for read in node.inputs[1:]]
    if not all(own.walk.is_fixed(name) for name in rows[1:] if name):
        raise own.refuse(node, "its scale or bias depends on the image")
    return own.emit(node, rows, own.size(box), tensor)


def along_axis(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """Softmax and the like: along an axis that is there as a whole."""
    rank = len(box.shape)
    late = own.walk.graph.opset >= 13 or node.op == "LpNormalization"
    axis = int(node.attrs.get("axis", -1 if late else 1)) % rank
    axes = (axis,) if late else tuple(range(axis, rank))
    if not late and any(box.size[at] != 1 for at in range(axis) if box.is_cut(at)):
        raise own.refuse(node, "it works on several axes at once")
    if any(box.is_cut(at) for at in axes):
        whole = yield tensor, box.grown(*axes)
        return part_of(own, node, whole, box, box.grown(*axes))
    row = yield node.inputs[0].name, box
    return own.emit(node, [row], own.size(box), tensor, bends=node.op != "LpNormalization")


def reduce(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """A reduction over axes that a token has as a whole."""
    data = node.inputs[0].name
    shape = own.walk.shape(data)
    axes = _axes(own, node, shape)
    kept = bool(node.attrs.get("keepdims", 1))
    places = iter(box.kept)
    own_axes = []
    for axis, dim in enumerate(shape):
        if axis in axes:
            own_axes.append(tuple(range(dim)))
            if kept:
                next(places)
        else:
            own_axes.append(next(places))
    source = type(box)(shape, tuple(own_axes))
    if axes == [0] and shape[0] > 1 and node.op in LINEAR_REDUCTIONS:
        return (yield from _added_up(own, node, source, own.size(box)))
    row = yield data, source
    rows = [row, *(read.name for read in node.inputs[1:])]
    return own.emit(node, rows, own.size(box), tensor, bends=node.op not in LINEAR_REDUCTIONS)


def _added_up(own: Unrolling, node: gs.Node, source: Box, size: tuple[int, ...]) -> Making:
    """A sum or mean over tensors that were stacked before the images: of each its own row, and all of them added.

    timm's parallel blocks stack what several branches make, and add it up.
    """
    data = node.inputs[0].name
    apart = any(own.walk.tells_images_apart(data, axis) for axis in range(1, len(source.shape)))
    if own.batch > 1 and (not apart or own.walk.tells_images_apart(data, 0)):
        raise own.refuse(node, "it mixes the images of a batch")
    total, program = "", own.program

    def made(op: str, one: str, two: str) -> str:
        frozen = own.is_frozen(one) and own.is_frozen(two)
        return program.node(op, [one, two], size, own.dtype(data), frozen=frozen, name=node.name or "")

    for place in source.kept[0]:
        row = yield data, source.replaced(0, source.shape[0], (place,))
        # A token's start is there once for all images.
        alike = math.prod(own.shape(row)) < math.prod(size)
        laid = (1, *size[1:]) if alike else size
        row = row if own.shape(row) == laid else own.reshaped(row, laid)
        total = made("Add", total, row) if total else row
    if node.op == "ReduceMean":
        total = made("Mul", total, program.constant(np.asarray(1 / source.shape[0], own.dtype(data))))
    return total


def mean_channels(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """GlobalAveragePool of (N, T, C), which is how tf2onnx spells a norm's means: over all axes but two."""
    data = node.inputs[0].name
    shape = own.walk.shape(data)
    axes = list(range(2, len(shape)))
    source = type(box)(shape, (*box.kept[:2], *(tuple(range(shape[axis])) for axis in axes)))
    row = yield data, source
    program = own.program
    late = own.walk.graph.opset >= 18
    rows = [row, program.constant(np.asarray(axes, np.int64))] if late else [row]
    return program.node(
        "ReduceMean",
        rows,
        own.size(box),
        own.dtype(tensor),
        frozen=own.is_frozen(row),
        name=node.name or "",
        axes=None if late else axes,
    )


def _axes(own: Unrolling, node: gs.Node, shape: tuple[int, ...]) -> list[int]:
    given = node.attrs.get("axes")
    if given is None and len(node.inputs) > 1 and node.inputs[1].name:
        value = own.walk.value(node.inputs[1].name)
        if value is None:
            raise own.refuse(node, "its axes are not fixed")
        given = value.reshape(-1).tolist()
    if not given:
        given = [] if int(node.attrs.get("noop_with_empty_axes", 0)) else range(len(shape))
    return [int(axis) % len(shape) for axis in given]


def part_of(own: Unrolling, node: gs.Node, row: str, part: Box, whole: Box) -> str:
    """A part of a row that was made as a whole."""
    order = np.searchsorted(whole.numbers.ravel(), part.numbers.ravel())
    if part.count == whole.count:
        return row
    return picked(own, node, row, order, own.size(part))
