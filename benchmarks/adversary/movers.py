"""What a trunk does to a map: each moves, mixes, samples or joins its places, or hides that it does nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from benchmarks.adversary.net import Map, Net, Pick

#: Takes a map and gives another; None where it does not fit.
Mover = Callable[[Net, Pick, Map], Map | None]


def flip(net: Net, pick: Pick, data: Map) -> Map:
    """Rows or columns in reverse, by a Slice, a Gather or a MatMul."""
    axis = pick([2, 3])
    side = data.height if axis == 2 else data.width
    how = pick(["slice", "gather", "matmul"])
    if how == "slice":
        name = net.add("Slice", [data.name, *(net.const([v]) for v in (-1, -99, axis, -1))])
    elif how == "gather":
        name = net.add("Gather", [data.name, net.const(np.arange(side)[::-1])], axis=axis)
    else:
        turn = net.const(np.eye(side)[::-1], np.float32)
        name = net.add("MatMul", [data.name, turn] if axis == 3 else [turn, data.name])
    return replace(data, name=name)


def transpose(net: Net, _: Pick, data: Map) -> Map:
    """Rows and columns exchanged."""
    return Map(net.add("Transpose", [data.name], perm=[0, 1, 3, 2]), data.channels, data.width, data.height)


def roll(net: Net, pick: Pick, data: Map) -> Map:
    """A shift that comes in again at the other side."""
    axis = pick([2, 3])
    by = pick([1, 2])
    parts = [net.add("Slice", [data.name, *(net.const([v]) for v in (*ends, axis))]) for ends in ((by, 999), (0, by))]
    return replace(data, name=net.add("Concat", parts, axis=axis))


def crop(net: Net, pick: Pick, data: Map) -> Map | None:
    """A part of the map."""
    (top, bottom), (left, right) = pick([(0, 1), (1, 0), (1, 1), (2, 0)]), pick([(0, 1), (1, 0), (1, 1), (0, 2)])
    height, width = data.height - top - bottom, data.width - left - right
    if min(height, width) < 3:
        return None
    bounds = [net.const(v) for v in ([top, left], [top + height, left + width], [2, 3])]
    return Map(net.add("Slice", [data.name, *bounds]), data.channels, height, width)


def pad(net: Net, pick: Pick, data: Map) -> Map:
    """Rows and columns added around."""
    top, left, bottom, right = pick([(1, 1, 1, 1), (2, 0, 0, 0), (0, 1, 0, 2)])
    pads = net.const([0, 0, top, left, 0, 0, bottom, right])
    name = net.add("Pad", [data.name, pads], mode=pick(["constant", "edge"]))
    return Map(name, data.channels, data.height + top + bottom, data.width + left + right)


def subsample(net: Net, pick: Pick, data: Map) -> Map | None:
    """Every second row and column."""
    first = pick([0, 1])
    height, width = ((side - first + 1) // 2 for side in (data.height, data.width))
    if min(height, width) < 3:
        return None
    bounds = [net.const([v] * 2) for v in (first, 999)]
    name = net.add("Slice", [data.name, *bounds, net.const([2, 3]), net.const([2, 2])])
    net.coarse = True
    return Map(name, data.channels, height, width)


def windows(net: Net, pick: Pick, data: Map) -> Map | None:
    """Windows of 2 x 2 as tokens, put back or not."""
    n, c, h, w = 0, data.channels, data.height, data.width
    if h % 2 or w % 2:
        return None
    name = net.add("Reshape", [data.name, net.const([n, c, h // 2, 2, w // 2, 2])])
    name = net.add("Transpose", [name], perm=[0, 1, 2, 4, 3, 5])
    if pick([True, False]):
        name = net.add("Relu", [net.add("Reshape", [name, net.const([0, c, h * w // 4, 4])])])
        name = net.add("Reshape", [name, net.const([0, c, h // 2, w // 2, 2, 2])])
        name = net.add("Transpose", [name], perm=[0, 1, 2, 4, 3, 5])
    return replace(data, name=net.add("Reshape", [name, net.const([0, c, h, w])]))


def layer(net: Net, pick: Pick, data: Map) -> Map | None:
    """A convolution or a pool."""
    kind = pick(["1x1", "3x3", "valid", "stride", "dilated", "max", "average"])
    if min(data.height, data.width) < 5 and kind not in ("1x1", "3x3"):
        return None
    if kind in ("max", "average"):
        name = net.add("MaxPool" if kind == "max" else "AveragePool", [data.name], kernel_shape=[2, 2], strides=[2, 2])
        net.coarse |= min(data.height, data.width) > 5
        return Map(name, data.channels, data.height // 2, data.width // 2) if min(data.height, data.width) > 5 else None
    kernel, stride, around, dilation = {
        "1x1": (1, 1, 0, 1),
        "3x3": (3, 1, 1, 1),
        "valid": (3, 1, 0, 1),
        "stride": (3, 2, 1, 1),
        "dilated": (3, 1, 2, 2),
    }[kind]
    net.coarse |= stride > 1
    return net.conv(data, data.channels, kernel, stride, around, dilation)


def upsample(net: Net, pick: Pick, data: Map) -> Map | None:
    """Finer maps: by a Resize, a pixel shuffle, or a transposed convolution."""
    if max(data.height, data.width) > 8:
        return None
    kind = pick(["nearest", "shuffle", "spelled", "transposed"])
    net.wide |= net.coarse
    c, h, w = data.channels, data.height, data.width
    if kind == "nearest":
        name = net.add("Resize", [data.name, "", net.const([1, 1, 2, 2], np.float32)], mode="nearest")
    elif kind == "transposed":
        weight = net.normal(c, c, 2, 2, scale=2.0)
        name = net.add("ConvTranspose", [data.name, weight], kernel_shape=[2, 2], strides=[2, 2])
    else:
        data = net.conv(data, 4 * c, 1)
        if kind == "shuffle":
            name = net.add("DepthToSpace", [data.name], blocksize=2, mode=pick(["DCR", "CRD"]))
        else:
            name = net.add("Reshape", [data.name, net.const([0, c, 2, 2, h, w])])
            name = net.add("Transpose", [name], perm=[0, 1, 4, 2, 5, 3])
            name = net.add("Reshape", [name, net.const([0, c, 2 * h, 2 * w])])
    return Map(name, c, 2 * h, 2 * w)


def fold(net: Net, _: Pick, data: Map) -> Map | None:
    """Blocks of 2 x 2 cells as channels."""
    if data.height % 2 or data.width % 2 or min(data.height, data.width) < 6:
        return None
    name = net.add("SpaceToDepth", [data.name], blocksize=2)
    net.coarse = True
    return net.conv(Map(name, 4 * data.channels, data.height // 2, data.width // 2), data.channels, 1)


def tokens(net: Net, pick: Pick, data: Map) -> Map:
    """A detour through tokens, in row or column order, with what is done to tokens, and back."""
    c, count = data.channels, data.height * data.width
    columns = pick([False, False, True])
    name = net.add("Transpose", [data.name], perm=[0, 3, 2, 1] if columns else [0, 2, 3, 1])
    name = net.add("Reshape", [name, net.const([0, count, c])])
    kind = pick(["dense", "attention", "mixer", "exchange", "norm", "class token"])
    skip = pick([True, True, False])
    before = name
    if kind == "dense":
        name = net.add("Relu", [net.add("MatMul", [name, net.normal(c, c)])])
    elif kind == "attention":
        query, key, value = (net.add("MatMul", [name, net.normal(c, c)]) for _ in range(3))
        scores = net.add("MatMul", [query, net.add("Transpose", [key], perm=[0, 2, 1])])
        name = net.add("MatMul", [net.add("Softmax", [scores], axis=-1), value])
    elif kind == "mixer":
        name = net.add("MatMul", [net.normal(count, count, scale=0.2 if skip else 1.0), name])
    elif kind == "exchange":
        # Neighbours that a layer over all tokens exchanges, and a little of all others.
        order = np.arange(count)
        order[: count // 2 * 2] = order[: count // 2 * 2].reshape(-1, 2)[:, ::-1].ravel()
        matrix = np.eye(count)[order] + 0.02 * net.rng.standard_normal((count, count))
        name = net.add("MatMul", [net.const(matrix, np.float32), name])
    elif kind == "norm":
        ones = net.const(np.ones(c), np.float32)
        name = net.add("LayerNormalization", [name, ones, net.normal(c)], axis=-1)
    else:
        whole = net.add("ReduceMean", [name], axes=[1], keepdims=1)
        joined = net.add("Concat", [whole, name], axis=1)
        joined = net.add("MatMul", [joined, net.normal(c, c)])
        name = net.add("Slice", [joined, *(net.const([v]) for v in pick([(1, 999, 1), (0, -1, 1)]))])
    if skip:
        name = net.add("Add", [before, name])
    sides = [data.width, data.height] if columns and pick([True, True, False]) else [data.height, data.width]
    back = [0, 3, 2, 1] if columns and sides == [data.width, data.height] else [0, 3, 1, 2]
    name = net.add("Reshape", [name, net.const([0, *sides, c])])
    height, width = (sides[1], sides[0]) if back == [0, 3, 2, 1] else sides
    return Map(net.add("Transpose", [name], perm=back), c, height, width)


def gate(net: Net, pick: Pick, data: Map) -> Map:
    """What weighs a map: squeeze-and-excite, a norm over the image, one number a cell that may come from elsewhere."""
    c = data.channels
    kind = pick(["gate", "norm", "cells"])
    if kind == "cells":
        weights = net.conv(data, 1, 1)
        moved = pick([activation, flip, transpose, roll, shifted])(net, pick, weights)
        if (moved.height, moved.width) != (data.height, data.width):
            moved = weights
        net.wide = True
        return replace(data, name=net.add("Mul", [data.name, net.add("Sigmoid", [moved.name])]))
    if kind == "norm":
        name = net.add("InstanceNormalization", [data.name, net.const(np.ones(c), np.float32), net.normal(c)])
        return replace(data, name=name)
    pooled = net.add("GlobalAveragePool", [data.name])
    factor = net.add("Sigmoid", [net.conv(Map(pooled, c, 1, 1), c, 1).name])
    return replace(data, name=net.add("Mul", [data.name, factor]))


def activation(net: Net, pick: Pick, data: Map) -> Map:
    """Pointwise."""
    return replace(data, name=net.add(pick(["Relu", "Sigmoid", "Tanh", "Elu", "HardSwish"]), [data.name]))


def residual(net: Net, pick: Pick, data: Map) -> Map | None:
    """The map and what another mover makes of it, added, multiplied or the larger of the two."""
    other = pick([flip, transpose, roll, tokens, layer, windows, shifted])(net, pick, data)
    if other is None or (other.channels, other.height, other.width) != (data.channels, data.height, data.width):
        return None
    net.wide = True
    pair = [data.name, other.name] if pick([True, False]) else [other.name, data.name]
    return replace(data, name=net.add(pick(["Add", "Add", "Sub", "Max", "Mul"]), pair))


def shifted(net: Net, pick: Pick, data: Map) -> Map:
    """Moved by a row or a column, what comes in being nothing."""
    before = pick([(1, 0), (0, 1)])
    padded = net.add("Pad", [data.name, net.const([0, 0, *before, 0, 0, 0, 0])])
    bounds = [net.const(v) for v in ([0, 0], [data.height, data.width], [2, 3])]
    return replace(data, name=net.add("Slice", [padded, *bounds]))


MOVERS: dict[str, Mover] = {
    found.__name__: found
    for found in (
        flip,
        transpose,
        roll,
        crop,
        pad,
        subsample,
        windows,
        layer,
        upsample,
        fold,
        tokens,
        gate,
        activation,
        residual,
        shifted,
    )
}
#: Those that an image may be sent through before the trunk.
ON_IMAGES = ("flip", "transpose", "roll", "crop", "pad", "shifted")
