"""Rows behind dense layers: a product with a fixed matrix, as MatMul, Gemm or Einsum."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.tokens.boxes import Box
from onnx_gapmil.lift.tokens.pointwise import part_of
from onnx_gapmil.lift.tokens.products import Product, in_order, order_of, picked, sizes_of

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.tokens.unrolling import Making, Unrolling


def dense(own: Unrolling, node: gs.Node, tensor: str, box: Box, *, row: int) -> Making:
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


def dense_by_letters(own: Unrolling, node: gs.Node, tensor: str, box: Box, product: Product) -> Making:
    """A dense layer that an Einsum spells: its row and its weights laid out for a product of matrices.

    Args:
        own: the unrolling.
        node: the Einsum.
        tensor: its result.
        box: of that.
        product: with what is fixed last.
    """
    (data, weight), (mine, theirs) = product.names, product.labels
    if product.shared or not product.summed:
        raise own.refuse(node, "its matrix is another for each token or head")
    made_axes = [axis for axis, letter in enumerate(product.output) if letter not in mine]
    whole = box.grown(*made_axes) if made_axes else box
    kept = {letter: whole.kept[axis] for axis, letter in enumerate(product.output)}
    shape = own.walk.shape(data)
    source = Box(shape, tuple(kept.get(letter, tuple(range(dim))) for letter, dim in zip(mine, shape, strict=True)))
    sizes = sizes_of(own, product, whole)
    row = yield data, source
    stays, summed, fresh = product.free(0), product.summed, product.free(1)
    row = in_order(own, node, row, (mine, source.size), stays + summed, sizes)
    depth, width = (math.prod(sizes[letter] for letter in part) for part in (summed, fresh))
    vectors = math.prod(sizes[letter] for letter in stays) // own.batch
    ahead = (own.batch,) if vectors == 1 else (own.batch, vectors)
    row = row if own.shape(row) == (*ahead, depth) else own.reshaped(row, (*ahead, depth))
    matrix = _matrix(own, weight, [theirs.index(letter) for letter in summed + fresh], (depth, width))
    program = own.program
    name = program.node(
        "MatMul", [row, matrix], (*ahead, width), own.dtype(tensor), frozen=own.is_frozen(row), name=node.name or ""
    )
    if own.is_same_for_all(row):
        program.fixed.add(name)
    after = stays + fresh
    order = order_of(after, [sizes[letter] for letter in after], product.output, sizes)
    return part_of(own, node, picked(own, node, name, order, own.size(whole)), box, whole)


def _matrix(own: Unrolling, weight: str, order: list[int], size: tuple[int, int]) -> str:
    """A fixed tensor as a matrix, its axes in another order; the vendor's own where it is one already."""
    program, shape, name = own.program, own.walk.shape(weight), weight
    if order != sorted(order):
        moved = tuple(shape[axis] for axis in order)
        name = program.node("Transpose", [name], moved, own.dtype(weight), frozen=True, perm=order)
        program.fixed.add(name)
    if own.shape(name) != size:
        goal = program.constant(np.asarray(size, np.int64))
        name = program.node("Reshape", [name, goal], size, own.dtype(weight), frozen=True)
        program.fixed.add(name)
    return name


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
