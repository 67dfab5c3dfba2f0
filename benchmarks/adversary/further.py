"""More of what a trunk does to a map: other borders, kernels and sizes, groups of channels, parts exchanged or hidden.

They are drawn only where they are asked for, so that a seed and a number stay the model that they were.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.adversary.movers import MOVERS, Mover, flip, roll, shifted, transpose
from benchmarks.adversary.net import Map, Net, Pick


def border(net: Net, pick: Pick, data: Map) -> Map:
    """Rows and columns mirrored or brought from the other side around the map."""
    top, left, bottom, right = pick([(1, 1, 1, 1), (2, 0, 0, 0), (0, 1, 0, 2), (0, 0, 1, 0)])
    mode = pick(["reflect", "edge", "wrap"])
    height, width = data.height + top + bottom, data.width + left + right
    if mode == "wrap":  # younger than the operator set: taken by their numbers
        name = data.name
        for axis, side, first, last in ((2, data.height, top, bottom), (3, data.width, left, right)):
            name = net.add("Gather", [name, net.const(np.arange(-first, side + last) % side)], axis=axis)
        return Map(name, data.channels, height, width)
    pads = net.const([0, 0, top, left, 0, 0, bottom, right])
    return Map(net.add("Pad", [data.name, pads], mode=mode), data.channels, height, width)


def lopsided(net: Net, pick: Pick, data: Map) -> Map | None:
    """A convolution that is padded on one side alone, or whose kernel has one tap beside its middle."""
    c, kind = data.channels, pick(["padded", "padded", "one tap"])
    net.wide = True
    if kind == "one tap":
        size = pick([3, 5, 7])
        kernel = np.zeros((c, 1, size, size))
        kernel[:, 0, pick([0, size // 2]), pick([0, size // 2, size - 1])] = 1
        weight = net.const(kernel, np.float32)
        name = net.add("Conv", [data.name, weight], kernel_shape=[size] * 2, pads=[size // 2] * 4, group=c)
        return replace(data, name=name)
    pads = pick([(0, 0, 1, 1), (1, 1, 0, 0), (0, 0, 2, 2)])
    height, width = data.height + pads[0] + pads[2] - 2, data.width + pads[1] + pads[3] - 2
    if min(height, width) < 3:
        return None
    name = net.add("Conv", [data.name, net.normal(c, c, 3, 3)], kernel_shape=[3, 3], pads=list(pads))
    return Map(name, c, height, width)


def resize(net: Net, pick: Pick, data: Map) -> Map | None:
    """Another size by interpolation."""
    scale = pick([0.5, 0.75, 1.5, 2.0])
    height, width = (int(side * scale) for side in (data.height, data.width))
    if min(height, width) < 3 or max(height, width) > 20:
        return None
    shape = net.add("Shape", [data.name])
    batch = net.add("Slice", [shape, net.const([0]), net.const([1])])
    sizes = net.add("Concat", [batch, net.const([data.channels, height, width])], axis=0)
    how = pick(["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"])
    mode = pick(["linear", "nearest", "cubic"])
    rounding = {"nearest_mode": pick(["floor", "round_prefer_floor"])} if mode == "nearest" else {}
    name = net.add("Resize", [data.name, "", "", sizes], mode=mode, coordinate_transformation_mode=how, **rounding)
    net.wide = True
    return Map(name, data.channels, height, width)


def groups(net: Net, pick: Pick, data: Map) -> Map | None:
    """Half of the channels moved, the others not."""
    half = data.channels // 2
    parts = [
        Map(net.add("Slice", [data.name, *(net.const([v]) for v in (*ends, 1))]), half, data.height, data.width)
        for ends in ((0, half), (half, 2 * half))
    ]
    other = pick([flip, roll, transpose, shifted])(net, pick, parts[1])
    if (other.height, other.width) != (data.height, data.width):
        return None
    pair = [parts[0].name, other.name]
    joined = Map(net.add("Concat", pair, axis=1), data.channels, data.height, data.width)
    net.wide = True
    return net.conv(joined, data.channels, 1) if pick([True, False]) else joined


def exchanged(net: Net, pick: Pick, data: Map) -> Map:
    """Two rows or columns, the halves, or many of them in another order."""
    axis = pick([2, 3])
    side = data.height if axis == 2 else data.width
    order = np.arange(side)
    kind = pick(["two", "halves", "all"])
    if kind == "two":
        one, two = pick([(0, side - 1), (1, 2), (0, side // 2)])
        order[[one, two]] = order[[two, one]]
    elif kind == "halves":
        order = np.roll(order, side // 2)
    else:
        order = net.rng.permutation(side)
    return replace(data, name=net.add("Gather", [data.name, net.const(order)], axis=axis))


def blurred(net: Net, pick: Pick, data: Map) -> Map | None:
    """The mean or the largest of windows that overlap."""
    size = pick([2, 3, 3])
    around = size // 2 if size == 3 else 0
    height, width = (side + 2 * around - size + 1 for side in (data.height, data.width))
    if min(height, width) < 3:
        return None
    op = pick(["AveragePool", "MaxPool"])
    name = net.add(op, [data.name], kernel_shape=[size] * 2, strides=[1, 1], pads=[around] * 4)
    net.wide = True
    return Map(name, data.channels, height, width)


def transposed(net: Net, pick: Pick, data: Map) -> Map | None:
    """A transposed convolution whose kernels overlap."""
    if max(data.height, data.width) > 8:
        return None
    c = data.channels
    size, pads = pick([(3, (0, 0, 1, 1)), (3, (1, 1, 1, 1)), (4, (1, 1, 1, 1))])
    height, width = ((side - 1) * 2 + size - pads[0] - pads[2] for side in (data.height, data.width))
    weight = net.normal(c, c, size, size, scale=2.0)
    name = net.add("ConvTranspose", [data.name, weight], kernel_shape=[size] * 2, strides=[2, 2], pads=list(pads))
    net.wide = True
    return Map(name, c, height, width)


def masked(net: Net, pick: Pick, data: Map) -> Map:
    """Some of it hidden by zeros, by a row, a half or single cells."""
    mask = np.ones((data.height, data.width))
    kind = pick(["row", "half", "cells", "triangle"])
    if kind == "row":
        mask[pick([0, 1, data.height - 1])] = 0
    elif kind == "half":
        mask[:, : data.width // 2] = 0
    elif kind == "cells":
        mask[net.rng.random(mask.shape) < 0.15] = 0
    else:
        mask = np.tril(mask)
    return replace(data, name=net.add("Mul", [data.name, net.const(mask, np.float32)]))


FURTHER: dict[str, Mover] = {
    **MOVERS,
    **{found.__name__: found for found in (border, lopsided, resize, groups, exchanged, blurred, transposed, masked)},
}
