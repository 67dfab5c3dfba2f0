"""The builder: unique names, shared constants, nothing dead."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx_gapmil.graph.builder import GraphBuilder
from onnx_gapmil.graph.view import ModelGraph
from tests.helpers.support import run, text_model, weights


def vendor(opset: int = 17, ir: int = 8) -> onnx.ModelProto:
    return text_model("y = Relu(x)", x="float[2,3] x", y="float[2,3] y", opset=opset, ir=ir)


def appended(build: GraphBuilder, outputs: list[str], shape: tuple[int, ...] = (2, 3)) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(build.graph.proto)
    build.append_to(model, outputs)
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, 1, shape) for name in outputs)
    return model


def test_names_are_never_taken_twice() -> None:
    model = text_model("gapmil_grid = Relu(x)\n y = Neg(gapmil_grid)", y="float[N,6,3,5] y")
    build = GraphBuilder(ModelGraph(model))
    assert [build.unique("gapmil_grid") for _ in range(3)] == ["gapmil_grid_2", "gapmil_grid_3", "gapmil_grid_4"]
    assert build.unique("free") == "free"


def test_names_inside_subgraphs_are_taken_too() -> None:
    inner = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["gapmil_grid"])],
        "inner",
        [],
        [onnx.helper.make_tensor_value_info("gapmil_grid", 1, None)],
    )
    model = vendor()
    model.graph.node.append(onnx.helper.make_node("If", ["yes"], ["z"], then_branch=inner, else_branch=inner))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "yes"))
    assert GraphBuilder(ModelGraph(model)).unique("gapmil_grid") == "gapmil_grid_2"


def test_nodes_that_lead_nowhere_are_left_out() -> None:
    build = GraphBuilder(ModelGraph(vendor()))
    build.node("Mul", ["x", build.constant(np.float32([7.0]))])
    build.node("Neg", ["y"], output="wanted")
    model = appended(build, ["wanted"])
    assert [node.op_type for node in model.graph.node] == ["Relu", "Neg"]
    assert not model.graph.initializer


def test_equal_constants_are_shared() -> None:
    build = GraphBuilder(ModelGraph(vendor()))
    assert build.ints([1, 2]) == build.ints((1, 2))
    assert build.ints([1, 2]) != build.ints([2, 1])
    assert build.constant(np.float32(1)) != build.constant(np.float64(1))
    assert build.constant(np.float32([1])) != build.constant(np.float32([[1]]))


@pytest.mark.parametrize("opset", [7, 8, 9, 11, 13, 17, 18, 21])
@pytest.mark.parametrize("op", ["ReduceMean", "ReduceSum", "ReduceMax", "ReduceProd", "ReduceL2"])
def test_reductions_are_spelled_for_the_operator_set(opset: int, op: str) -> None:
    build = GraphBuilder(ModelGraph(vendor(opset)))
    name = build.reduce(op, "x", [1], keepdims=False)
    model = appended(build, [name], (2,))
    onnx.checker.check_model(model, full_check=True)
    x = weights(2, 3)
    reference = {"ReduceMean": np.mean, "ReduceSum": np.sum, "ReduceMax": np.max, "ReduceProd": np.prod}
    expected = reference[op](x, axis=1) if op in reference else np.sqrt((x**2).sum(axis=1))
    np.testing.assert_allclose(run(model, x)[1], expected, rtol=1e-5)


@pytest.mark.parametrize("opset", [7, 8, 9])
def test_before_ir_4_constants_are_nodes_and_inputs_stay_the_vendors(opset: int) -> None:
    build = GraphBuilder(ModelGraph(vendor(opset, ir=3)))
    name = build.node("Mul", [build.reshape("x", [3, 2]), build.constant(np.float32([2.0]))])
    model = appended(build, [name], (3, 2))
    onnx.checker.check_model(model, full_check=True)
    assert not model.graph.initializer
    assert [value.name for value in model.graph.input] == ["x"]
    x = weights(2, 3)
    np.testing.assert_array_equal(run(model, x)[1], 2 * x.reshape(3, 2))
