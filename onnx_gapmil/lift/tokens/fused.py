"""Rows behind operators that are several: ONNX Runtime's own, and the Attention of operator set 23.

They hide their softmax, so that the token's weights are computed anew: one query against all keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from onnx_gapmil.lift.tokens.boxes import Box
from onnx_gapmil.lift.tokens.contracting import bring
from onnx_gapmil.lift.tokens.program import Attended
from onnx_gapmil.lift.tokens.sources import tokens_of

if TYPE_CHECKING:
    from collections.abc import Generator

    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.tokens.unrolling import Making, Unrolling


@dataclass(frozen=True)
class _Heads:
    """What an attention multiplies.

    Attributes:
        query: the token's, (N, 1, G * D).
        keys: of all tokens, (N, T, G * D).
        values: the same, (N, T, G * V).
        tensor: the vendor's tensor that has the tokens, whose values these are or are made of.
        axis: its axis of tokens.
        groups: G.
        scale: of the scores.
        bias: tensors that are added to the scores, each a row (N or 1, G or 1, 1, T).
    """

    query: str
    keys: str
    values: str
    tensor: str
    axis: int
    groups: int
    scale: float
    bias: tuple[str, ...] = ()


def skip_norm(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """``norm(input + skip + bias)``, and the sum itself as the last output."""
    names = [read.name for read in node.inputs]
    centred = node.op == "SkipLayerNormalization"
    whole = box.grown(len(box.shape) - 1)
    first = yield names[0], whole.narrowed(own.walk.shape(names[0]))
    second = yield names[1], whole.narrowed(own.walk.shape(names[1]))
    bias = names[4 if centred else 3] if len(names) > (4 if centred else 3) else ""
    total = _made(own, "Add", [first, second], own.size(whole), tensor)
    if bias:
        total = _made(own, "Add", [total, bias], own.size(whole), tensor)
    if len(node.outputs) > 3 and tensor == node.outputs[3].name:
        return total
    weights = [names[2], *([names[3]] if centred and len(names) > 3 and names[3] else [])]
    op = "LayerNormalization" if centred else "SimplifiedLayerNormalization"
    epsilon = float(node.attrs.get("epsilon", 1e-12 if centred else 1e-5))
    return _made(own, op, [total, *weights], own.size(whole), tensor, axis=-1, epsilon=epsilon)


def multi_head(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """``com.microsoft::MultiHeadAttention`` on three tensors (N, T, C), with a bias for all three perhaps."""
    names = [read.name for read in node.inputs] + [""] * 6
    shapes = [own.walk.shape(name) if name else () for name in names[:3]]
    if any(len(shape) != 3 for shape in shapes) or names[4] or any(names[6:]) or node.attrs.get("unidirectional", 0):
        raise own.refuse(node, "it packs keys and values, masks some, or keeps those of the past")
    groups, width = int(node.attrs["num_heads"]), shapes[0][2]
    query = yield names[0], Box(shapes[0], (*box.kept[:2], tuple(range(width))))
    keys, values = (tokens_of(own, node, name, 1)[0] for name in names[1:3])
    if names[3]:
        parts = [_slice(own, names[3], place * width, (place + 1) * width) for place in range(3)]
        query, keys, values = (
            _made(own, "Add", [row, part], own.shape(row), names[0], frozen=True)
            for row, part in zip((query, keys, values), parts, strict=True)
        )
    scale = float(node.attrs.get("scale", 0)) or (width // groups) ** -0.5
    bias = yield from _bias(own, names[5], box, shapes[1][1])
    heads = _Heads(query, keys, values, names[2], 1, groups, scale, bias)
    return _attended(own, node, heads, own.size(box))


def attention(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """``com.microsoft::Attention``: it makes its own queries, keys and values of one tensor of tokens."""
    names = [read.name for read in node.inputs] + [""] * 6
    data, matrix, added = names[:3]
    shape, size = own.walk.shape(data), own.walk.shape(matrix)[1] // 3
    if any(names[3:5]) or any(names[6:]) or node.attrs.get("unidirectional", 0) or node.attrs.get("qkv_hidden_sizes"):
        raise own.refuse(node, "it masks tokens, keeps those of the past, or has keys of another width")
    groups = int(node.attrs["num_heads"])
    row = yield data, Box(shape, (*box.kept[:2], tuple(range(shape[2]))))
    tokens, _ = tokens_of(own, node, data, 1)
    parts = []
    for place, source in enumerate((row, tokens, tokens)):
        weight = _slice(own, matrix, place * size, (place + 1) * size)
        made = _made(own, "MatMul", [source, weight], (*own.shape(source)[:2], size), data, frozen=True)
        if added:
            bias = _slice(own, added, place * size, (place + 1) * size)
            made = _made(own, "Add", [made, bias], own.shape(made), data, frozen=True)
        parts.append(made)
    scale = float(node.attrs.get("scale", 0)) or (size // groups) ** -0.5
    bias_rows = yield from _bias(own, names[5], box, shape[1])
    del tensor
    heads = _Heads(parts[0], parts[1], parts[2], data, 1, groups, scale, bias_rows)
    return _attended(own, node, heads, own.size(box))


def standard(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """ONNX's own Attention, on (N, G, T, D) or (N, T, G * D)."""
    names = [read.name for read in node.inputs] + [""] * 4
    shapes = [own.walk.shape(name) for name in names[:3]]
    if (
        any(names[4:])
        or node.attrs.get("is_causal", 0)
        or node.attrs.get("softcap", 0)
        or tensor != node.outputs[0].name
    ):
        raise own.refuse(node, "it is causal, capped, or keeps what was before")
    four = len(shapes[0]) == 4
    groups = shapes[0][1] if four else int(node.attrs["q_num_heads"])
    if groups != (shapes[1][1] if four else int(node.attrs["kv_num_heads"])):
        raise own.refuse(node, "several queries share a key")
    axis = 2 if four else 1
    query = yield names[0], Box(shapes[0], (*box.kept[:-1], tuple(range(shapes[0][-1]))))
    depth = shapes[0][-1] if four else shapes[0][-1] // groups
    query = own.reshaped(query, (own.batch, 1, groups * depth))
    keys, values = (tokens_of(own, node, name, axis)[0] for name in names[1:3])
    bias: tuple[str, ...] = ()
    if names[3]:
        mask = own.walk.shape(names[3])
        if own.walk.trace.dtypes.get(names[3], np.dtype(np.float32)).kind == "b":
            raise own.refuse(node, "its mask is of truth values")
        scores = (own.batch, groups, shapes[0][axis], shapes[1][axis])
        kept = (tuple(range(own.batch)), tuple(range(groups)), box.kept[axis], tuple(range(shapes[1][axis])))
        bias = ((yield names[3], Box(scores, kept).narrowed(mask)),)
    scale = float(node.attrs.get("scale", 0)) or depth**-0.5
    return _attended(own, node, _Heads(query, keys, values, names[2], axis, groups, scale, bias), own.size(box))


