"""Rows behind operators that move, choose or join elements: the runtime says which ones they take."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.errors import ModelError
from onnx_gapmil.lift.quantization import input_name

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.tokens.boxes import Box
    from onnx_gapmil.lift.tokens.unrolling import Making, Unrolling

#: Operators whose first input's elements are those of the output.
MOVERS = (
    "DepthToSpace",
    "Expand",
    "Flatten",
    "Gather",
    "GatherElements",
    "GatherND",
    "Reshape",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
)


def move(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """The elements that it takes, in its order."""
    data = node.inputs[0].name
    if not all(own.walk.is_fixed(read.name) for read in node.inputs[1:] if read.name):
        raise own.refuse(node, "the image decides which elements it takes")
    source, order = own.box_of(node, own.moved(node, tensor).ravel()[box.numbers], data)
    row = yield data, source
    return own.rearranged(node, row, order, own.size(box))


def pass_on(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """Identity, and a Dropout that drops nothing."""
    del tensor
    if node.op == "Dropout" and own.walk.graph.random_operator(node):
        raise own.walk.refuse("random-head", node, "its training_mode is on, so the logits are random")
    return (yield node.inputs[0].name, box)


def join(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """Concat: of the operand that a token comes from, or of all of them side by side."""
    axis = int(node.attrs["axis"]) % len(box.shape)
    kept = np.asarray(box.kept[axis])
    parts: list[str] = []
    start = 0
    for read in node.inputs:
        extent = own.walk.shape(read.name)[axis]
        inside = kept[(kept >= start) & (kept < start + extent)] - start
        if inside.size:
            parts.append((yield read.name, box.replaced(axis, extent, tuple(inside.tolist()))))
        start += extent
    if len(parts) == 1:
        return parts[0]
    return own.emit(node, _for_each_image(own, parts), own.size(box), tensor)


def _for_each_image(own: Unrolling, parts: list[str]) -> list[str]:
    """Rows that stand side by side: what is there once for all images is repeated for each, as Concat does not.

    A block that joins an MLP's channels with an attention's meets a token's start so (timm's DiffParallelScalingBlock).
    """
    program = own.program
    imaged = next((part for part in parts if own.shape(part)[:1] == (own.batch,)), None)
    if own.batch == 1 or imaged is None:
        return parts
    made, numbers = [], np.dtype(np.int64)
    for part in parts:
        shape = own.shape(part)
        if shape[:1] != (1,):
            made.append(part)
            continue
        first, rest = (program.constant(np.asarray(each, np.int64)) for each in ([0], shape[1:]))
        extents = program.node("Shape", [imaged], (len(own.shape(imaged)),), numbers, frozen=True)
        images = program.node("Gather", [extents, first], (1,), numbers, frozen=True, axis=0)
        size = program.node("Concat", [images, rest], (len(shape),), numbers, frozen=True, axis=0)
        made.append(program.node("Expand", [part, size], (own.batch, *shape[1:]), own.dtype(part), frozen=True))
    return made


def pad(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """Pad by a number: what it takes, or the number alone, as CoaT's relative positions have it for the token."""
    data, rank = node.inputs[0].name, len(box.shape)
    given = node.attrs.get("pads") if len(node.inputs) < 2 else own.walk.value(node.inputs[1].name)
    axes = own.walk.value(input_name(node, 3)) if input_name(node, 3) else np.arange(rank)
    number = own.walk.value(input_name(node, 2)) if input_name(node, 2) else np.asarray(node.attrs.get("value", 0.0))
    mode = str(node.attrs.get("mode", "constant"))
    ends = None if given is None or axes is None else np.asarray(given).reshape(2, -1)
    if ends is None or axes is None or number is None or mode != "constant" or (ends < 0).any():
        raise own.refuse(node, "what it pads with is not fixed, or not one number")
    widths = np.zeros((rank, 2), np.int64)
    widths[axes % rank] = ends.T
    shape = own.walk.shape(data)
    numbers = np.arange(math.prod(shape), dtype=np.int64).reshape(shape)
    taken = np.pad(numbers, widths, constant_values=-1).ravel()[box.numbers]
    if (taken < 0).all():
        size = own.size(box)
        alike = (1, *size[1:]) if size[0] == own.batch else size
        return own.program.constant(np.full(alike, number, own.dtype(tensor)))
    if (taken < 0).any():
        raise own.refuse(node, "a part of the token is padding")
    source, order = own.box_of(node, taken, data)
    return own.rearranged(node, (yield data, source), order, own.size(box))


def scatter(own: Unrolling, node: gs.Node, tensor: str, box: Box) -> Making:
    """Of what elements are put into, or of what is put there, whichever the token is made of alone.

    PyTorch writes ``scores[:, :, 1:, 1:] += positions`` so (MViT), which leaves a class token's as they were.
    """
    data, places, updates = (read.name for read in node.inputs[:3])
    if str(node.attrs.get("reduction", "none")) != "none" or not own.walk.is_fixed(places):
        raise own.refuse(node, "it adds up what it scatters, or the image decides where")
    shapes = [own.walk.shape(name) for name in (data, updates)]
    counts = [math.prod(shape) for shape in shapes]
    numbers = np.arange(sum(counts), dtype=np.int64)
    feeds = {data: numbers[: counts[0]].reshape(shapes[0]), updates: numbers[counts[0] :].reshape(shapes[1])}
    try:
        (moved, *_) = own.walk.run_node(node, feeds)
    except ModelError as error:
        raise own.refuse(node, f"which elements it takes could not be found: {error}") from error
    taken = moved.ravel()[box.numbers]
    put = taken >= counts[0]
    if put.any() and not put.all():
        raise own.refuse(node, "it puts a part of the token in place of others")
    name, offset = (updates, counts[0]) if put.any() else (data, 0)
    source, order = own.box_of(node, taken - offset, name)
    return own.rearranged(node, (yield name, source), order, own.size(box))
