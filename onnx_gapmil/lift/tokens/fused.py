"""Rows behind ONNX Runtime's own operators that are several: its Attention, MultiHeadAttention, norms with a sum.

They hide their softmax, so that the token's weights are computed anew (`onnx_gapmil.lift.tokens.heads`).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.quantization import input_name
from onnx_gapmil.lift.tokens.boxes import Box
from onnx_gapmil.lift.tokens.heads import Heads, attended_by, made_of
from onnx_gapmil.lift.tokens.masks import bias_of, causal, padding_of
from onnx_gapmil.lift.tokens.sources import tokens_of

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.tokens.masks import Bias
    from onnx_gapmil.lift.tokens.unrolling import Making, Unrolling


def skip_norm(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """``norm(input + skip + bias)``, and the sum itself as the last output."""
    names = [read.name for read in node.inputs]
    centred = node.op == "SkipLayerNormalization"
    whole = box.grown(len(box.shape) - 1)
    first = yield names[0], whole.narrowed(own.walk.shape(names[0]))
    second = yield names[1], whole.narrowed(own.walk.shape(names[1]))
    bias = names[4 if centred else 3] if len(names) > (4 if centred else 3) else ""
    total = made_of(own, "Add", [first, second], own.size(whole), tensor)
    if bias:
        total = made_of(own, "Add", [total, bias], own.size(whole), tensor)
    if len(node.outputs) > 3 and tensor == node.outputs[3].name:
        return total
    weights = [names[2], *([names[3]] if centred and len(names) > 3 and names[3] else [])]
    op = "LayerNormalization" if centred else "SimplifiedLayerNormalization"
    epsilon = float(node.attrs.get("epsilon", 1e-12 if centred else 1e-5))
    return made_of(own, op, [total, *weights], own.size(whole), tensor, axis=-1, epsilon=epsilon)


def multi_head(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """``com.microsoft::MultiHeadAttention`` on three tensors (N, T, C), with a bias for all three perhaps."""
    names = [input_name(node, place) for place in range(max(6, len(node.inputs)))]
    shapes = [own.walk.shape(name) if name else () for name in names[:3]]
    if any(len(shape) != 3 for shape in shapes) or any(names[6:]) or tensor != node.outputs[0].name:
        raise own.refuse(node, "it packs keys and values, or keeps those of the past")
    groups, width, tokens = int(node.attrs["num_heads"]), shapes[0][2], shapes[1][1]
    query = yield names[0], Box(shapes[0], (*box.kept[:2], tuple(range(width))))
    keys, values = (tokens_of(own, node, name, 1)[0] for name in names[1:3])
    if names[3]:
        query, keys, values = (
            made_of(own, "Add", [row, part], own.shape(row), names[0], frozen=True)
            for row, part in zip(
                (query, keys, values), _apart(own, names[3], [width, width, shapes[2][2]]), strict=True
            )
        )
    scale = float(node.attrs.get("scale", 0)) or (width // groups) ** -0.5
    bias = yield from _hidden(own, node, (names[4], names[5]), (own.batch, groups, shapes[0][1], tokens), box)
    heads = Heads(query, keys, values, names[2], 1, groups, scale, bias)
    return attended_by(own, node, heads, own.size(box))


def attention(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """``com.microsoft::Attention``: it makes its own queries, keys and values of one tensor of tokens."""
    names = [input_name(node, place) for place in range(max(6, len(node.inputs)))]
    data, matrix, added = names[:3]
    if names[4] or any(names[6:]) or node.attrs.get("do_rotary", 0) or tensor != node.outputs[0].name:
        raise own.refuse(node, "it turns what it reads, or keeps what was before")
    shape, groups = own.walk.shape(data), int(node.attrs["num_heads"])
    sizes = [int(size) for size in node.attrs.get("qkv_hidden_sizes", ())] or [own.walk.shape(matrix)[1] // 3] * 3
    row = yield data, Box(shape, (*box.kept[:2], tuple(range(shape[2]))))
    tokens, _ = tokens_of(own, node, data, 1)
    weights, biases = _apart(own, matrix, sizes), _apart(own, added, sizes) if added else [""] * 3
    parts = []
    for source, weight, bias, size in zip((row, tokens, tokens), weights, biases, sizes, strict=True):
        made = made_of(own, "MatMul", [source, weight], (*own.shape(source)[:2], size), data, frozen=True)
        parts.append(made_of(own, "Add", [made, bias], own.shape(made), data, frozen=True) if bias else made)
    scale = float(node.attrs.get("scale", 0)) or (sizes[0] // groups) ** -0.5
    bias_rows = yield from _hidden(own, node, (names[3], names[5]), (own.batch, groups, shape[1], shape[1]), box)
    heads = Heads(parts[0], parts[1], parts[2], data, 1, groups, scale, bias_rows)
    return attended_by(own, node, heads, own.size(box))


def _hidden(own: Unrolling, node: gs.Node, names: tuple[str, str], scores: tuple[int, ...], box: Box) -> Bias:
    """What is added to the token's scores: by a mask of keys, by a bias, and because what is behind it is hidden.

    Args:
        own: the unrolling.
        node: the attention.
        names: the mask and the bias; "" for none.
        scores: the shape of all scores.
        box: of the attention's result (N, T, C).
    """
    place, dtype = box.kept[1][0], own.dtype(node.outputs[0].name)
    padding = yield from padding_of(own, node, names[0], scores[-1], dtype)
    bias = yield from bias_of(own, node, names[1], (scores, place), dtype)
    later = (causal(own, place, scores[-1], dtype),) if node.attrs.get("unidirectional", 0) else ()
    return (*padding, *bias, *later)


def _apart(own: Unrolling, tensor: str, sizes: list[int]) -> list[str]:
    """Columns of a weight, or parts of a bias, one behind the other."""
    ends = [sum(sizes[:place]) for place in range(len(sizes) + 1)]
    return [_slice(own, tensor, start, end) for start, end in pairwise(ends)]


def _slice(own: Unrolling, tensor: str, start: int, end: int) -> str:
    """Columns of a weight, or a part of a bias."""
    shape = own.walk.shape(tensor)
    picks = own.program.constant(np.arange(start, end, dtype=np.int64))
    made = own.program.node(
        "Gather", [tensor, picks], (*shape[:-1], end - start), own.dtype(tensor), frozen=True, axis=len(shape) - 1
    )
    own.program.fixed.add(made)
    return made
