"""Rows behind attentions whose queries may share keys: ONNX's own Attention, and ONNX Runtime's GroupQueryAttention."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.quantization import input_name
from onnx_gapmil.lift.tokens.boxes import Box
from onnx_gapmil.lift.tokens.contracting import columns_of
from onnx_gapmil.lift.tokens.heads import Heads, attended_by
from onnx_gapmil.lift.tokens.masks import bias_of, causal
from onnx_gapmil.lift.tokens.sources import tokens_of

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.tokens.unrolling import Making, Unrolling

#: Inputs of GroupQueryAttention that change what it computes: those of rotary embeddings, sinks, integers and norms.
_UNFOLLOWED = (7, 8, 9, 11, 12, 13, 14, 15)


def standard(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """ONNX's own Attention, on (N, G, T, D) or (N, T, G * D)."""
    names = [input_name(node, place) for place in range(max(4, len(node.inputs)))]
    shapes = [own.walk.shape(name) for name in names[:3]]
    windowed = any(int(node.attrs.get(side, -1)) >= 0 for side in ("left_window_size", "right_window_size"))
    if any(names[4:]) or node.attrs.get("softcap", 0) or windowed or tensor != node.outputs[0].name:
        raise own.refuse(node, "it is capped, sees a window, or keeps what was before")
    four = len(shapes[0]) == 4
    groups = shapes[0][1] if four else int(node.attrs["q_num_heads"])
    pairs = shapes[1][1] if four else int(node.attrs["kv_num_heads"])
    axis = 2 if four else 1
    query = yield names[0], Box(shapes[0], (*box.kept[:-1], tuple(range(shapes[0][-1]))))
    depth = shapes[0][-1] if four else shapes[0][-1] // groups
    query = own.reshaped(query, (own.batch, 1, groups * depth))
    keys, values = (tokens_of(own, node, name, axis)[0] for name in names[1:3])
    place, dtype = box.kept[axis][0], own.dtype(names[0])
    whole = own.batch, groups, shapes[0][axis], shapes[1][axis]
    bias = yield from bias_of(own, node, names[3], (whole, place), dtype)
    if node.attrs.get("is_causal", 0):
        bias = (*bias, causal(own, place, whole[-1], dtype))
    scale = float(node.attrs.get("scale", 0)) or depth**-0.5
    heads = Heads(query, keys, values, names[2], axis, groups, scale, bias, groups // pairs)
    return attended_by(own, node, heads, own.size(box))


def grouped(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """``com.microsoft::GroupQueryAttention`` on three tensors (N, T, C), or on one that packs them, without a past."""
    groups, pairs = int(node.attrs["num_heads"]), int(node.attrs["kv_num_heads"])
    names = [input_name(node, place) for place in range(16)]
    past = any(names[place] and 0 not in own.walk.shape(names[place]) for place in (3, 4))
    changed = any(node.attrs.get(name, 0) for name in ("do_rotary", "softcap", "smooth_softmax"))
    changed = changed or int(node.attrs.get("local_window_size", -1)) >= 0
    if past or changed or any(names[place] for place in _UNFOLLOWED) or tensor != node.outputs[0].name:
        raise own.refuse(node, "it turns, caps or normalizes what it reads, sees a window, or keeps what was before")
    shape = own.walk.shape(names[0])
    _require_all(own, node, names[5], shape[1])
    row = yield names[0], Box(shape, (*box.kept[:2], tuple(range(shape[2]))))
    if names[1]:
        depth = shape[2] // groups
        query, source = row, names[2]
        keys, values = (tokens_of(own, node, name, 1)[0] for name in names[1:3])
    else:
        depth, source = shape[2] // (groups + 2 * pairs), names[0]
        read, _ = tokens_of(own, node, source, 1)
        ends = np.cumsum([0, groups * depth, pairs * depth, pairs * depth])
        query, keys, values = (
            columns_of(own, data, np.arange(start, end))
            for data, start, end in zip((row, read, read), ends, ends[1:], strict=False)
        )
    place, dtype = box.kept[1][0], own.dtype(names[0])
    whole = own.batch, groups, shape[1], shape[1]
    bias = yield from bias_of(own, node, names[10], (whole, place), dtype)
    if int(node.attrs.get("causal", 1)):
        bias = (*bias, causal(own, place, shape[1], dtype))
    scale = float(node.attrs.get("scale", 0)) or depth**-0.5
    heads = Heads(query, keys, values, source, 1, groups, scale, bias, groups // pairs)
    return attended_by(own, node, heads, own.size(box))


def _require_all(own: Unrolling, node: gs.Node, lengths: str, tokens: int) -> None:
    """Refuse where some tokens of an image are padding, or how many are is not known.

    Args:
        own: the unrolling.
        node: the attention.
        lengths: a tensor (N,) of how many tokens each image has, less one.
        tokens: how many there are.
    """
    value = own.walk.value(lengths)
    if value is None or (value != tokens - 1).any():
        raise own.refuse(node, "how many tokens of an image count is not fixed, or is not all")
