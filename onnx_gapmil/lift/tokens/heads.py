"""One query of several heads against all keys, and what it brings: what operators that hide their softmax compute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from onnx_gapmil.lift.tokens.contracting import bring, columns_of
from onnx_gapmil.lift.tokens.program import Attended

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.tokens.unrolling import Unrolling


@dataclass(frozen=True)
class Heads:
    """What an attention multiplies.

    Attributes:
        query: the token's, (N, 1, G * D).
        keys: of all tokens, (N, T, G * D); of heads that share them once.
        values: the same, (N, T, G * V).
        tensor: the vendor's tensor that has the tokens, whose values these are or are made of.
        axis: its axis of tokens.
        groups: G.
        scale: of the scores.
        bias: tensors that are added to the scores, each a row that broadcasts to (N, G, 1, T).
        shared: how many queries, one behind the other, share a key and value.
    """

    query: str
    keys: str
    values: str
    tensor: str
    axis: int
    groups: int
    scale: float
    bias: tuple[str, ...] = ()
    shared: int = 1


def attended_by(own: Unrolling, node: gs.Node, heads: Heads, size: tuple[int, ...]) -> str:
    """Softmax of the scaled scores, and what it brings."""
    groups, tokens = heads.groups, own.shape(heads.keys)[1]
    all_keys, all_values = (_repeated(own, name, groups, heads.shared) for name in (heads.keys, heads.values))
    dtype, depth = own.dtype(all_keys), own.shape(all_keys)[2] // groups

    def headed(data: str, count: int, perm: list[int]) -> str:
        apart = own.program.constant(np.asarray([0, count, groups, depth], np.int64))
        laid = made_of(own, "Reshape", [data, apart], (own.batch, count, groups, depth), heads.tensor, frozen=True)
        shape = tuple((own.batch, count, groups, depth)[axis] for axis in perm)
        return made_of(own, "Transpose", [laid], shape, heads.tensor, frozen=True, perm=perm)

    score = (own.batch, groups, 1, tokens)
    query, keys = headed(heads.query, 1, [0, 2, 1, 3]), headed(all_keys, tokens, [0, 2, 3, 1])
    scores = made_of(own, "MatMul", [query, keys], score, heads.tensor, frozen=True)
    scale = own.program.constant(np.asarray(heads.scale, dtype))
    scores = made_of(own, "Mul", [scores, scale], score, heads.tensor, frozen=True)
    for row in heads.bias:
        scores = made_of(own, "Add", [scores, row], score, heads.tensor, frozen=True)
    axis = -1 if own.walk.graph.opset >= 13 else 3
    weights = made_of(own, "Softmax", [scores], score, heads.tensor, frozen=True, axis=axis)
    width = own.shape(all_values)[2]
    where = own.walk.describe(node)
    found = Attended(weights, all_values, heads.tensor, heads.axis, groups, tokens, width // groups, where)
    return bring(own, node, found, size)


def _repeated(own: Unrolling, name: str, groups: int, shared: int) -> str:
    """Keys or values with those of heads that share them once for each head."""
    if shared == 1:
        return name
    width = own.shape(name)[2] * shared // groups
    heads = np.arange(groups) // shared
    return columns_of(own, name, (heads[:, None] * width + np.arange(width)).ravel())


def made_of(
    own: Unrolling,
    op: str,
    inputs: list[str],
    shape: tuple[int, ...],
    like: str,
    *,
    frozen: bool = False,
    **attrs: Any,
) -> str:
    """A node of the program that no vendor's node stands for by itself."""
    kept = frozen or all(own.is_frozen(name) for name in inputs)
    made = own.program.node(op, inputs, shape, own.dtype(like), frozen=kept, **attrs)
    if all(own.is_same_for_all(name) for name in inputs):
        own.program.fixed.add(made)
    return made
