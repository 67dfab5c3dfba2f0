"""Rows behind sums of products: dense layers, and attentions, which bring values from all tokens."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.tokens.boxes import Box
from onnx_gapmil.lift.tokens.pointwise import part_of
from onnx_gapmil.lift.tokens.products import (
    Product,
    order_of,
    picked,
    product_of_einsum,
    product_of_matrices,
    sizes_of,
)
from onnx_gapmil.lift.tokens.program import ATTEND, DOMAIN, Attended
from onnx_gapmil.lift.tokens.sources import tokens_of

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.tokens.unrolling import Making, Unrolling


def multiply(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """A product of matrices: by a fixed one a dense layer, of two that depend on the image an attention."""
    names = [read.name for read in node.inputs]
    fixed = [own.walk.is_fixed(name) for name in names]
    if not any(fixed):
        return (yield from attention_of(own, node, box, product_of_matrices(own, node)))
    if any(node.attrs.get(name, 0) for name in ("transA", "transB", "transBatchA", "transBatchB")):
        raise own.refuse(node, "it transposes what it multiplies")
    return (yield from _dense(own, node, tensor, box, row=0 if fixed[1] else 1))


def einsum(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """The same by letters."""
    product = product_of_einsum(own, node)
    fixed = [own.walk.is_fixed(name) for name in product.names]
    if any(fixed):
        return (yield from _dense_by_letters(own, node, tensor, box, product if fixed[1] else product.turned))
    return (yield from attention_of(own, node, box, product))


def attention_of(own: Unrolling, node: gs.Node, box: Box, product: Product) -> Making:
    """The product of two tensors that both depend on the image, along tokens or channels."""
    cut = {letter for axis, letter in enumerate(product.output) if box.is_cut(axis)}
    sizes = sizes_of(own, product, box)
    # attn @ V, and V^T @ attn^T.
    # A class token that stands alone (CaiT) is all that there is along that axis.
    for found in (product, product.turned):
        alone = all(sizes[letter] == 1 for letter in found.free(0))
        if alone and cut.isdisjoint(found.shared + found.free(1)):
            return (yield from _attention(own, node, box, found, sizes))
    raise own.refuse(node, "it multiplies two tensors of the image, and neither by tokens")


def _attention(own: Unrolling, node: gs.Node, box: Box, product: Product, sizes: dict[str, int]) -> Making:
    """A row of weights over all tokens times their values; or a query times all keys, which is kept at its value.

    Args:
        own: the unrolling.
        node: the vendor's.
        box: of the result.
        product: the token's factor first.
        sizes: by letter.
    """
    (held, other), (mine, theirs) = product.names, product.labels
    kept = {letter: box.kept[axis] for axis, letter in enumerate(product.output)}
    shape = own.walk.shape(held)
    at = zip(mine, shape, strict=True)
    places = (tuple(range(dim)) if dim == 1 or letter not in kept else kept[letter] for letter, dim in at)
    source = Box(shape, tuple(places))
    row = yield held, source
    brings = len(product.summed) == 1 and own.walk.holds_places(other, theirs.index(product.summed))
    along = product.summed if brings else product.free(1)
    if len(along) != 1:
        raise own.refuse(node, "what it reads has tokens along several axes, or none")
    # Images and heads first, then what is summed.
    row = _in_order(own, node, row, (mine, source.size), product.shared + product.summed, sizes)
    columns = "".join(letter for letter in theirs if letter != along)
    wanted = product.shared + "".join(letter for letter in columns if letter not in product.shared)
    tokens, width = tokens_of(own, node, other, theirs.index(along))
    dims = [own.walk.shape(other)[theirs.index(letter)] for letter in columns]
    order = order_of(columns, dims, wanted, sizes)
    mixed = order.size // own.batch
    if not np.array_equal(order, np.arange(width * own.batch)):
        tokens = columns_of(own, tokens, order[:mixed])
    groups = math.prod(sizes[letter] for letter in product.shared) // own.batch
    after = product.shared + product.free(1)
    order = order_of(after, [sizes[letter] for letter in after], product.output, sizes)
    if not brings:
        return picked(own, node, _scores(own, (row, tokens), groups, product.factor), order, own.size(box))
    attended = _brought(own, node, (row, tokens), other, theirs.index(along), groups, product.factor)
    if np.array_equal(order, np.arange(order.size)):
        return bring(own, node, attended, own.size(box))
    flat = bring(own, node, attended, (own.batch, order.size // own.batch))
    return picked(own, node, flat, order, own.size(box))


def _in_order(
    own: Unrolling, node: gs.Node, row: str, at: tuple[str, tuple[int, ...]], wanted: str, sizes: dict[str, int]
) -> str:
    """A row with its letters in another order; itself where that is no other."""
    order = order_of(*at, wanted, sizes)
    if np.array_equal(order, np.arange(math.prod(at[1]))):
        return row
    return picked(own, node, row, order, (own.batch, order.size // own.batch))


def columns_of(own: Unrolling, name: str, columns: np.ndarray) -> str:
    """Channels of tokens (N, T, C), kept at their value: some, in another order, or one for each head that reads it."""
    size = (*own.shape(name)[:2], len(columns))
    picks = own.program.constant(columns)
    return own.program.node("Gather", [name, picks], size, own.dtype(name), frozen=True, axis=2)


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


def _dense_by_letters(own: Unrolling, node: gs.Node, tensor: str, box: Box, product: Product) -> Making:
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
    row = _in_order(own, node, row, (mine, source.size), stays + summed, sizes)
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


def _scores(own: Unrolling, operands: tuple[str, str], groups: int, factor: float) -> str:
    """A query by all keys (N, G, T): one product for all heads, so that the keys lie as the trunk's layer made them.

    A query of C channels becomes (C, G), each head's own channels in its column.

    Args:
        own: the unrolling.
        operands: the query, C channels of each image, and the keys (N, T, C), one head after the other.
        groups: G.
        factor: of the scores.
    """
    query, keys = operands
    program, dtype = own.program, own.dtype(keys)
    batch, tokens, width = own.shape(keys)
    column = own.reshaped(query, (batch, width, 1))
    heads = np.repeat(np.eye(groups, dtype=dtype), width // groups, axis=0)[None]
    apart = program.node("Mul", [column, program.constant(heads)], (batch, width, groups), dtype, frozen=True)
    name = program.node("MatMul", [keys, apart], (batch, tokens, groups), dtype, frozen=True)
    name = program.node("Transpose", [name], (batch, groups, tokens), dtype, frozen=True, perm=[0, 2, 1])
    return scaled(own, name, factor)


def scaled(own: Unrolling, name: str, factor: float) -> str:
    """A tensor that is kept at its value times a number, as ONNX Runtime's FusedMatMul has one."""
    if factor == 1.0:
        return name
    number = own.program.constant(np.asarray(factor, own.dtype(name)))
    return own.program.node("Mul", [name, number], own.shape(name), own.dtype(name), frozen=True)


def _brought(
    own: Unrolling, node: gs.Node, operands: tuple[str, str], values: str, axis: int, groups: int, factor: float
) -> Attended:
    """What all tokens bring to this one.

    Args:
        own: the unrolling.
        node: the vendor's.
        operands: weights (N, G, T) and values (N, T, G * D).
        values: the vendor's tensor of them.
        axis: its axis of tokens.
        groups: G.
        factor: of the weights.
    """
    weights, read = operands
    _, tokens, width = own.shape(read)
    where = own.walk.describe(node)
    return Attended(scaled(own, weights, factor), read, values, axis, groups, tokens, width // groups, where)


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
