"""Rows behind products: by a fixed tensor a dense layer, of two of the image an attention, which brings values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.tokens.boxes import Box
from onnx_gapmil.lift.tokens.dense import dense, dense_by_letters
from onnx_gapmil.lift.tokens.products import (
    Product,
    context_of,
    in_order,
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
    return (yield from dense(own, node, tensor, box, row=0 if fixed[1] else 1))


def einsum(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """The same by letters."""
    product = product_of_einsum(own, node)
    fixed = [own.walk.is_fixed(name) for name in product.names]
    if any(fixed):
        return (yield from dense_by_letters(own, node, tensor, box, product if fixed[1] else product.turned))
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
    row = in_order(own, node, (yield held, source), (mine, source.size), product.shared + product.summed, sizes)
    if len(product.summed) == 1 and own.walk.holds_places(other, theirs.index(product.summed)):
        weights = scaled(own, row, product.factor)
        return _delivered(own, node, box, product, weights, (other, theirs, product.summed), sizes)
    context = context_of(own, product)
    if context is not None:  # q (K^T V) is (q K^T) V: a linear attention, as CoaT's
        keys = _tokens_in(own, node, context.keys, context.along, product.shared + product.summed, sizes)
        weights = _scores(own, (row, keys), _groups(own, product, sizes), product.factor * context.factor)
        return _delivered(own, node, box, product, weights, (*context.values, context.along), sizes)
    along = product.free(1)
    if len(along) != 1:
        raise own.refuse(node, "what it reads has tokens along several axes, or none")
    keys = _tokens_in(own, node, (other, theirs), along, product.shared + product.summed, sizes)
    scores = _scores(own, (row, keys), _groups(own, product, sizes), product.factor)
    return picked(own, node, scores, _after(product, sizes), own.size(box))


def _groups(own: Unrolling, product: Product, sizes: dict[str, int]) -> int:
    """How many heads there are."""
    return math.prod(sizes[letter] for letter in product.shared) // own.batch


def _after(product: Product, sizes: dict[str, int]) -> np.ndarray:
    """For each element of a product's result its place among images, heads and what the second factor has alone."""
    axes = product.shared + product.free(1)
    return order_of(axes, [sizes[letter] for letter in axes], product.output, sizes)


def _tokens_in(
    own: Unrolling, node: gs.Node, factor: tuple[str, str], along: str, wanted: str, sizes: dict[str, int]
) -> str:
    """All tokens of a factor (N, T, C), kept at their value, their channels in the order of some letters.

    Args:
        own: the unrolling.
        node: the product.
        factor: the tensor and its letters.
        along: the letter of its tokens.
        wanted: the letters of its images and channels.
        sizes: by letter.
    """
    name, axes = factor
    columns = "".join(letter for letter in axes if letter != along)
    tokens, width = tokens_of(own, node, name, axes.index(along))
    dims = [own.walk.shape(name)[axes.index(letter)] for letter in columns]
    order = order_of(columns, dims, wanted, sizes)
    if np.array_equal(order, np.arange(width * own.batch)):
        return tokens
    return columns_of(own, tokens, order[: order.size // own.batch])


def _delivered(
    own: Unrolling,
    node: gs.Node,
    box: Box,
    product: Product,
    weights: str,
    values: tuple[str, str, str],
    sizes: dict[str, int],
) -> str:
    """What all tokens bring to this one, as the product has it.

    Args:
        own: the unrolling.
        node: the product.
        box: of its result.
        product: the token's factor first.
        weights: (N, G, T), in any shape.
        values: the vendor's tensor of them, its letters, and the letter of its tokens.
        sizes: by letter.
    """
    name, axes, along = values
    read = _tokens_in(own, node, (name, axes), along, product.shared + product.free(1), sizes)
    groups, (_, tokens, width) = _groups(own, product, sizes), own.shape(read)
    where = own.walk.describe(node)
    attended = Attended(weights, read, name, axes.index(along), groups, tokens, width // groups, where)
    order = _after(product, sizes)
    if np.array_equal(order, np.arange(order.size)):
        return bring(own, node, attended, own.size(box))
    flat = bring(own, node, attended, (own.batch, order.size // own.batch))
    return picked(own, node, flat, order, own.size(box))


def columns_of(own: Unrolling, name: str, columns: np.ndarray) -> str:
    """Channels of tokens (N, T, C), kept at their value: some, in another order, or one for each head that reads it."""
    size = (*own.shape(name)[:2], len(columns))
    picks = own.program.constant(columns)
    return own.program.node("Gather", [name, picks], size, own.dtype(name), frozen=True, axis=2)


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
