"""Places of inputs whose size is left open: of the cells that are elsewhere in a larger image nothing is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from onnx_gapmil import inspect, rewrite
from onnx_gapmil.images.places import AxisPlaces
from tests.helpers.support import text_model, weights

OPEN, FIXED = "float[N,3,H,W] x", "float[N,3,224,224] x"
#: Cells whose places move with the size: of the map's end, about its middle, of a map that is resized to 7 x 7 cells.
MOVED = {
    "end": (
        "r = Slice(a, back, far, space)\n m = Relu(r)",
        "rows begin at 120 pixels at one size, and at 184 at a larger",
    ),
    "middle": (
        "s = Shape<start=2>(a)\n h = Div(s, four)\n e = Add(h, half)\n r = Slice(a, h, e, space)\n m = Relu(r)",
        "rows begin at 56 pixels at one size, and at 72 at a larger",
    ),
    "resized": (
        'r = Resize<mode="linear">(a, , , sizes)\n m = Relu(r)',
        "rows lie 32 pixels apart at one size, and 41.14 at a larger one",
    ),
}
STILL = {
    "plain": "m = Relu(a)",
    "beginning": "r = Slice(a, none, most, space)\n m = Relu(r)",
    "border": "r = Slice(a, one, last, space)\n m = Relu(r)",
    "halved": "r = AveragePool<kernel_shape=[2,2], strides=[2,2]>(a)\n m = Relu(r)",
    "doubled": 'r = Resize<mode="nearest">(a, , twice)\n m = Relu(r)',
    "as tokens": "r = Reshape(a, flat)\n t = Transpose<perm=[0,2,1]>(r)\n z = Relu(t)\n s = Shape(a)\n"
    " u = Transpose<perm=[0,2,1]>(z)\n m = Reshape(u, s)",
}


def model_of(body: str, x: str = OPEN) -> onnx.ModelProto:
    text = f"c = Conv<strides=[16,16]>(x, k)\n a = Relu(c)\n {body}\n p = GlobalAveragePool(m)\n f = Flatten(p)"
    init: dict[str, Any] = {"k": np.ones((6, 3, 16, 16), np.float32), "w": weights(5, 6), "flat": np.array([0, 6, -1])}
    pairs = (("none", 0), ("one", 1), ("most", 10), ("last", -1), ("far", 999), ("four", 4), ("half", 7), ("back", -7))
    init |= {name: np.array([value, value]) for name, value in pairs}
    init |= {"space": np.array([2, 3]), "sizes": np.array([2, 6, 7, 7]), "twice": np.array([1, 1, 2, 2], np.float32)}
    return text_model(f"{text}\n y = Gemm<transB=1>(f, w)", x=x, opset=18, init=init)


@pytest.mark.parametrize("kind", MOVED)
def test_places_that_move_with_an_open_size_are_not_known(kind: str) -> None:
    body, change = MOVED[kind]
    (head,) = rewrite(model_of(body), write=False).heads
    assert (head.verdict, head.places.known, head.arranged) == ("exact", False, False)
    assert "the size of the input, which the file leaves open, decides where its cells look" in head.places.reason
    assert change in head.places.reason
    assert inspect(model_of(body)).heads[0].places.known is False


@pytest.mark.parametrize("kind", ["end", "middle"])
def test_they_are_known_at_a_size_that_is_stated(kind: str) -> None:
    for found in (
        rewrite(model_of(MOVED[kind][0], FIXED), write=False),
        rewrite(model_of(MOVED[kind][0]), write=False, size=(224, 224)),
    ):
        assert found.heads[0].places.known is True


@pytest.mark.parametrize("kind", STILL)
def test_places_that_any_size_has_are_known(kind: str) -> None:
    (head,) = rewrite(model_of(STILL[kind]), write=False).heads
    assert (head.places.known, head.arranged) == (True, True)


def test_signals_of_any_length_are_held_against_a_longer_one() -> None:
    for body, known in (("m = Relu(a)", True), ("r = Slice(a, back, far, time)\n m = Relu(r)", False)):
        text = f"c = Conv<strides=[4]>(x, k)\n a = Relu(c)\n {body}\n p = GlobalAveragePool(m)\n f = Flatten(p)"
        init = {"k": weights(6, 1, 4), "w": weights(5, 6), "back": np.array([-20]), "far": np.array([999])}
        model = text_model(
            f"{text}\n y = Gemm<transB=1>(f, w)", x="float[N,1,T] x", init=init | {"time": np.array([2])}
        )
        (head,) = rewrite(model, write=False).heads
        assert head.places.known is known
        assert head.places.columns == (AxisPlaces(2.0, 4.0) if known else None)
