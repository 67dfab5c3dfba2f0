"""Rows behind sums of products: dense layers, and attentions, which bring values from all tokens."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.tokens.boxes import Box
from onnx_gapmil.lift.tokens.pointwise import part_of
from onnx_gapmil.lift.tokens.program import ATTEND, DOMAIN, Attended
from onnx_gapmil.lift.tokens.sources import tokens_of

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.tokens.unrolling import Making, Unrolling


def multiply(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """A product of matrices: by a fixed one a dense layer, of two that depend on the image an attention."""
    if any(node.attrs.get(name, 0) for name in ("transA", "transB", "transBatchA", "transBatchB")):
        raise own.refuse(node, "it transposes what it multiplies")
    names = [read.name for read in node.inputs]
    fixed = [own.walk.is_fixed(name) for name in names]
    if fixed[1]:
        return (yield from _dense(own, node, tensor, box, row=0))
    if fixed[0]:
        return (yield from _dense(own, node, tensor, box, row=1))
    return (yield from attention_of(own, node, box, (names[0], names[1])))


def attention_of(own: Unrolling, node: gs.Node, box: Box, names: tuple[str, str]) -> Making:
    """The product of two tensors that both depend on the image, along tokens or channels."""
    rank = len(box.shape)
    if any(len(own.walk.shape(name)) != rank for name in names):
        raise own.refuse(node, "it multiplies tensors of different rank")
    # attn @ V, and V^T @ attn^T.
    # A class token that stands alone (CaiT) is all that there is along that axis.
    for row, axis in ((0, rank - 2), (1, rank - 1)):
        if box.size[axis] == 1 and not box.is_cut(2 * rank - 3 - axis):
            return (yield from _attention(own, node, box, names, row=row))
    raise own.refuse(node, "it multiplies two tensors of the image, and neither by tokens")


def _dense(own: Unrolling, node: gs.Node, tensor: str, box: Box, *, row: int) -> Making:
    """By a fixed matrix, which sums over the last axis of the row, or over its last but one."""
    data, matrix = (node.inputs[row].name, node.inputs[1 - row].name)
    shape, weight, rank = own.walk.shape(data), own.walk.shape(matrix), len(box.shape)
    free = rank - 1 - row  # the axis of the result that the matrix makes
    if len(shape) < 2 or len(weight) != 2 or len(shape) != rank:
        raise own.refuse(node, "its matrix is another for each token or head")
    whole = box.grown(free)
    summed = tuple(range(shape[-1 - row]))
    source = whole.replaced(free, shape[-1 - row], summed)
    row_in = yield data, source
    inputs = [row_in, matrix] if row == 0 else [matrix, row_in]
    made = own.emit(node, inputs, own.size(whole), tensor)
    return part_of(own, node, made, box, whole)


def gemm(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """A dense layer on tokens that were folded into the batch, or on the token alone."""
    data, matrix, *rest = (read.name for read in node.inputs)
    if not own.walk.is_fixed(matrix) or node.attrs.get("transA", 0):
        raise own.refuse(node, "its matrix depends on the image")
    whole = box.grown(1)
    width = own.walk.shape(data)[1]
    inputs = [(yield data, whole.replaced(1, width, tuple(range(width)))), matrix]
    if rest and rest[0]:
        # A residual branch that an optimizer fused into the layer is a row, too.
        inputs.append((yield rest[0], whole.narrowed(own.walk.shape(rest[0]))))
    bends = bool(node.attrs.get("activation", ""))
    return part_of(own, node, own.emit(node, inputs, own.size(whole), tensor, bends=bends), box, whole)


def _attention(own: Unrolling, node: gs.Node, box: Box, names: tuple[str, str], *, row: int) -> Making:
    """A row of weights over all tokens times their values; or a query times all keys, which is kept at its value."""
    rank = len(box.shape)
    held, other = names[row], names[1 - row]
    # Of the first factor the last axis is summed, of the second the last but one.
    summed = own.walk.shape(held)[-1 if row == 0 else -2]
    source = box.replaced(rank - 1 - row, summed, tuple(range(summed)))
    weights = yield held, source
    axis = rank - 2 + row  # of the other factor
    lead = [own.walk.shape(name)[:-2] for name in (held, other)]
    if lead[0] != lead[1] or any(box.is_cut(at) for at in range(rank - 2)):
        raise own.refuse(node, "its factors have other heads")
    if own.walk.holds_places(other, axis):
        if float(node.attrs.get("alpha", 1.0)) != 1.0:
            raise own.refuse(node, "it scales what it brings")
        return _brought(own, node, weights, other, axis, box)
    keys, width = tokens_of(own, node, other, rank - 1 - row)
    return _scores(own, node, box, (weights, keys, width), other, row=row)


def _scores(own: Unrolling, node: gs.Node, box: Box, operands: tuple[str, str, int], other: str, *, row: int) -> str:
    """A query by all keys: one product of matrices for all heads, so that the keys lie as the trunk's layer made them.

    A query of C channels becomes (C, G), each head's own channels in its column.
    """
    query, keys, width = operands
    program = own.program
    shape = own.walk.shape(other)
    tokens = shape[-1 if row == 0 else -2]
    groups = math.prod(shape[:-2]) // own.batch
    dtype, batch = own.dtype(keys), own.batch
    column = own.reshaped(query, (batch, width, 1))
    heads = np.repeat(np.eye(groups, dtype=dtype), width // groups, axis=0)[None]
    apart = program.node("Mul", [column, program.constant(heads)], (batch, width, groups), dtype, frozen=True)
    name = program.node("MatMul", [keys, apart], (batch, tokens, groups), dtype, frozen=True)
    name = program.node("Transpose", [name], (batch, groups, tokens), dtype, frozen=True, perm=[0, 2, 1])
    factor = float(node.attrs.get("alpha", 1.0))
    if factor != 1.0:  # ONNX Runtime's FusedMatMul
        given = [name, program.constant(np.asarray(factor, dtype))]
        name = program.node("Mul", given, (batch, groups, tokens), dtype, frozen=True)
    return name if own.size(box) == (batch, groups, tokens) else own.reshaped(name, own.size(box))


def _brought(own: Unrolling, node: gs.Node, weights: str, values: str, axis: int, box: Box) -> str:
    """What all tokens bring to this one."""
    shape = own.walk.shape(values)
    tokens = shape[axis]
    groups = math.prod(shape[:-2]) // own.batch
    read, width = tokens_of(own, node, values, axis)
    attended = Attended(weights, read, values, axis, groups, tokens, width // groups, own.walk.describe(node))
    return bring(own, node, attended, own.size(box))


def bring(own: Unrolling, node: gs.Node, attended: Attended, size: tuple[int, ...]) -> str:
    """The node that stands for an attention; where images and heads are one axis, its result is (N, G * D)."""
    program = own.program
    flat = (own.batch, attended.groups * attended.channels)
    shape = size if size[0] == own.batch else flat
    made = program.node(
        ATTEND,
        [attended.weights, attended.values],
        shape,
        own.dtype(attended.values),
        frozen=False,
        domain=DOMAIN,
        name=node.name or "",
    )
    program.attended[made] = attended
    return made
