"""A random trunk before a random head, as a model whose map and head are known, since they are made here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx

from benchmarks.adversary.movers import MOVERS, ON_IMAGES, Mover
from benchmarks.adversary.net import CHANNELS, CLASSES, PATCH, Map, Net, Pick

_SIZES = ((6, 8), (8, 8), (8, 6), (4, 4), (5, 7))


@dataclass(frozen=True)
class Trick:
    """A model, and what is known of it.

    Attributes:
        model: image x (N, 3, H, W) to output y.
        size: (H, W) of the image.
        last: whether the image's colours are its last axis.
        map: the map that its head pools; None where there are several.
        head: the head alone, from pooled features (N, C) to the logits.
        classes: which of its logits the output holds, in their order.
        wide: whether a cell of the map sees more than a patch.
        trace: what it does, for people.
    """

    model: onnx.ModelProto
    size: tuple[int, int]
    last: bool
    map: Map | None
    head: onnx.ModelProto
    classes: tuple[int, ...]
    wide: bool
    trace: str


def build(pick: Pick, seed: int, movers: Mapping[str, Mover] = MOVERS) -> Trick:
    """Draw a model.

    Args:
        pick: chooses.
        seed: of the weights.
        movers: what a trunk is drawn of.
    """
    net = Net(np.random.default_rng(seed))
    rows, columns = pick(_SIZES)
    size = rows * PATCH, columns * PATCH
    last = pick([False, False, False, True])
    name = net.add("Transpose", ["x"], perm=[0, 3, 1, 2]) if last else "x"
    image = _through(net, pick, Map(name, 3, *size), pick([0, 0, 0, 1]), {name: MOVERS[name] for name in ON_IMAGES})
    views = pick(["one"] * 7 + ["flipped", "unmoved", "cropped", "folded"])
    found: Map | None
    if views == "one":
        data = _trunk(net, pick, image, movers)
        pooled = _pool(net, pick, data)
        found = None if net.trace[-1].endswith("power") else data  # what is averaged is another map
    else:
        found, pooled = None, _two_views(net, pick, image, views)
        net.trace.append(f"two views, {views}")
    start = len(net.nodes)
    logits = _dense(net, pick, pooled)
    head = replace(net, nodes=net.nodes[start:]).model([(pooled, ["N", CHANNELS])], [logits])
    output, classes = _tail(net, pick, logits)
    model = net.model([("x", ["N", *size, 3] if last else ["N", 3, *size])], [output])
    return Trick(model, size, last, found, head, classes, net.wide, " > ".join(filter(None, net.trace)))


def _through(net: Net, pick: Pick, data: Map, count: int, movers: Mapping[str, Mover]) -> Map:
    for _ in range(count):
        name = pick(tuple(movers))
        written = len(net.nodes)
        moved = movers[name](net, pick, data)
        if moved is None or moved.height * moved.width > 1200 * (1 if data.name != "x" else 9):
            del net.nodes[written:]
            continue
        net.trace.append(name)
        data = moved
    return data


def _trunk(net: Net, pick: Pick, image: Map, movers: Mapping[str, Mover]) -> Map:
    stem = pick(["patches", "patches", "overlapping", "twice"])
    net.trace.append(stem)
    if stem == "patches":
        data = net.conv(image, CHANNELS, PATCH, PATCH)
    elif stem == "overlapping":
        data = net.conv(image, CHANNELS, 7, PATCH, 3)
        net.wide = True
    else:
        data = net.conv(net.conv(image, CHANNELS, 3, 2, 1), CHANNELS, 3, 2, 1)
    if pick([True, False]):
        data = replace(data, name=net.add("Relu", [data.name]))
    return _through(net, pick, data, pick([0, 1, 1, 2, 2, 3, 4]), movers)


def _two_views(net: Net, pick: Pick, image: Map, kind: str) -> str:
    """Two parts or copies of the image through the same weights; (N, C)."""
    axis = pick([2, 3])
    side = (image.height if axis == 2 else image.width) // PATCH * PATCH

    def turned(name: str) -> str:
        return net.add("Slice", [name, *(net.const([v]) for v in (-1, -9999, axis, -1))])

    def cut(first: int, last: int) -> str:
        return net.add("Slice", [image.name, *(net.const([v]) for v in (first, last, axis))])

    weight = net.normal(CHANNELS, 3, PATCH, PATCH)

    def trunk(name: str) -> str:
        made = net.add("Conv", [name, weight], kernel_shape=[PATCH] * 2, strides=[PATCH] * 2)
        return net.add("Relu", [made])

    if kind == "folded":
        both = trunk(net.add("Concat", [image.name, turned(image.name)], axis=0))
        pooled = net.add("ReduceMean", [both], axes=[2, 3], keepdims=0)
        halves = net.add("Reshape", [pooled, net.const([2, -1, CHANNELS])])
        return net.add("ReduceMean", [halves], axes=[0], keepdims=0)
    parts = [cut(0, side - 2 * PATCH), cut(2 * PATCH, side)] if kind == "cropped" else [image.name, turned(image.name)]
    maps = [trunk(name) for name in parts]
    if kind == "unmoved":
        maps[1] = turned(maps[1])
    if pick([True, False]):
        return net.add("ReduceMean", [net.add("Add", maps)], axes=[2, 3], keepdims=0)
    pooled_views = [net.add("ReduceMean", [name], axes=[2, 3], keepdims=0) for name in maps]
    return net.add("Add", pooled_views)


def _pool(net: Net, pick: Pick, data: Map) -> str:
    """The mean over the map, in one of its spellings, or another pool; (N, C)."""
    plain = ["gap", "mean", "tokens", "average", "sum", "twice", "nhwc", "matmul"]
    kind = pick([*plain, *plain, "weighted", "max", "power", "both", "flat"])
    net.trace.append(f"{data.height}x{data.width}, pooled by {kind}")
    cells = data.height * data.width
    if kind == "gap":
        return net.add("Flatten", [net.add("GlobalAveragePool", [data.name])], axis=1)
    if kind == "mean":
        return net.add("ReduceMean", [data.name], axes=pick([[2, 3], [-1, -2]]), keepdims=0)
    if kind == "average":
        whole = net.add("AveragePool", [data.name], kernel_shape=[data.height, data.width])
        return net.add("Reshape", [whole, net.const([0, data.channels])])
    if kind == "sum":
        total = net.add("ReduceSum", [data.name, net.const([2, 3])], keepdims=0)
        return net.add("Div", [total, net.const(cells, np.float32)])
    if kind == "twice":
        inner = net.add("ReduceMean", [data.name], axes=[pick([2, 3])], keepdims=0)
        return net.add("ReduceMean", [inner], axes=[2], keepdims=0)
    if kind == "nhwc":
        last = net.add("Transpose", [data.name], perm=[0, 2, 3, 1])
        return net.add("ReduceMean", [last], axes=[1, 2], keepdims=0)
    if kind == "max":
        return net.add("Flatten", [net.add("GlobalMaxPool", [data.name])], axis=1)
    if kind == "both":
        parts = [net.add(op, [data.name]) for op in ("GlobalAveragePool", "GlobalMaxPool")]
        return net.add("Flatten", [net.add("Add", parts)], axis=1)
    if kind == "power":
        above = net.add("Clip", [data.name, net.const(1e-3, np.float32)])
        mean = net.add("GlobalAveragePool", [net.add("Pow", [above, net.const(3.0, np.float32)])])
        return net.add("Flatten", [net.add("Pow", [mean, net.const(1 / 3, np.float32)])], axis=1)
    if kind == "flat":
        dense = net.normal(CHANNELS, data.channels * cells)
        return net.add("Gemm", [net.add("Flatten", [data.name], axis=1), dense], transB=1)
    if kind == "weighted":
        weights = np.abs(net.rng.standard_normal((data.height, data.width))) + 0.1
        weighted = net.add("Mul", [data.name, net.const(weights / weights.sum(), np.float32)])
        return net.add("ReduceSum", [weighted, net.const([2, 3])], keepdims=0)
    flat = net.add("Reshape", [data.name, net.const([0, data.channels, cells])])
    if kind == "tokens":
        return net.add("ReduceMean", [net.add("Transpose", [flat], perm=[0, 2, 1])], axes=[1], keepdims=0)
    even = net.const(np.full((cells, 1), 1 / cells), np.float32)
    return net.add("Squeeze", [net.add("MatMul", [flat, even]), net.const([2])])


def _dense(net: Net, pick: Pick, pooled: str) -> str:
    """From the pooled features (N, C) to the logits (N, K)."""
    data, channels = pooled, CHANNELS
    for kind in pick([[], [], ["norm"], ["batch"], ["hidden"], ["gate"], ["batch", "hidden"], ["l2"]]):
        net.trace.append(kind)
        if kind == "norm":
            scale = net.const(np.ones(channels), np.float32)
            data = net.add("LayerNormalization", [data, scale, net.normal(channels)], axis=-1)
        elif kind == "batch":
            ones = net.const(np.abs(net.rng.standard_normal(channels)) + 0.5, np.float32)
            means = [net.normal(channels), net.normal(channels)]
            data = net.add("BatchNormalization", [data, ones, *means, ones])
        elif kind == "hidden":
            data = net.add("MatMul", [data, net.normal(channels, 2 * CHANNELS)])
            data, channels = net.add(pick(["Relu", "Tanh", "HardSwish"]), [data]), 2 * CHANNELS
        elif kind == "gate":
            data = net.add(
                "Mul", [data, net.add("Sigmoid", [net.add("MatMul", [data, net.normal(channels, channels)])])]
            )
        else:
            data = net.add("Div", [data, net.add("ReduceL2", [data], axes=[1], keepdims=1)])
    weight = net.normal(CLASSES, channels, scale=2.0)
    if pick([True, False]):
        return net.add("Gemm", [data, weight, net.normal(CLASSES)], transB=1)
    turned = net.add("Transpose", [weight], perm=[1, 0])
    return net.add("Add", [net.add("MatMul", [data, turned]), net.normal(CLASSES)])


def _tail(net: Net, pick: Pick, logits: str) -> tuple[str, tuple[int, ...]]:
    """What stands behind the logits; and which of them it gives."""
    kind = pick(["none", "none", "softmax", "sigmoid", "log"])
    data = logits
    if kind == "sigmoid":
        data = net.add("Sigmoid", [logits])
    elif kind != "none":
        data = net.add("Softmax" if kind == "softmax" else "LogSoftmax", [logits], axis=-1)
    order = pick(["", "", "", "permuted", "without the first"])
    net.trace.append(order)
    classes = np.arange(CLASSES)
    if order == "permuted":
        classes = net.rng.permutation(CLASSES)
        data = net.add("Gather", [data, net.const(classes)], axis=1)
    elif order:
        classes = classes[1:]
        data = net.add("Slice", [data, *(net.const([v]) for v in (1, 99, 1))])
    return data, tuple(map(int, classes))