def _bias(own: Unrolling, name: str, box: Box, tokens: int) -> Generator[tuple[str, Box], str, tuple[str, ...]]:
    """The token's row of a bias (N or 1, G or 1, T, T)."""
    if not name:
        return ()
    shape = own.walk.shape(name)
    kept = tuple((0,) if dim == 1 else tuple(range(dim)) for dim in shape[:2])
    row = yield name, Box(shape, (*kept, box.kept[1] if shape[2] > 1 else (0,), tuple(range(tokens))))
    return (row,)


def _attended(own: Unrolling, node: gs.Node, heads: _Heads, size: tuple[int, ...]) -> str:
    """Softmax of the scaled scores, and what it brings."""
    groups, tokens = heads.groups, own.shape(heads.keys)[1]
    dtype, depth = own.dtype(heads.keys), own.shape(heads.keys)[2] // groups

    def headed(data: str, count: int, perm: list[int]) -> str:
        apart = own.program.constant(np.asarray([0, count, groups, depth], np.int64))
        laid = _made(own, "Reshape", [data, apart], (own.batch, count, groups, depth), heads.tensor, frozen=True)
        shape = tuple((own.batch, count, groups, depth)[axis] for axis in perm)
        return _made(own, "Transpose", [laid], shape, heads.tensor, frozen=True, perm=perm)

    score = (own.batch, groups, 1, tokens)
    query, keys = headed(heads.query, 1, [0, 2, 1, 3]), headed(heads.keys, tokens, [0, 2, 3, 1])
    scores = _made(own, "MatMul", [query, keys], score, heads.tensor, frozen=True)
    scale = own.program.constant(np.asarray(heads.scale, dtype))
    scores = _made(own, "Mul", [scores, scale], score, heads.tensor, frozen=True)
    for row in heads.bias:
        scores = _made(own, "Add", [scores, row], score, heads.tensor, frozen=True)
    axis = -1 if own.walk.graph.opset >= 13 else 3
    weights = _made(own, "Softmax", [scores], score, heads.tensor, frozen=True, axis=axis)
    width = own.shape(heads.values)[2]
    where = own.walk.describe(node)
    found = Attended(weights, heads.values, heads.tensor, heads.axis, groups, tokens, width // groups, where)
    return bring(own, node, found, size)


def _slice(own: Unrolling, tensor: str, start: int, end: int) -> str:
    """Columns of a weight, or a part of a bias."""
    shape = own.walk.shape(tensor)
    picks = own.program.constant(np.arange(start, end, dtype=np.int64))
    made = own.program.node(
        "Gather", [tensor, picks], (*shape[:-1], end - start), own.dtype(tensor), frozen=True, axis=len(shape) - 1
    )
    own.program.fixed.add(made)
    return made


def _made(
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
