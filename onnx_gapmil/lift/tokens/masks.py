"""Which tokens an attention reads, and how much more of each: rows that are added to the token's scores.

An operator that hides its softmax has its mask as an input or as an attribute. Of each the class token has one row:
0, a number, or -inf (ONNX Runtime's fused operators: a finite filler) for each token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.lifted import elem_type
from onnx_gapmil.lift.tokens.boxes import Box

if TYPE_CHECKING:
    from collections.abc import Generator

    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.tokens.unrolling import Unrolling

    #: Asks for the rows of masks, and returns what is added to the token's scores.
    Bias = Generator[tuple[str, Box], str, tuple[str, ...]]


def bias_of(own: Unrolling, node: gs.Node, name: str, scores: tuple[tuple[int, ...], int], dtype: np.dtype) -> Bias:
    """The token's row of a mask that broadcasts to (N, G, query, T), added to the scores, or of truth values.

    Args:
        own: the unrolling.
        node: the attention.
        name: the mask; "" for none.
        scores: the shape of all scores, and the number of the token's query.
        dtype: of the scores.
    """
    if not name:
        return ()
    shape, (whole, query) = own.walk.shape(name), scores
    if not 2 <= len(shape) <= 4 or shape[-1] not in (1, whole[-1]):
        raise own.refuse(node, f"its mask has the shape {list(shape)}")
    kept = tuple((query,) if axis == 2 else tuple(range(dim)) for axis, dim in enumerate(whole))
    row = yield name, Box(whole, kept).narrowed(shape)
    if own.walk.trace.dtypes.get(name, np.dtype(np.float32)).kind != "b":
        return (row,)
    program = own.program
    ends = [program.constant(np.asarray(end, dtype)) for end in (0, -np.inf)]
    made = program.node("Where", [row, *ends], own.shape(row), dtype, frozen=True)
    if own.is_same_for_all(row):
        program.fixed.add(made)
    return (made,)


def causal(own: Unrolling, query: int, tokens: int, dtype: np.dtype) -> str:
    """A row that hides what stands behind the token."""
    row = np.where(np.arange(tokens) <= query, 0, -np.inf).astype(dtype)
    return own.program.constant(row.reshape(1, 1, 1, tokens))


def padding_of(own: Unrolling, node: gs.Node, name: str, tokens: int, dtype: np.dtype) -> Bias:
    """ONNX Runtime's mask of keys (N, T) of integers, 0 for those that do not count.

    Args:
        own: the unrolling.
        node: the attention.
        name: the mask; "" for none.
        tokens: T.
        dtype: of the scores.

    Raises:
        HeadRefused: it says how long each image's row of tokens is, or has a number for each pair.
    """
    if not name:
        return ()
    shape = own.walk.shape(name)
    if len(shape) != 2 or shape[1] != tokens:
        raise own.refuse(node, f"its mask has the shape {list(shape)}: there is a rule for one number for each token")
    row = yield name, Box.whole(shape)
    program, size = own.program, (shape[0], 1, 1, tokens)
    filler = float(node.attrs.get("mask_filter_value", -10000.0))
    kept = program.node("Cast", [row], shape, np.dtype(bool), frozen=True, to=elem_type(np.dtype(bool)))
    goal = program.constant(np.asarray([-1, 1, 1, tokens], np.int64))
    laid = program.node("Reshape", [kept, goal], size, np.dtype(bool), frozen=True)
    ends = [program.constant(np.asarray(end, dtype)) for end in (0, filler)]
    made = program.node("Where", [laid, *ends], size, dtype, frozen=True)
    if own.is_same_for_all(row):
        program.fixed |= {kept, laid, made}
    return (made,)
