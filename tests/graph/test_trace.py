"""Tracing: shapes are measured, not believed."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnx_gapmil.errors import ModelError
from onnx_gapmil.graph.trace import trace
from onnx_gapmil.graph.view import ModelGraph
from tests.helpers.support import text_model, weights

HEAD = "p = GlobalAveragePool(x)\n f = Flatten(p)\n y = Gemm<transB=1>(f, w)"


def traced(model: onnx.ModelProto) -> object:
    return trace(ModelGraph(model))


def test_open_batch_is_traced_with_two() -> None:
    found = traced(text_model(HEAD, init={"w": weights(5, 6)}))
    assert found.batch == 2
    assert found.shapes["p"] == (2, 6, 1, 1)
    assert found.shapes["w"] == (5, 6)
    assert found.dtypes["y"] == np.float32
    assert found.inputs[0].batch_is_open
    assert not found.inputs[0].space_is_open


def test_model_that_only_takes_one_image_is_traced_with_one() -> None:
    model = text_model(
        f"r = Reshape(x, s)\n {HEAD.replace('(x)', '(r)')}", init={"w": weights(5, 6), "s": np.array([1, 6, 3, 5])}
    )
    assert traced(model).batch == 1


def test_open_height_and_width_are_tried_in_turn() -> None:
    """A dense layer of 64x64 positions: 224 fails, 64 works."""
    model = text_model(
        "f = Flatten(x)\n y = MatMul(f, w)", x="float[N,3,H,W] x", init={"w": np.zeros((3 * 64 * 64, 5), np.float32)}
    )
    found = traced(model)
    assert found.inputs[0].traced == (2, 3, 64, 64)
    assert found.inputs[0].space_is_open


def test_model_that_runs_at_no_size() -> None:
    model = text_model(
        "f = Flatten(x)\n y = MatMul(f, w)", x="float[N,3,H,W] x", init={"w": np.zeros((7, 5), np.float32)}
    )
    with pytest.raises(ModelError, match=r"so says the runtime of x .*does not run there"):
        traced(model)


def test_values_of_computed_shapes_are_kept() -> None:
    model = text_model(
        "s = Shape(x)\n n = Gather<axis=0>(s, zero)\n t = Concat<axis=0>(n, rest)\n p = GlobalAveragePool(x)\n"
        " f = Reshape(p, t)\n y = Gemm<transB=1>(f, w)",
        init={"w": weights(5, 6), "zero": np.array([0]), "rest": np.array([6])},
    )
    found = traced(model)
    np.testing.assert_array_equal(found.values["t"], [2, 6])
    assert found.shapes["t"] == (2,)


def test_wrong_value_info_is_not_believed() -> None:
    model = text_model(HEAD, init={"w": weights(5, 6)})
    model.graph.value_info.append(helper.make_tensor_value_info("p", TensorProto.FLOAT, [9, 9, 9, 9]))
    assert traced(model).shapes["p"] == (2, 6, 1, 1)


def test_initializers_among_the_inputs_are_no_inputs() -> None:
    model = text_model(HEAD, x="float[N,6,3,5] x, float[5,6] w", ir=3, opset=11, init={"w": weights(5, 6)})
    assert [entry.name for entry in traced(model).inputs] == ["x"]


def test_several_inputs_share_the_batch() -> None:
    model = text_model(
        "p = ReduceMean<axes=[2, 3], keepdims=0>(x)\n y = Add(p, m)",
        x="float[N,6,3,5] x, float[N,6] m",
        y="float[N,6] y",
    )
    assert [entry.traced for entry in traced(model).inputs] == [(2, 6, 3, 5), (2, 6)]


def test_model_without_an_input() -> None:
    model = text_model("y = Identity(w)", y="float[5,6] y", init={"w": weights(5, 6)})
    del model.graph.input[:]
    with pytest.raises(ModelError, match="no input"):
        traced(model)


def test_branches_of_an_if_do_not_disturb_the_trace() -> None:
    then = helper.make_graph(
        [helper.make_node("Identity", ["f"], ["a"])], "then", [], [helper.make_tensor_value_info("a", 1, None)]
    )
    otherwise = helper.make_graph(
        [helper.make_node("Neg", ["f"], ["b"])], "else", [], [helper.make_tensor_value_info("b", 1, None)]
    )
    model = text_model(HEAD.replace("Gemm<transB=1>(f, w)", "Gemm<transB=1>(q, w)"), init={"w": weights(5, 6)})
    branch = helper.make_node("If", ["yes"], ["q"], then_branch=then, else_branch=otherwise)
    model.graph.node.insert(2, branch)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "yes"))
    assert traced(model).shapes["y"] == (2, 5)
