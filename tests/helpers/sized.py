"""Small classifiers that can be built at any input size, as exporters bake it: what opening one has to give is known.

The trunk halves the image twice: an image of H x W pixels has a map of 8 channels and H/4 x W/4 positions.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from tests.helpers.support import rng, text_model, weights

#: Of every graph; a body uses some of them.
_INIT = {
    "k1": weights(6, 3, 3, 3) / 3,
    "k2": weights(8, 6, 3, 3) / 4,
    "w": weights(5, 8),
    "b": weights(5),
    "gs": weights(4),
    "gb": weights(4, seed=1),
}
_HALVES = "strides=[2,2], pads=[1,1,1,1]"
_TRUNK = f"c1 = Conv<{_HALVES}>(x, k1)  r1 = Relu(c1)  c2 = Conv<{_HALVES}>(r1, k2)  m = Relu(c2)  "
_HEAD = "  e = Flatten(p)  y = Gemm<transB=1>(e, w, b)"


def _ints(*numbers: int) -> str:
    return f"Constant<value_ints=[{', '.join(map(str, numbers))}]>()"


def _tokens(h: int, w: int) -> str:
    """The map as tokens and back, as patch models write it: 1 axis is merged of two, and split again."""
    return (
        f"s1 = {_ints(-1, 8, h * w)}  f = Reshape(m, s1)  t = Transpose<perm=[0,2,1]>(f)  n = Sigmoid(t)  "
        f"s2 = {_ints(-1, h, w, 8)}  v = Reshape(n, s2)  u = Transpose<perm=[0,3,1,2]>(v)  p = GlobalAveragePool(u)"
    )


def _resize(h: int, w: int) -> str:
    return (
        f"sizes = {_ints(2, 8, 2 * h, 2 * w)}  "
        'g = Resize<mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor">'
        "(m, , , sizes)  p = GlobalAveragePool(g)"
    )


#: What stands between the trunk's map m, of h x w positions, and the pooled tensor p.
BAKED: dict[str, Callable[[int, int], str]] = {
    "window": lambda h, w: f"p = AveragePool<kernel_shape=[{h},{w}]>(m)",
    "max window": lambda h, w: f"p = MaxPool<kernel_shape=[{h},{w}]>(m)",
    "flattened positions": lambda h, w: (
        f"s = {_ints(-1, 8, h * w)}  f = Reshape(m, s)  p = ReduceMean<axes=[2], keepdims=1>(f)"
    ),
    "channel shuffle": lambda h, w: (
        f"s1 = {_ints(-1, 2, 4, h, w)}  f = Reshape(m, s1)  t = Transpose<perm=[0,2,1,3,4]>(f)  "
        f"s2 = {_ints(-1, 8, h, w)}  g = Reshape(t, s2)  p = GlobalAveragePool(g)"
    ),
    "group norm": lambda h, w: (
        f"s1 = {_ints(-1, 4, 2 * h * w)}  f = Reshape(m, s1)  i = InstanceNormalization(f, gs, gb)  "
        f"s2 = {_ints(-1, 8, h, w)}  g = Reshape(i, s2)  p = GlobalAveragePool(g)"
    ),
    "tokens": _tokens,
    "resize": _resize,
    "slice": lambda h, w: (
        f"from = {_ints(1, 1)}  to = {_ints(h, w)}  axes = {_ints(2, 3)}  g = Slice(m, from, to, axes)  "
        "p = GlobalAveragePool(g)"
    ),
    "expand": lambda h, w: f"s = {_ints(1, 8, h, w)}  g = Expand(m, s)  p = GlobalAveragePool(g)",
    "scaled sum": lambda h, w: (
        f"q = ReduceSum<keepdims=1>(m, ax)  count = Constant<value_float={float(h * w)}>()  p = Div(q, count)"
    ),
    "gate by a window": lambda h, w: (
        f"a = AveragePool<kernel_shape=[{h},{w}]>(m)  o = Sigmoid(a)  g = Mul(m, o)  p = GlobalAveragePool(g)"
    ),
}


def model(kind: str, height: int, width: int, *, batch: int | str = "N") -> onnx.ModelProto:
    """A classifier of 5 classes with its size baked in the way that ``kind`` names, of `BAKED`."""
    return built(BAKED[kind](height // 4, width // 4), height, width, batch=2 if kind == "resize" else batch)


def built(body: str, height: int, width: int, *, batch: int | str = "N", **init: np.ndarray) -> onnx.ModelProto:
    """The trunk, a body that makes p of m, and the head."""
    held = {**_INIT, "ax": np.array([2, 3]), **init}
    text = _TRUNK + body + _HEAD
    used = {name: value for name, value in held.items() if f", {name}" in text}
    return text_model(text, x=f"float[{batch},3,{height},{width}] x", y=f"float[{batch},5] y", init=used)


def photos(height: int, width: int, count: int = 2) -> np.ndarray:
    return rng(3).standard_normal((count, 3, height, width)).astype(np.float32)


def by_reference(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """What ONNX's own evaluator makes of it."""
    return np.asarray(ReferenceEvaluator(proto).run(None, {"x": x})[0])
