"""What integers stand for: nodes and numbers beside NumPy's own (q - z) * s."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx_gapmil.graph.builder import GraphBuilder
from onnx_gapmil.graph.trace import trace
from onnx_gapmil.graph.view import ModelGraph
from onnx_gapmil.lift.lifted import Quantization
from onnx_gapmil.lift.lifting import Lifting
from onnx_gapmil.lift.quantization import (
    QuantParams,
    dequantized,
    dequantized_bias,
    dequantized_values,
    provably_inside,
    quantization_of,
    rounding_phrase,
    saturate,
    value_range,
)
from onnx_gapmil.lift.rules import RULES
from onnx_gapmil.lift.verdict import HeadRefused, Readout
from tests.helpers.support import assert_close, run, text_model, weights

Q = np.arange(-9, 9, dtype=np.int8).reshape(3, 6)


def walk_over(body: str = "y = Identity(x)", *, readout: Readout = "contribution", **init: np.ndarray) -> Lifting:
    graph = ModelGraph(text_model(body, y="float[N,6,3,5] y", init=init))
    return Lifting(graph, trace(graph), GraphBuilder(graph), readout, RULES)


def made(walk: Lifting, name: str) -> np.ndarray:
    """What the new nodes compute."""
    model = onnx.ModelProto()
    model.CopyFrom(walk.graph.proto)
    walk.build.append_to(model, [name])
    model.graph.output.append(onnx.ValueInfoProto(name=name))
    return run(model, np.zeros((2, 6, 3, 5), np.float32))[1]


@pytest.mark.parametrize(
    ("scale", "zero", "axis"),
    [
        pytest.param(np.float32(0.25), np.int8(3), 0, id="one_for_the_tensor"),
        pytest.param(np.float32([0.25]), None, 0, id="no_zero_point"),
        pytest.param(np.float32([0.5, 0.25, 2]), np.int8([1, -2, 3]), 0, id="one_for_each_row"),
        pytest.param(weights(6), np.arange(6, dtype=np.int8), 1, id="one_for_each_column"),
    ],
)
def test_nodes_and_numbers_are_the_real_weights(scale: np.ndarray, zero: np.ndarray | None, axis: int) -> None:
    walk = walk_over(q=Q, s=scale, **({} if zero is None else {"z": zero}))
    params = QuantParams("s", "" if zero is None else "z")
    along = [1, 1]
    along[axis] = -1
    offset = np.zeros(1) if zero is None else zero.astype(np.float64)
    expected = (Q.astype(np.float64) - offset.reshape(along)) * scale.astype(np.float64).reshape(along)
    assert_close(made(walk, dequantized(walk, "q", params, axis=axis)), expected)
    values = dequantized_values(walk, "q", params, axis=axis)
    assert values is not None
    np.testing.assert_array_equal(values, expected)


def test_integer_bias_is_in_units_of_both_scales() -> None:
    walk = walk_over(b=np.array([100, -7, 3], np.int32), sx=np.float32(0.5), sw=np.float32([0.25, 2, 1]))
    np.testing.assert_array_equal(made(walk, dequantized_bias(walk, "b", "sx", "sw")), [12.5, -7.0, 1.5])
    assert dequantized_bias(walk, "", "sx", "sw") == ""


@pytest.mark.parametrize("quantization", [Quantization(0.1, 0, 0, 2.55), Quantization(0.1, 3, -1.0, 0.5)])
@pytest.mark.parametrize("readout", ["contribution", "instance"])
def test_saturation_cuts_every_cell_in_proportion_to_the_pooled_value(
    quantization: Quantization, readout: Readout
) -> None:
    """The mean of what is left is the clipped pooled value; a cell by itself is clipped by itself."""
    grid = weights(2, 6, 3, 5, seed=8)
    pooled = grid.mean(axis=(2, 3), keepdims=True)
    grid[0, 0], pooled[0, 0] = 0, 0
    walk = walk_over(readout=readout, grid=grid, pooled=pooled)
    found = made(walk, saturate(walk, "grid", "pooled", quantization, np.dtype(np.float32)))
    low, high = quantization.low, quantization.high
    if readout == "instance":
        expected = np.clip(grid, low, high)
    else:
        safe = np.where(pooled == 0, 1, pooled)
        expected = grid * np.where(pooled == 0, 1, np.clip(pooled, low, high) / safe)
        np.testing.assert_allclose(
            found.astype(np.float64).mean(axis=(2, 3), keepdims=True), np.clip(pooled, low, high), atol=1e-6
        )
    assert_close(found, expected)


@pytest.mark.parametrize(
    ("zero", "low", "high"),
    [
        (np.uint8(0), 0.0, 63.75),
        (np.uint8(128), -32.0, 31.75),
        (np.int8(0), -32.0, 31.75),
        (np.int16(0), -8192.0, 8191.75),
    ],
)
def test_range_follows_from_scale_zero_point_and_type(zero: np.ndarray, low: float, high: float) -> None:
    walk = walk_over(s=np.float32(0.25), z=zero)
    node = walk.graph.producer("y")
    assert node is not None
    assert quantization_of(node, walk, QuantParams("s", "z"), tensor="y") == Quantization(0.25, float(zero), low, high)


def test_without_a_zero_point_the_tensor_itself_tells_the_type() -> None:
    walk = walk_over("q = QuantizeLinear(x, s)\n y = DequantizeLinear(q, s)", s=np.float32(0.5))
    node = walk.graph.producer("y")
    assert node is not None
    assert quantization_of(node, walk, QuantParams("s", ""), tensor="q") == Quantization(0.5, 0.0, 0.0, 127.5)


def test_a_scale_for_each_channel_stands_for_no_one_range() -> None:
    walk = walk_over(s=np.float32([0.25, 0.5]), z=np.uint8([0, 0]))
    node = walk.graph.producer("y")
    assert node is not None
    with pytest.raises(HeadRefused, match="not one fixed number"):
        quantization_of(node, walk, QuantParams("s", "z"))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param("r = Relu(x)\n y = Identity(r)", (0.0, np.inf), id="relu"),
        pytest.param("s = Sigmoid(x)\n y = AveragePool<kernel_shape=[1, 1]>(s)", (0.0, 1.0), id="pooled_sigmoid"),
        pytest.param("y = Clip(x, low, high)", (-2.0, 3.0), id="clip"),
        pytest.param("y = Clip(x, low)", (-2.0, np.inf), id="clip_from_below"),
        pytest.param(
            "r = Relu(x)\n c = Clip(x, low, high)\n j = Concat<axis=1>(r, c)\n y = Slice(j, zero, six, one)",
            (-2.0, np.inf),
            id="joined",
        ),
        pytest.param(
            "q = QuantizeLinear(x, step, point)\n y = DequantizeLinear(q, step, point)", (0.0, 127.5), id="pair"
        ),
        pytest.param("y = Neg(x)", (-np.inf, np.inf), id="unknown"),
        pytest.param("y = Mul(x, x)", (-np.inf, np.inf), id="product"),
    ],
)
def test_range_that_the_graph_guarantees(body: str, expected: tuple[float, float]) -> None:
    known = {
        "low": np.float32(-2),
        "high": np.float32(3),
        "zero": np.array([0]),
        "six": np.array([6]),
        "one": np.array([1]),
        "step": np.float32(0.5),
        "point": np.uint8(0),
    }
    walk = walk_over(body, **known)
    found = value_range(walk, "y")
    assert found == expected
    x = weights(2, 6, 3, 5, seed=2) * 100
    values = run(walk.graph.proto, x)[0]
    assert found[0] <= values.min()
    assert values.max() <= found[1]


@pytest.mark.parametrize(("high", "inside"), [(1.0, True), (0.9985, True), (0.9, False)])
def test_a_calibrated_end_may_lie_half_a_step_inside(high: float, inside: bool) -> None:
    walk = walk_over("y = Sigmoid(x)")
    assert provably_inside(walk, "y", Quantization(high / 255, 0, 0.0, high)) is inside


@pytest.mark.parametrize(
    ("quantization", "clips", "expected"),
    [
        (Quantization(0, 0, -np.inf, np.inf, scale="s"), False, "rounds within its own range"),
        (Quantization(0.01234, 0, 0, 3.1), False, "rounds to steps of 0.0123"),
        (Quantization(0.5, 0, 0, 127.5), True, "rounds to steps of 0.5, and its range cuts at 0 as a Relu does"),
        (Quantization(0.5, 128, -64, 63.5), True, "rounds to steps of 0.5, saturates outside -64 to 63.5"),
    ],
)
def test_rounding_in_words(quantization: Quantization, clips: bool, expected: str) -> None:
    assert rounding_phrase(quantization, clips) == expected
