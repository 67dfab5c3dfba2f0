"""Windows that cover the whole map at the original size, and would not at another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_gapmil.rewriting.sizing.walk import SizeWalk

_GLOBAL = {
    "AveragePool": "GlobalAveragePool",
    "LpPool": "GlobalLpPool",
    "MaxPool": "GlobalMaxPool",
    "QLinearAveragePool": "QLinearGlobalAveragePool",
}
#: What a global pool keeps of a window's attributes.
_KEPT = {"LpPool": ("p",), "QLinearAveragePool": ("channels_last",)}


def average_pool(walk: SizeWalk, node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
    """A mean over a window that is the whole map becomes the mean over the whole map."""
    return _pool(walk, node)


def max_pool(walk: SizeWalk, node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
    """A maximum over a window that is the whole map becomes the maximum over the whole map."""
    return _pool(walk, node)


def convolution(walk: SizeWalk, node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
    """A kernel that is the whole map has learned weights for each of its positions."""
    kernel = walk.shape(node.input[3 if node.op_type == "QLinearConv" else 1])[2:]
    if _covers(walk, node, kernel, learned=True) is not None:
        raise walk.refuse(
            node,
            f"has a kernel of {_said(kernel)}, the whole map: its weights are learned for the positions of one size",
        )
    return (node,)


def _pool(walk: SizeWalk, node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
    attributes = {entry.name: entry for entry in node.attribute}
    kernel = tuple(attributes["kernel_shape"].ints)
    last = "channels_last" in attributes and attributes["channels_last"].i == 1
    covered = _covers(walk, node, kernel, channels_last=last)
    if covered is None:
        return (node,)
    if not all(covered) or len(node.output) > 1:
        raise walk.refuse(
            node, f"has a window of {_said(kernel)}, all rows or all columns of the map at one size alone"
        )
    counts_padding = "count_include_pad" in attributes and attributes["count_include_pad"].i == 1
    if counts_padding and "pads" in attributes and any(attributes["pads"].ints):
        raise walk.refuse(
            node, f"averages the whole map and its padding by a window of {_said(kernel)}, which is of one size alone"
        )
    made = onnx.helper.make_node(_GLOBAL[node.op_type], list(node.input), list(node.output), node.name or None)
    made.domain = node.domain
    made.attribute.extend(attributes[name] for name in _KEPT.get(node.op_type, ()) if name in attributes)
    walk.changing(
        node,
        f"its window of {_said(kernel)} is the whole map at the original size; it became {made.op_type}, so that it "
        "is the whole map at this one too",
    )
    return (made,)


def _covers(
    walk: SizeWalk, node: onnx.NodeProto, kernel: Sequence[int], *, channels_last: bool = False, learned: bool = False
) -> list[bool] | None:
    """By axis whether a window is all of the map at the original size; None where it is of no axis that
    grows."""
    first = 1 if channels_last else 2
    before = walk.dims(node.input[0])[first : first + len(kernel)]
    after = walk.old_shape(node.output[0])[first : first + len(kernel)]
    pads = next((list(entry.ints) for entry in node.attribute if entry.name == "pads"), [0] * 2 * len(kernel))
    if learned and any(pads):  # a kernel that reaches over the border is no layer over positions
        return None
    found = [
        old > 1 and made == 1 and extent - pad >= old
        for extent, (old, _), made, pad in zip(kernel, before, after, pads, strict=False)
    ]
    grown = [old != new for old, new in before]
    if not any(whole and grows for whole, grows in zip(found, grown, strict=True)):
        return None
    return [whole or old == 1 for whole, (old, _) in zip(found, before, strict=True)]


def _said(kernel: Sequence[int]) -> str:
    return "x".join(map(str, kernel))
