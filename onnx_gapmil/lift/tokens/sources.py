"""All tokens of a tensor, as an attention reads them, from where a layer of the trunk made them.

New nodes read no Transpose of the vendor's, but what stands before it (DEPLOYED: the runtime moves transposes through
what follows them, and another reader stops it); so keys and values are followed back to the layer that made them, over
operators that only move elements and over fixed factors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.tokens.integers import is_of_integers, real_of_integers
from onnx_gapmil.lift.tokens.moving import MOVERS

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.tokens.unrolling import Unrolling

#: Layers of movers that are followed.
_DEEPEST = 24


@dataclass(frozen=True)
class _Way:
    """How far a tensor was followed back.

    Attributes:
        tensor: the vendor's tensor that holds its elements.
        numbers: for each element of the one that was followed the number there.
        factors: operators (``Mul`` or ``Div``) and fixed numbers that were met, nearest to the layer last.
    """

    tensor: str
    numbers: np.ndarray
    factors: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class _Lines:
    """Elements of a tensor by image, token and channel, where their numbers are a sum of three.

    Attributes:
        image: from one image to the next.
        token: from one token to the next.
        first: of the first token and the first image.
        channels: of each channel.
    """

    image: int
    token: int
    first: int
    channels: np.ndarray


def tokens_of(own: Unrolling, node: gs.Node, tensor: str, axis: int) -> tuple[str, int]:
    """A new tensor (N, T, C) of all tokens of a vendor's tensor.

    Args:
        own: the unrolling.
        node: the attention, for refusals.
        tensor: the vendor's tensor; its first axis is the batch, or the batch and the heads.
        axis: which of its axes are tokens.

    Returns:
        The tensor, and C: the axes of the vendor's but batch and tokens, in their order.
    """
    shape = own.walk.shape(tensor)
    best: tuple[_Way, _Lines] | None = None
    way = _Way(tensor, np.arange(math.prod(shape), dtype=np.int64).reshape(shape))
    for _ in range(_DEEPEST):
        lines = _lines(own, way.numbers, axis)
        if lines is not None and _layout(own, way.tensor, lines) is not None:
            best = way, lines
        step = _back(own, way)
        if step is None:
            break
        way = step
    if best is None:
        raise own.refuse(node, f"the tokens of '{tensor}' lie in no order that is known")
    name, width = _gathered(own, node, *best, shape[axis])
    if is_of_integers(own, tensor):
        name = real_of_integers(own, node, best[0].tensor, name)
    return name, width


def _back(own: Unrolling, way: _Way) -> _Way | None:
    """One operator further back; None where a layer made the tensor."""
    node = own.walk.graph.producer(way.tensor)
    if node is None or node.domain not in (None, "", "ai.onnx"):
        return None
    if node.op in ("Mul", "Div"):
        left, right = node.inputs[0].name, node.inputs[1].name
        data, factor = (right, left) if node.op == "Mul" and own.walk.is_fixed(left) else (left, right)
        one = own.walk.is_fixed(factor) and math.prod(own.walk.shape(factor)) == 1
        if not one or own.walk.is_fixed(data) or own.walk.shape(data) != own.walk.shape(way.tensor):
            return None
        return replace(way, tensor=data, factors=((node.op, factor), *way.factors))
    fixed = all(own.walk.is_fixed(read.name) for read in node.inputs[1:] if read.name)
    if node.op in (*MOVERS, "Identity") and fixed:
        moved = own.moved(node, way.tensor)
        return replace(way, tensor=node.inputs[0].name, numbers=moved.ravel()[way.numbers])
    return None


def _lines(own: Unrolling, numbers: np.ndarray, axis: int) -> _Lines | None:
    by_token = np.moveaxis(numbers, axis, -1)
    if by_token.shape[0] % own.batch:
        return None
    whole = by_token.reshape(own.batch, -1, by_token.shape[-1])
    first = int(whole[0, 0, 0])
    image = int(whole[1, 0, 0]) - first if own.batch > 1 else 0
    token = int(whole[0, 0, 1]) - first if whole.shape[2] > 1 else 0
    channels = whole[0, :, 0] - first
    images, tokens = np.arange(own.batch)[:, None, None] * image, np.arange(whole.shape[2]) * token
    if token <= 0 or not np.array_equal(whole, first + images + channels[:, None] + tokens):
        return None
    return _Lines(image, token, first, channels)


@dataclass(frozen=True)
class _Layout:
    """Where a tensor has its images and tokens.

    Attributes:
        images: its axis of images; None where images and tokens are one axis.
        tokens: its axis of tokens.
        count: how many tokens it has.
    """

    images: int | None
    tokens: int
    count: int


def _layout(own: Unrolling, tensor: str, lines: _Lines) -> _Layout | None:
    shape = own.walk.shape(tensor)
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    tokens = next((axis for axis, dim in enumerate(shape) if strides[axis] == lines.token and dim > 1), None)
    if tokens is None:
        return None
    if own.batch == 1:
        images = next((axis for axis, dim in enumerate(shape) if dim == 1 and axis != tokens), None)
        return _Layout(images, tokens, shape[tokens])
    images = next((axis for axis, dim in enumerate(shape) if strides[axis] == lines.image and dim == own.batch), None)
    if images is not None and images != tokens:
        return _Layout(images, tokens, shape[tokens])
    count = lines.image // lines.token
    merged = lines.image == count * lines.token and shape[tokens] == own.batch * count
    return _Layout(None, tokens, count) if merged and all(dim == 1 for dim in shape[:tokens]) else None


def _gathered(own: Unrolling, node: gs.Node, way: _Way, lines: _Lines, count: int) -> tuple[str, int]:
    """The tensor of images, tokens and channels, by nodes that read the layer's output."""
    program, shape = own.program, own.walk.shape(way.tensor)
    layout = _layout(own, way.tensor, lines)
    assert layout is not None  # noqa: S101 - asked before
    dtype, name = own.dtype(way.tensor), way.tensor
    program.sources.add(name)
    ahead = [axis for axis in (layout.images, layout.tokens) if axis is not None]
    rest = [axis for axis in range(len(shape)) if axis not in ahead]
    order = [*ahead, *rest]
    if order != sorted(order):
        moved = tuple(shape[axis] for axis in order)
        name = program.node("Transpose", [name], moved, dtype, frozen=True, perm=order)
    width = math.prod(shape[axis] for axis in rest)
    goal = program.constant(np.asarray([-1 if own.batch > 1 else 1, layout.count, width], np.int64))
    name = program.node("Reshape", [name, goal], (own.batch, layout.count, width), dtype, frozen=True)
    where = np.unravel_index(lines.first, shape)
    start = int(where[layout.tokens]) % layout.count
    if (start, count) != (0, layout.count):
        picks = program.constant(np.arange(start, start + count, dtype=np.int64))
        name = program.node("Gather", [name, picks], (own.batch, count, width), dtype, frozen=True, axis=1)
    places = np.unravel_index(lines.first + lines.channels, shape)
    columns = np.zeros(len(lines.channels), np.int64)
    for axis in rest:
        columns = columns * shape[axis] + places[axis]
    if not np.array_equal(columns, np.arange(width)):
        name = _columns(own, name, columns, (own.batch, count), dtype)
    for op, factor in reversed(way.factors):
        name = program.node(op, [name, factor], (own.batch, count, len(columns)), dtype, frozen=True)
    return name, len(columns)


def _columns(own: Unrolling, name: str, columns: np.ndarray, ahead: tuple[int, int], dtype: np.dtype) -> str:
    program, size = own.program, (*ahead, len(columns))
    if np.array_equal(columns, np.arange(columns[0], columns[0] + len(columns))) and own.walk.graph.opset >= 10:
        bounds = [program.constant(np.asarray([at], np.int64)) for at in (columns[0], columns[-1] + 1, 2)]
        return program.node("Slice", [name, *bounds], size, dtype, frozen=True)
    picks = program.constant(columns)
    return program.node("Gather", [name, picks], size, dtype, frozen=True, axis=2)
