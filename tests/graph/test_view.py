"""The read-only view: constants, however they are spelled."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_gapmil.graph.view import ModelGraph
from tests.helpers.support import text_model, weights

W = weights(5, 6)


@pytest.mark.parametrize(
    ("body", "init", "expected"),
    [
        pytest.param("c = Identity(w)", {"w": W}, W, id="identity"),
        pytest.param("c = Transpose(w)", {"w": W}, W.T, id="transpose"),
        pytest.param("d = Cast<to=11>(w)\n c = Cast<to=1>(d)", {"w": W}, W, id="casts"),
        pytest.param("c = Unsqueeze(w, a)", {"w": W, "a": np.array([0])}, W[None], id="unsqueeze"),
        pytest.param(
            "c = DequantizeLinear(w, s, z)",
            {"w": np.array([[-3, 4]], np.int8), "s": np.float32(0.5), "z": np.int8(1)},
            np.array([[-2.0, 1.5]]),
            id="dequantize",
        ),
        pytest.param("c = Constant<value_floats=[1.0, 2.0]>()", {}, np.array([1.0, 2.0]), id="constant_node"),
        pytest.param(
            "c = ConstantOfShape<value = float[1] {2.0}>(s)",
            {"s": np.array([2, 3])},
            np.full((2, 3), 2.0),
            id="of_shape",
        ),
        pytest.param(
            "s = Shape(w)\n c = Gather(s, i)", {"w": W, "i": np.int64(1)}, np.array(6), id="shape_of_a_weight"
        ),
        pytest.param(
            "a = Add(w, w)\n b = Mul(a, w)\n c = Relu(b)", {"w": W}, np.maximum(2 * W * W, 0), id="arithmetic"
        ),
    ],
)
def test_constant_is_folded(body: str, init: dict[str, np.ndarray], expected: np.ndarray) -> None:
    graph = ModelGraph(text_model(f"{body}\n y = GlobalAveragePool(x)", y="float[N,6,1,1] y", init=init))
    assert "c" in graph.constants
    value = graph.value("c")
    assert value is not None
    np.testing.assert_allclose(value, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "body", ["c = Relu(x)", "c = RandomNormal<shape=[2]>()", "a = RandomUniform<shape=[2]>()\n c = Relu(a)"]
)
def test_what_depends_on_the_image_or_on_chance_is_no_constant(body: str) -> None:
    graph = ModelGraph(text_model(f"{body}\n y = GlobalAveragePool(x)", y="float[N,6,1,1] y"))
    assert "c" not in graph.constants
    assert graph.value("c") is None


def test_shapes_and_arithmetic_on_them_are_shape_computed() -> None:
    graph = ModelGraph(
        text_model(
            "s = Shape(x)\n g = Gather(s, i)\n m = Mul(g, i)\n t = Cast<to=1>(m)\n"
            " d = Div(x, t)\n y = GlobalAveragePool(d)",
            y="float[N,6,1,1] y",
            init={"i": np.int64(2)},
        )
    )
    assert graph.shape_computed == {"s", "g", "m", "t"}


def test_consumers_and_producers() -> None:
    graph = ModelGraph(text_model("a = Relu(x)\n b = Neg(a)\n y = Add(a, b)", y="float[N,6,3,5] y"))
    assert [node.op for node in graph.consumers["a"]] == ["Neg", "Add"]
    assert graph.producer("b").op == "Neg"
    assert graph.producer("x") is None
    assert {"a", "b", "x", "y"} <= graph.names
