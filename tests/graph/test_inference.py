"""Shapes without running a model: the same as running it gives, or an error."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnx_gapmil.graph import inference
from onnx_gapmil.graph.inference import ShapesUnknownError, infer, infer_all
from onnx_gapmil.graph.inputs import concrete_inputs, random_input
from onnx_gapmil.graph.view import ModelGraph
from tests.helpers.support import run, text_model, weights

W = weights(5, 6)
MODELS = {
    "constant_target": text_model(
        "c = Conv<pads=[1, 1, 1, 1]>(x, k)\n p = GlobalAveragePool(c)\n f = Reshape(p, s)\n y = Gemm<transB=1>(f, w)",
        init={"k": weights(6, 6, 3, 3), "w": W, "s": np.array([0, 6])},
    ),
    "target_computed_from_the_batch": text_model(
        "p = GlobalAveragePool(x)\n n = Shape(x)\n b = Gather(n, zero)\n u = Unsqueeze(b, axis)\n"
        " s = Concat<axis=0>(u, rest)\n f = Reshape(p, s)\n y = Gemm<transB=1>(f, w)",
        init={"w": W, "zero": np.array(0), "axis": np.array([0]), "rest": np.array([6])},
    ),
    "target_in_two_steps": text_model(
        "n = Shape(x)\n a = Slice(n, zero, two)\n s = Concat<axis=0>(a, minus)\n t = Reshape(x, s)\n"
        " m = Shape(t)\n k = Slice(m, two, three)\n o = ConstantOfShape(k)\n d = ReduceMean<axes=[2], keepdims=0>(t)\n"
        " y = Gemm<transB=1>(d, w)\n z = Expand(o, k)",
        y="float[N,5] y, float[M] z",
        init={"w": W, "zero": np.array([0]), "two": np.array([2]), "three": np.array([3]), "minus": np.array([-1])},
    ),
    "axes_as_inputs": text_model(
        "m = ReduceMean<keepdims=0>(x, axes)\n y = Gemm<transB=1>(m, w)",
        opset=18,
        init={"w": W, "axes": np.array([-1, -2])},
    ),
    "large_weight_in_a_constant_node": text_model(
        "f = ReduceMean<axes=[2, 3], keepdims=0>(x)\n v = Constant()\n h = MatMul(f, v)\n y = Gemm<transB=1>(h, w)",
        init={"w": weights(5, 400)},
    ),
}
constant = MODELS["large_weight_in_a_constant_node"].graph.node[1]
constant.attribute.append(helper.make_attribute("value", numpy_helper.from_array(weights(6, 400))))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("batch", [1, 3])
def test_every_shape_is_what_running_the_model_gives(name: str, batch: int) -> None:
    model = MODELS[name]
    graph = ModelGraph(model)
    inputs = concrete_inputs(graph, batch, (3, 5))
    found = infer_all(graph, inputs)
    told = onnx.ModelProto()
    told.CopyFrom(model)
    made = [output for node in model.graph.node for output in node.output if output not in ("y", "z")]
    told.graph.output.extend(onnx.ValueInfoProto(name=output) for output in made)
    arrays = run(told, {"x": random_input(inputs[0])}, made)
    for output, array in zip(made, arrays, strict=True):
        assert found.shapes[output] == array.shape, output
        assert found.dtypes[output] == array.dtype, output
        if output in found.values:
            np.testing.assert_array_equal(found.values[output], array, err_msg=output)
    assert found.shapes["y"] == (batch, 5)
    assert set(found.values) - {"z"} == {name for name in made if name in graph.shape_computed}


def test_known_values_take_the_place_of_what_computes_them() -> None:
    graph = ModelGraph(MODELS["target_computed_from_the_batch"])
    inputs = concrete_inputs(graph, 3, (3, 5))
    found = infer(graph, inputs, {"s": np.array([9, 2])})
    assert (found.shapes["f"], found.shapes["s"], found.dtypes["s"]) == ((9, 2), (2,), np.int64)


def test_large_weights_are_never_handed_to_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only their shapes are, wherever the file keeps them; small ones may be shapes themselves and stay."""
    seen: list[onnx.ModelProto] = []
    own = onnx.shape_inference.infer_shapes

    def watched(model: onnx.ModelProto, **options: object) -> onnx.ModelProto:
        seen.append(model)
        return own(model, **options)

    monkeypatch.setattr(inference.onnx.shape_inference, "infer_shapes", watched)
    graph = ModelGraph(MODELS["large_weight_in_a_constant_node"])
    infer(graph, concrete_inputs(graph, 2, (3, 5)))
    (light,) = seen
    assert light.ByteSize() < 2000
    assert {"v", "w"} <= {value.name for value in light.graph.input}


@pytest.mark.parametrize(
    ("body", "init", "words"),
    [
        pytest.param("f = Flatten(x)\n y = Gemm<transB=1>(f, w)", {"w": W}, "Gemm", id="dense_layer_of_another_size"),
        pytest.param(
            "y = Conv(x, k)",
            {"k": weights(5, 4, 1, 1)},
            r"Conv \(Conv\) cannot take \[2, 6, 3, 5\]",
            id="convolution_of_other_channels",
        ),
        pytest.param(
            "r = Reshape(x, s)\n y = Gemm<transB=1>(r, w)",
            {"w": W, "s": np.array([2, 6])},
            r"Reshape \(Reshape\) cannot take \[2, 6, 3, 5\]",
            id="reshape_to_fewer_elements",
        ),
    ],
)
def test_shapes_that_contradict_each_other_are_an_error(body: str, init: dict[str, np.ndarray], words: str) -> None:
    graph = ModelGraph(text_model(body, init=init))
    with pytest.raises(ShapesUnknownError, match=words):
        infer_all(graph, concrete_inputs(graph, 2, (3, 5)))


def test_an_operator_that_inference_does_not_know_is_named() -> None:
    model = text_model(
        "g = com.microsoft.QuickGelu(x)\n p = GlobalAveragePool(g)\n f = Flatten(p)\n y = Gemm<transB=1>(f, w)",
        domains='"com.microsoft" : 1',
        init={"w": W},
    )
    graph = ModelGraph(model)
    with pytest.raises(ShapesUnknownError, match=r"it is unknown what a node \(com.microsoft::QuickGelu\) makes"):
        infer_all(graph, concrete_inputs(graph, 2, (3, 5)))


def test_what_no_output_needs_may_stay_unknown() -> None:
    model = text_model(
        "g = com.microsoft.QuickGelu(x)\n p = GlobalAveragePool(x)\n f = Flatten(p)\n y = Gemm<transB=1>(f, w)",
        domains='"com.microsoft" : 1',
        init={"w": W},
    )
    graph = ModelGraph(model)
    assert infer_all(graph, concrete_inputs(graph, 2, (3, 5))).shapes["y"] == (2, 5)


def test_arithmetic_on_shapes_that_does_not_run_is_told() -> None:
    model = text_model(
        "n = Shape(x)\n b = Reshape(n, five)\n r = Reshape(x, b)\n y = Identity(r)",
        init={"five": np.array([5])},
    )
    graph = ModelGraph(model)
    with pytest.raises(ShapesUnknownError, match="what it computes from shapes does not run"):
        infer_all(graph, concrete_inputs(graph, 2, (3, 5)))
