"""Scan and Loop written out: what their bodies move is seen, as the runtime's answer to a changed pixel shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from onnx_gapmil.lift.lifted import UNARRANGED
from onnx_gapmil.rewriting.rewriter import rewrite_model
from tests.helpers.support import assert_in_reading_order, assert_mean_is_logits, images, lift, text_model, weights

HEAD = "p = GlobalAveragePool(m)\n f = Flatten(p)\n y = Gemm<transB=1>(f, w)"
SIZE = (4, 6)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def model_of(body: str, *, opset: int = 17, **init: Any) -> onnx.ModelProto:
    init = {"w": weights(5, 6), "t": np.array(True), "n": np.array(SIZE[0], np.int64)} | init
    return text_model(f"{body}\n {HEAD}", x=f"float[N,6,{SIZE[0]},{SIZE[1]}] x", opset=opset, init=init)


ROW = "body = rows (float[N,6,6] r) => (float[N,6,6] o) { o = Relu(r) }"
SCANS = {
    "in_order": f"m = Scan<num_scan_inputs=1, scan_input_axes=[2], scan_output_axes=[2], {ROW}>(x)",
    "read_backwards": "m = Scan<num_scan_inputs=1, scan_input_axes=[2], scan_input_directions=[1], "
    f"scan_output_axes=[2], {ROW}>(x)",
    "written_backwards": "m = Scan<num_scan_inputs=1, scan_input_axes=[2], scan_output_directions=[1], "
    f"scan_output_axes=[-2], {ROW}>(x)",
    "columns": "m = Scan<num_scan_inputs=1, scan_input_axes=[-1], scan_output_directions=[1], scan_output_axes=[3], "
    "body = columns (float[N,6,4] r) => (float[N,6,4] o) { o = Relu(r) }>(x)",
    "two_inputs": "k = Relu(x)\n m = Scan<num_scan_inputs=2, scan_input_axes=[2, 2], scan_output_axes=[2], "
    "body = rows (float[N,6,6] r, float[N,6,6] s) => (float[N,6,6] o) { o = Add(r, s) }>(x, k)",
}
LOOPS = {
    "layer_after_layer": "m = Loop<body = layers (int64 i, bool c, float[N,6,4,6] v) => (bool d, float[N,6,4,6] u) "
    "{ d = Identity(c) k = Conv(v, e) u = Relu(k) }>(n, t, x)",
    "turned_over_each_time": "a = Loop<body = layers (int64 i, bool c, float[N,6,4,6] v) => (bool d, float[N,6,4,6] u) "
    "{ d = Identity(c) u = Slice(v, last, far, three, last) }>(five, t, x)\n m = Tanh(a)",
    "branch_inside": "m = Loop<body = layers (int64 i, bool c, float[N,6,4,6] v) => (bool d, float[N,6,4,6] u) "
    "{ d = Identity(c) k = Conv(v, e) u = If<then_branch = yes () => (float[N,6,4,6] g) { g = Relu(k) }, "
    "else_branch = no () => (float[N,6,4,6] g) { g = Neg(k) }>(t) }>(n, , x)",
    "rows_stacked": "a = Loop<body = rows (int64 i, bool c) => (bool d, float[N,6,6] o) "
    "{ d = Identity(c) o = Gather<axis=2>(x, i) }>(n, t)\n m = Transpose<perm=[1, 2, 0, 3]>(a)",
}
INIT = {"e": weights(6, 6, 1, 1), "last": ints(-1), "far": ints(-99), "three": ints(3), "five": np.array(5, np.int64)}


@pytest.mark.parametrize("opset", [12, 17])
@pytest.mark.parametrize("name", SCANS)
def test_scan(name: str, opset: int) -> None:
    assert_in_reading_order(model_of(SCANS[name], opset=opset))


@pytest.mark.parametrize("name", LOOPS)
def test_loop(name: str) -> None:
    assert_in_reading_order(model_of(LOOPS[name], **INIT))


def test_memory_of_the_rows_before_keeps_the_row() -> None:
    """A recurrent layer over rows: what it says at a row has that row's place, as an LSTM's output has."""
    body = (
        "rows (float[N,6,6] h, float[N,6,6] r) => (float[N,6,6] g, float[N,6,6] o) "
        "{ s = Mul(h, half) a = Add(r, s) g = Tanh(a) o = Identity(g) }"
    )
    model = model_of(
        "z = Mul(r0, zero)\n"
        f" h, m = Scan<num_scan_inputs=1, scan_input_axes=[2], scan_output_axes=[2], body = {body}>(z, x)",
        half=np.float32(0.1),
        zero=np.float32(0),
    )
    model.graph.node.insert(0, onnx.helper.make_node("ReduceSum", ["x", "row"], ["r0"], keepdims=0))
    model.graph.initializer.append(onnx.numpy_helper.from_array(ints(2), "row"))
    found = lift(model, images(model))
    assert_mean_is_logits(found)
    places = found.rewrite.heads[0].places
    assert places.known
    assert (places.rows.first, places.rows.step) == (0.5, 1.0)  # type: ignore[union-attr]


UNKNOWN = {
    "length_from_the_image": "s = ReduceMax<keepdims=0>(x)\n b = Abs(s)\n l = Cast<to=7>(b)\n q = Add(l, n)\n"
    " m = Loop<body = layers (int64 i, bool c, float[N,6,4,6] v) => (bool d, float[N,6,4,6] u) "
    "{ d = Identity(c) u = Slice(v, last, far, three, last) }>(q, t, x)",
    "until_the_image_is_small": "m = Loop<body = layers (int64 i, bool c, float[N,6,4,6] v) => (bool d, "
    "float[N,6,4,6] u) { u = Slice(v, last, far, three, last) a = ReduceMax<keepdims=0>(u) d = Less(nought, a) }>"
    "(n, t, x)",
    "too_long": "m = Loop<body = layers (int64 i, bool c, float[N,6,4,6] v) => (bool d, float[N,6,4,6] u) "
    "{ d = Identity(c) u = Slice(v, last, far, three, last) }>(many, t, x)",
}

REASONS = {
    "length_from_the_image": "runs as often as the image decides",
    "until_the_image_is_small": "runs as often as the image decides",
    "too_long": "is not followed",
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_loop_whose_length_is_not_fixed_or_too_long_is_not_followed(name: str) -> None:
    init = INIT | {"nought": np.float32(0), "many": np.array(5000, np.int64)}
    (head,) = rewrite_model(model_of(UNKNOWN[name], **init)).heads
    assert not head.places.known
    assert REASONS[name] in head.places.reason
    assert UNARRANGED in head.note
